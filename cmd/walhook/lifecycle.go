package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// service is one long-running part of the process. run blocks until its context is cancelled
// and then returns nil, or an error that ends the whole process. One without a name names its errors itself.
type service struct {
	name string
	run  func(context.Context) error
}

// ended is what became of a service.
type ended struct {
	index int
	err   error
}

// supervise runs services until ctx is cancelled or one of them ends, and then stops them one after the other, the
// last one first, each of them to its end before the next: what is started first serves what comes after
// it. The error joins what went wrong under each service's name.
//
// A service that has not ended within grace after it was told to is left
// behind, with an error that says so.
func supervise(ctx context.Context, services []service, grace time.Duration) error {
	base := context.WithoutCancel(ctx)
	done := make(chan ended, len(services))
	cancels := make([]context.CancelFunc, len(services))
	for i, s := range services {
		child, cancel := context.WithCancel(base)
		cancels[i] = cancel
		go func() { done <- ended{i, s.run(child)} }()
	}
	var problems []error
	over := make([]bool, len(services))
	note := func(e ended) {
		over[e.index] = true
		switch name := services[e.index].name; {
		case e.err == nil:
		case name == "":
			problems = append(problems, e.err)
		default:
			problems = append(problems, fmt.Errorf("%s: %w", name, e.err))
		}
	}
	select {
	case <-ctx.Done():
	case e := <-done:
		if e.err == nil {
			e.err = errors.New("ended by itself")
		}
		note(e)
	}
	for i := len(services) - 1; i >= 0; i-- {
		cancels[i]()
		limit := time.NewTimer(grace)
		for !over[i] {
			select {
			case e := <-done:
				note(e)
			case <-limit.C:
				over[i] = true
				problems = append(problems, fmt.Errorf("%s: did not stop within %s", services[i].name, grace))
			}
		}
		limit.Stop()
	}
	return errors.Join(problems...)
}
