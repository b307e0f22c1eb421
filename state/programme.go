package state

import "os"

// programme tells one run of a program from any other, as far as this machine can: pids mean something only within a
// place (one boot of one kernel, one pid namespace), and there only together with the time of birth.
type programme struct {
	pid   int32
	place string // "" where it cannot be known
	birth string // "" where it cannot be known
}

func thisProcess() programme {
	pid := os.Getpid()
	return programme{pid: int32(pid), place: place(), birth: birth(pid)}
}

// knowsDead says that other surely no longer runs. When in doubt it is false: then the lease decides.
func (p programme) knowsDead(other programme) bool {
	return p.place != "" && p.place == other.place && other.birth != "" && gone(int(other.pid), other.birth)
}
