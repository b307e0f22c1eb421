package storm

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"time"
)

// slotFaults take the slot away behind walhook's back. What was committed between the position and the new slot may be lost, and nothing else.
var slotFaults = []Fault{
	slotLost{"dropped", dropSlot, false}, slotLost{"given up by the server", takeSlot, false}, slotLost{"publication gone", dropPublication, false},
	slotLost{"dropped", dropSlot, true}, slotLost{"given up by the server", takeSlot, true}, slotLost{"publication gone", dropPublication, true},
}

// slotLost is a slot that is gone, and the documented ways back: setup makes a new one and run --adopt accepts the gap, or resync makes it and repairs what it can.
type slotLost struct {
	how     string
	do      func(ctx context.Context, w *World, rnd *rand.Rand) error
	repairs bool
}

func (s slotLost) Name() string {
	return "slot lost, " + s.how + map[bool]string{false: ", adopted", true: ", resynced"}[s.repairs]
}

func (slotLost) Weight() int { return 2 }

func (slotLost) Costly() bool { return true }

func (s slotLost) Inject(ctx context.Context, w *World, rnd *rand.Rand) (count int, err error) {
	err = w.Lossy(ctx, func(ctx context.Context) error {
		if err := s.do(ctx, w, rnd); err != nil {
			return err
		}
		count = 1
		// walhook doesn't make a slot by itself: it says what is gone, and ends with status 3 again and again.
		for _, p := range w.Walhooks {
			p.Hold()
			p.Kill()
			defer p.Release()
		}
		if err := w.nameLoss(ctx); err != nil {
			return err
		}
		if s.repairs {
			return w.resync(ctx, s.how == "publication gone")
		}
		return w.adopt(ctx)
	})
	return count, err
}

// dropSlot drops the slot as soon as nobody holds it.
func dropSlot(ctx context.Context, w *World, rnd *rand.Rand) error {
	for _, p := range w.Walhooks {
		p.Hold()
		p.Kill()
		defer p.Release()
	}
	if err := moment(ctx, rnd, 0, time.Second); err != nil { // something is written, and lost
		return err
	}
	return w.Await(ctx, "the slot to be dropped", func(ctx context.Context) (bool, error) {
		var left int
		err := w.Source.Query(ctx, &left, "SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1", w.Slot)
		if err != nil || left == 0 {
			return err == nil, err
		}
		_ = w.Source.Exec(ctx, fmt.Sprintf(`SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '%[1]s' AND active;
			SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '%[1]s' AND NOT active`, w.Slot)) // whoever held it may need a moment more
		return false, nil
	})
}

// takeSlot has the server give the slot up, as it keeps more WAL than it may, while walhook stands still.
func takeSlot(ctx context.Context, w *World, rnd *rand.Rand) error {
	var version int
	if err := w.Source.Query(ctx, &version, "SELECT current_setting('server_version_num')::int"); err != nil {
		return err
	}
	if version < 130000 {
		return dropSlot(ctx, w, rnd)
	}
	for _, p := range w.Walhooks {
		p.Hold()
		p.Kill()
		defer p.Release()
	}
	conn, err := w.Source.Connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	set := func(sql string) error {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return err
		}
		_, err := conn.Exec(ctx, "SELECT pg_reload_conf()")
		return err
	}
	if err := set("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'"); err != nil {
		return err
	}
	err = w.Await(ctx, "the server to give the slot up", func(ctx context.Context) (bool, error) {
		var state string
		if err := conn.QueryRow(ctx, "SELECT coalesce((SELECT wal_status FROM pg_replication_slots WHERE slot_name = $1), '')", w.Slot).Scan(&state); err != nil || state == "lost" {
			return state == "lost", err
		}
		for _, sql := range []string{"SELECT txid_current()", "SELECT pg_switch_wal()", "SELECT txid_current()", "SELECT pg_switch_wal()", "CHECKPOINT"} {
			if _, err := conn.Exec(ctx, sql); err != nil {
				return false, err
			}
		}
		return false, nil
	})
	if back := set("ALTER SYSTEM RESET max_slot_wal_keep_size"); err == nil {
		err = back
	}
	return err
}

// dropPublication drops the publication while the tables are written, for longer than a moment: the stream cannot pass what was written then.
func dropPublication(ctx context.Context, w *World, rnd *rand.Rand) error {
	if err := w.Source.Exec(ctx, "DROP PUBLICATION "+w.Publication); err != nil {
		return err
	}
	if err := moment(ctx, rnd, time.Second, 3*time.Second); err != nil {
		return err
	}
	return dropSlot(ctx, w, rnd)
}

// nameLoss makes sure that walhook says what is wrong.
func (w *World) nameLoss(ctx context.Context) error {
	if out, err := w.Walhook(ctx, "run"); err == nil || !strings.Contains(out, "hint: ") {
		w.T.Errorf("run without a slot that works: %v\n%s", err, out)
	}
	if out, err := w.Walhook(ctx, "check"); err == nil || !strings.Contains(out, "slot") && !strings.Contains(out, "publication") {
		w.T.Errorf("check without a slot that works: %v\n%s", err, out)
	}
	return ctx.Err()
}

// resync has walhook make the slot, and repair the gap while it runs. A publication that is gone is setup's to make.
func (w *World) resync(ctx context.Context, publication bool) error {
	if publication {
		if out, err := w.Setup(ctx); !strings.Contains(out, "pg_create_logical_replication_slot") {
			return fmt.Errorf("setup made no publication and slot: %w\n%s", err, out)
		}
	}
	if out, err := w.Walhook(ctx, "resync", "--yes"); err != nil {
		return fmt.Errorf("resync: %w\n%s", err, out)
	}
	var since time.Time
	if err := w.State.Query(ctx, &since, "SELECT since FROM walhook.resync ORDER BY n DESC LIMIT 1"); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.since = since
	return nil
}

// adopt is what docs/operations.md says: setup, then run --adopt, once.
func (w *World) adopt(ctx context.Context) error {
	// A slot that the server has given up is still there, and in the way.
	if err := w.Source.Exec(ctx, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '"+w.Slot+"'"); err != nil {
		return err
	}
	// It fails with what it can't mend, the position, and tells the way on.
	if out, err := w.Setup(ctx); !strings.Contains(out, "pg_create_logical_replication_slot") {
		return fmt.Errorf("setup made no slot: %w\n%s", err, out)
	}
	p := w.Walhooks[0]
	cmd := p.command()
	cmd.Args = append(cmd.Args, "--adopt")
	cmd.Env = os.Environ()
	p.mu.Lock()
	for k, v := range p.env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	p.mu.Unlock()
	cmd.Env = append(cmd.Env, "WALHOOK_LIFE=adopt")
	said := p.said()
	cmd.Stdout, cmd.Stderr = p.log, p.log
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
	}()
	return w.Await(ctx, "walhook to adopt the new slot", func(ctx context.Context) (bool, error) {
		select {
		case <-ended:
			return false, fmt.Errorf("run --adopt ended with %s\n%s", cmd.ProcessState, said())
		default:
		}
		var active bool
		err := w.Source.Query(ctx, &active, "SELECT coalesce((SELECT active AND confirmed_flush_lsn IS NOT NULL FROM pg_replication_slots WHERE slot_name = $1), false)", w.Slot)
		return active, err
	})
}
