package bench

import (
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// alarms are timers of the kernel. Go's own wait in whole milliseconds when nothing else is to be done: 10 ms last 10.5.
var alarms = sync.Pool{New: func() any {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		panic(err)
	}
	return os.NewFile(uintptr(fd), "timer")
}}

// pause returns when that time has come.
func pause(until time.Time) {
	left := time.Until(until)
	if left <= 0 {
		return
	}
	alarm := alarms.Get().(*os.File)
	defer alarms.Put(alarm)
	conn, err := alarm.SyscallConn()
	if err != nil {
		panic(err)
	}
	err2 := conn.Control(func(fd uintptr) {
		err = unix.TimerfdSettime(int(fd), 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(left))}, nil)
	})
	if err == nil {
		err = err2
	}
	if err == nil {
		_, err = alarm.Read(make([]byte, 8))
	}
	if err != nil {
		panic(err)
	}
}
