package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"walhook/delivery"
	"walhook/status"
)

// answered reads a yes from a person.
func (a *app) answered(ctx context.Context) (yes bool, err error) {
	answer := make(chan string, 1)
	go func() { // stays behind when it is interrupted: the process ends then
		line, err := bufio.NewReader(a.stdin).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			line = "no"
		}
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case <-ctx.Done():
		return false, context.Cause(ctx)
	case text := <-answer:
		return text == "y" || text == "yes", nil
	}
}

// How often a job is looked at by who waits for it, and how often a file or a pipe gets a line.
const (
	watchEvery = 300 * time.Millisecond
	watchTell  = 10 * time.Second
)

// watch shows how far jobs have come until all have ended. To interrupt it leaves them at work.
func (b *backfilling) watch(ctx context.Context, ids []int64) error {
	var failed error
	for _, id := range ids {
		l, err := b.watchOne(ctx, id)
		if ctx.Err() != nil {
			_, err := fmt.Fprintf(b.stderr, "job %d goes on: walhook backfill show %d --wait; walhook backfill cancel %d\n", id, id, id)
			return err
		}
		if err != nil {
			return err
		}
		if delivery.JobState(l.State) == delivery.JobFailed {
			failed = &failure{err: fmt.Errorf("job %d failed: %s", id, l.Error), code: exitFailed, hint: fmt.Sprintf("mend it, then walhook backfill resume %d", id)}
		}
	}
	return failed
}

func (b *backfilling) watchOne(ctx context.Context, id int64) (*status.JobLine, error) {
	bar := jobBar{terminal: isTerminal(b.stderr), w: b.stderr}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		l, err := b.desk.Job(ctx, id)
		if err != nil {
			bar.end()
			return nil, err
		}
		now := time.Now()
		switch s := delivery.JobState(l.State); {
		case s.Ended(), s == delivery.JobFailed, s == delivery.JobPaused:
			bar.end()
			_, err := fmt.Fprintf(b.stdout, "job %d is %s: %s rows, %s events, %s deliveries%s\n", id, l.State, grouped(l.Rows), grouped(l.Events), grouped(l.Sent), parkedText(l))
			return l, err
		}
		bar.show(l, now)
		select {
		case <-ctx.Done():
			bar.end()
			return l, nil
		case <-tick.C:
		}
	}
}

func parkedText(l *status.JobLine) string {
	if l.Parked == 0 {
		return ""
	}
	return fmt.Sprintf(", %s parked (walhook deliveries list --state parked --rule %s)", grouped(l.Parked), l.Rule)
}

// jobBar shows how far a job is: on a terminal as a bar that is written over, elsewhere as a line now and then.
type jobBar struct {
	terminal bool
	w        io.Writer
	width    int       // of what stands on the line
	told     time.Time // the last line

	recent []jobLook // the last looks, for the rate of now
}

type jobLook struct {
	at           time.Time
	rows, events int64
}

// rate is events and rows a second, over the last looks.
func (b *jobBar) rate(l *status.JobLine, now time.Time) (events, rows float64) {
	b.recent = append(b.recent, jobLook{now, l.Rows, l.Events})
	if len(b.recent) > 30 {
		b.recent = b.recent[1:]
	}
	first := b.recent[0]
	if passed := now.Sub(first.at).Seconds(); passed > 0 {
		return float64(l.Events-first.events) / passed, float64(l.Rows-first.rows) / passed
	}
	return 0, 0
}

func (b *jobBar) show(l *status.JobLine, now time.Time) {
	events, rows := b.rate(l, now)
	text := jobProgress(l, events, rows)
	if !b.terminal {
		if now.Sub(b.told) >= watchTell {
			fmt.Fprintln(b.w, text)
			b.told = now
		}
		return
	}
	line := fmt.Sprintf("[%s] %s", filledBar(l.Rows, l.Total, 24), text)
	fmt.Fprintf(b.w, "\r%-*s", b.width, line)
	b.width = max(b.width, displayWidth(line))
}

// end clears the line.
func (b *jobBar) end() {
	if b.terminal && b.width > 0 {
		fmt.Fprintf(b.w, "\r%*s\r", b.width, "")
	}
}

// filledBar is a bar that is filled as far as done is of all.
func filledBar(done, all int64, width int) string {
	n := 0
	if all > 0 {
		n = int(min(done, all) * int64(width) / all)
	}
	return strings.Repeat("=", n) + strings.Repeat(" ", width-n)
}

// jobProgress says how far a job is, how quick, and when it will be done.
func jobProgress(l *status.JobLine, events, rows float64) string {
	text := fmt.Sprintf("job %d: ", l.ID)
	if l.Total > 0 {
		text += fmt.Sprintf("%d %%, ", min(l.Rows*100/l.Total, 100))
	}
	text += fmt.Sprintf("%s of %s rows, %s events, %.0f/s", grouped(l.Rows), grouped(l.Total), grouped(l.Events), events)
	switch {
	case l.Waits != "":
		text += ", waits: " + l.Waits
	case rows > 0 && l.Total > l.Rows:
		text += ", " + (time.Duration(float64(l.Total-l.Rows)/rows) * time.Second).Round(time.Second).String() + " left"
	}
	return text
}
