package main

import (
	"context"
	"fmt"
	"maps"
	"time"

	"walhook/cdc"
)

// publicationConfig is what a look at the publication needs to know.
type publicationConfig struct {
	name     string
	tables   func() []cdc.TableNeed // that must be streamed
	recall   func(context.Context) (cdc.PublicationMemory, bool, error)
	remember func(context.Context, cdc.PublicationMemory) error
}

// publicationLook compares the publication with what the rules need, and leaves word of it in the state for the next process. Only one goroutine uses it.
type publicationLook struct {
	publicationConfig
	watch    cdc.PublicationWatch
	text     string
	news     int
	recalled bool
	left     cdc.PublicationMemory // what the state holds
	blind    time.Time             // since when it could not be looked at
}

const (
	// blindAfter is how long the publication may be out of sight, as while a server restarts.
	blindAfter = time.Minute
	// memoryPatience is how long a look waits for the state.
	memoryPatience = time.Second
)

// look says what is wrong, see [cdc.PublicationWatch.Look]. What the state is to hold is written at the look after the one that has found it, when it has been told:
// a process that dies in between tells it twice rather than not at all. A state that is away is asked at the next look.
func (p *publicationLook) look(ctx context.Context, live *cdc.Live, now time.Time) (text string, news int) {
	seen, err := live.Publication(ctx, p.name, p.tables())
	switch {
	case err == nil:
		p.blind = time.Time{}
	case p.blind.IsZero():
		p.blind = now
		return p.text, p.news
	case now.Sub(p.blind) < blindAfter:
		return p.text, p.news
	default:
		return fmt.Sprintf("the publication has not been seen for %s: %v", now.Sub(p.blind).Round(time.Second), err), p.news
	}
	asking, cancel := context.WithTimeout(ctx, memoryPatience)
	defer cancel()
	if p.recalled {
		p.leave(asking, p.watch.Memory(p.name))
	}
	p.text, p.news = p.watch.Look(seen)
	if !p.recalled {
		if m, known, err := p.recall(asking); err == nil {
			if p.recalled = true; known {
				p.watch.Recall(m, p.name)
				p.text, p.news = p.watch.Look(seen)
			}
			p.left = m
		}
	}
	return p.text, p.news
}

func (p *publicationLook) leave(ctx context.Context, m cdc.PublicationMemory) {
	if m.OID == 0 || m.OID == p.left.OID && m.Name == p.left.Name && maps.Equal(m.Tables, p.left.Tables) {
		return
	}
	if p.remember(ctx, m) == nil {
		p.left = m
	}
}
