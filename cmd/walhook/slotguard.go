package main

import (
	"context"
	"errors"
	"time"

	"walhook/cdc"
)

// dropPatience bounds how long the slot guard tries to drop the slot: less than what a part of the process has to stop.
const dropPatience = 20 * time.Second

// judge lets the slot guard look. A slot that another process streams from is that process's to guard.
func (w *slotWatch) judge(now time.Time, h *cdc.Health) {
	if !w.guard.Look(now, h) || h.Slot.PID != 0 && h.Slot.PID != w.progress().Session.PID {
		return
	}
	select {
	case <-w.tripped:
		return
	default:
	}
	w.log.Error().Str("action", string(w.limit.Action)).Int64("retained", h.Retained).Int64("max_retained", w.limit.MaxRetained).Stringer("end", h.End).
		Dur("exceeded_ms", now.Sub(w.guard.Exceeded())).Msg("the slot guard acts: the slot keeps too much WAL")
	w.verdict, w.stream = *h, w.progress()
	close(w.tripped)
}

// guarded runs the stream, or whatever it is a part of, until the slot guard acts: then that is stopped, and the slot dropped if this is
// wanted and has not been done yet. The error, a *[cdc.GuardError], ends the whole process: a stream without a slot cannot go on, and a
// person has to know.
func (w *slotWatch) guarded(stream func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		running, stop := context.WithCancel(ctx)
		defer stop()
		go func() {
			select {
			case <-w.tripped:
				stop()
			case <-running.Done():
			}
		}()
		err := stream(running)
		select {
		case <-w.tripped:
			var acted *cdc.GuardError
			if errors.As(err, &acted) {
				return err
			}
			return errors.Join(w.act(context.WithoutCancel(ctx)), err)
		default:
			return err
		}
	}
}

// act does what the guard is configured to do, once the stream has stopped.
func (w *slotWatch) act(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, dropPatience)
	defer cancel()
	h, p := w.verdict, w.stream
	e := &cdc.GuardError{Slot: w.slot, Action: w.limit.Action, Retained: h.Retained, Max: w.limit.MaxRetained,
		Position: max(p.Durable, h.Slot.Confirmed), End: h.End, Cause: p.LastError}
	if e.Action != cdc.GuardDrop {
		return e
	}
	live, err := cdc.NewLive(w.dsn, "guard", nil)
	if err == nil {
		defer live.Close()
		err = live.DropSlot(ctx, cdc.SlotDrop{Slot: w.slot, SystemID: w.system, DatabaseOID: w.database, Over: e.Max, Own: p.Session.PID})
	}
	e.Dropped, e.Err = err == nil, err
	return e
}
