package cdc

import "time"

// Bounds of what a [WALPace] looks back at.
const (
	paceWindow  = 5 * time.Minute
	paceLeast   = 20 * time.Second // a shorter time tells nothing
	paceSamples = 512
)

// WALPace tells how fast WAL is written and how fast what a slot keeps of it grows, over the last five minutes, and so how long there is until a
// limit. Not safe for concurrent use; the zero value has seen nothing.
type WALPace struct{ samples []paceSample }

type paceSample struct {
	at       time.Time
	end      LSN
	retained int64
}

// Observe notes a look. One that cannot be compared with the earlier ones (another server, a slot that is gone) begins anew.
func (p *WALPace) Observe(at time.Time, h *Health) {
	if !h.Measured() {
		p.samples = nil
		return
	}
	if n := len(p.samples); n > 0 {
		if last := p.samples[n-1]; h.End < last.end || at.Before(last.at) {
			p.samples = nil
		}
	}
	keep := 0
	for keep < len(p.samples) && at.Sub(p.samples[keep].at) > paceWindow {
		keep++
	}
	p.samples = p.samples[keep:]
	if len(p.samples) == paceSamples { // a guard that looks often: every second one will do
		for i := range paceSamples / 2 {
			p.samples[i] = p.samples[2*i]
		}
		p.samples = p.samples[:paceSamples/2]
	}
	p.samples = append(p.samples, paceSample{at, h.End, h.Retained})
}

// Written is how many bytes of WAL the server writes in a second; 0 when that is not known yet.
func (p *WALPace) Written() float64 {
	span := p.span()
	if span < paceLeast {
		return 0
	}
	return float64(p.samples[len(p.samples)-1].end-p.samples[0].end) / span.Seconds()
}

// Growth is by how many bytes in a second that grows which the slot keeps, by least squares: it is a saw-tooth, since WAL is confirmed and freed at intervals. It is 0 when
// it shrinks, when it grows by less than a twentieth of what is written, and when that is not known yet.
func (p *WALPace) Growth() float64 {
	if p.span() < paceLeast {
		return 0
	}
	n := float64(len(p.samples))
	var t, y float64
	for _, s := range p.samples {
		t += s.at.Sub(p.samples[0].at).Seconds()
		y += float64(s.retained)
	}
	t, y = t/n, y/n
	var above, below float64
	for _, s := range p.samples {
		d := s.at.Sub(p.samples[0].at).Seconds() - t
		above += d * (float64(s.retained) - y)
		below += d * d
	}
	if slope := above / below; slope > p.Written()/20 {
		return slope
	}
	return 0
}

// longestPace is what a time to a limit is cut at.
const longestPace = 10 * 365 * 24 * time.Hour

// Until is how long room bytes last at bytes a second; -1 when for ever, or when that is not known.
func Until(room int64, pace float64) time.Duration {
	if room < 0 || pace <= 0 {
		return -1
	}
	return time.Duration(min(float64(room)/pace, longestPace.Seconds()) * float64(time.Second)).Round(time.Second)
}

func (p *WALPace) span() time.Duration {
	if len(p.samples) < 3 {
		return 0
	}
	return p.samples[len(p.samples)-1].at.Sub(p.samples[0].at)
}
