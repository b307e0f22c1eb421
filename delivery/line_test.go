package delivery

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// A line hands out each lane once, the highest priority first but for every eighth, which is the oldest of all.
func TestLine(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		var l line
		var model []*heldLane // in the order in which they came
		lanes := 0
		for range rapid.IntRange(1, 120).Draw(r, "steps") {
			switch rapid.IntRange(0, 4).Draw(r, "step") {
			case 0, 1:
				lanes++
				lane := &heldLane{key: fmt.Sprint(lanes), priority: Priority(rapid.IntRange(-1, 1).Draw(r, "priority"))}
				l.push(lane)
				model = append(model, lane)
			case 2:
				if len(model) > 0 {
					lane := model[rapid.IntRange(0, len(model)-1).Draw(r, "lane")]
					l.raise(lane, Priority(rapid.IntRange(-1, 1).Draw(r, "to")))
				}
			default:
				lane, ok := l.pop()
				if ok != (len(model) > 0) {
					r.Fatalf("pop says %v with %d lanes", ok, len(model))
				}
				if !ok {
					continue
				}
				at := slices.Index(model, lane)
				if at < 0 {
					r.Fatalf("lane %s is not in the line", lane.key)
				}
				highest := slices.MaxFunc(model, func(a, b *heldLane) int { return int(a.priority - b.priority) }).priority
				if l.left%fairTurn != 0 && lane.priority != highest {
					r.Fatalf("priority %d left before %d", lane.priority, highest)
				}
				model = slices.Delete(model, at, at+1)
				if rapid.Bool().Draw(r, "again") { // as after a delivery: what it left behind in the line must not be taken for it
					l.push(lane)
					model = append(model, lane)
				}
			}
			if l.len() != len(model) {
				r.Fatalf("%d in the line, want %d", l.len(), len(model))
			}
		}
	})
}

// Of one priority, whichever came first leaves first.
func TestLineKeepsOrderWithinAPriority(t *testing.T) {
	var l line
	for i := range 100 {
		l.push(&heldLane{key: fmt.Sprint(i)})
	}
	for i := range 100 {
		if lane, _ := l.pop(); lane.key != fmt.Sprint(i) {
			t.Fatalf("lane %s left as number %d", lane.key, i)
		}
	}
}

// sentAt notes when deliveries were sent first.
type sentAt struct {
	*scripted
	mu sync.Mutex
	at map[string]time.Time
}

func (s *sentAt) noteTime(d *Delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.at[d.ID]; !ok {
		s.at[d.ID] = time.Now()
	}
}

func (s *sentAt) when(d *Delivery) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at[d.ID]
}

func (s *sentAt) count(prefix string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.at {
		if len(id) > len(prefix) && id[:len(prefix)] == prefix {
			n++
		}
	}
	return n
}

func newSentAt(t *testing.T, took time.Duration) *sentAt {
	s := &sentAt{at: map[string]time.Time{}}
	answer := takes(took, 200)
	s.scripted = newScripted(t, func(ctx context.Context, d *Delivery) *Attempt {
		s.noteTime(d)
		return answer(ctx, d)
	})
	return s
}

// C9: what has a high priority goes out at once, however much of a lower one waits, in memory and in the store; and that goes on as well.
func TestEnginePriority(t *testing.T) {
	for _, first := range []Priority{PriorityLow, PriorityNormal} {
		synctest.Test(t, func(t *testing.T) {
			store, sender := newMemStore(), newSentAt(t, 100*time.Millisecond)
			e := NewEngine(store, sender, map[string]EndpointConfig{"erp": {Concurrency: 10}}, EngineOptions{Queue: 200})
			for i := range 2000 {
				d := queued("erp", fmt.Sprintf("old-%d", i), 1)
				d.Priority = first
				store.add(d)
			}
			run(t, e)
			time.Sleep(time.Second) // memory is full of them
			for i := range 60 {
				d := queued("erp", fmt.Sprintf("urgent-%d", i), 1)
				d.Priority = PriorityHigh
				began := time.Now()
				enqueue(t, store, e, d)
				time.Sleep(250 * time.Millisecond)
				if took := sender.when(d).Sub(began); sender.when(d).IsZero() || took > 200*time.Millisecond {
					t.Fatalf("urgent delivery %d was sent after %s", i, took)
				}
				if s := e.Stats().Endpoints[0]; s.Deliveries > 250 {
					t.Fatalf("%d deliveries in memory", s.Deliveries)
				}
			}
			if n := sender.count("msg_erp_old-"); n < 1300 {
				t.Errorf("%d of the others were sent meanwhile", n)
			}
		})
	}
}

// A steady stream of a high priority, twice what the receiver takes, leaves the others their eighth.
func TestEnginePriorityStarvesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sender := newMemStore(), newSentAt(t, 10*time.Millisecond)
		e := NewEngine(store, sender, map[string]EndpointConfig{"erp": {Concurrency: 10}}, EngineOptions{Queue: 200})
		for i := range 1000 {
			d := queued("erp", fmt.Sprintf("old-%d", i), 1)
			d.Priority = PriorityLow
			store.add(d)
		}
		run(t, e)
		for i := range 500 { // 2.5 seconds, in which 2500 are sent
			var batch []*Delivery
			for j := range 10 {
				d := queued("erp", fmt.Sprintf("urgent-%d-%d", i, j), 1)
				d.Priority = PriorityHigh
				batch = append(batch, d)
			}
			enqueue(t, store, e, batch...)
			time.Sleep(5 * time.Millisecond)
			if s := e.Stats().Endpoints[0]; s.Deliveries > 250 {
				t.Fatalf("%d deliveries in memory", s.Deliveries)
			}
		}
		old, urgent := sender.count("msg_erp_old-"), sender.count("msg_erp_urgent-")
		if old < 125 || urgent < 1700 {
			t.Errorf("%d of the old and %d of the urgent ones were sent", old, urgent)
		}
	})
}

// What comes into a lane with a higher priority raises it where it waits in memory: order within the lane stays.
func TestEnginePriorityRaisesALane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sender := newMemStore(), newSentAt(t, 100*time.Millisecond)
		e := NewEngine(store, sender, map[string]EndpointConfig{"erp": {Concurrency: 1}}, EngineOptions{})
		run(t, e)
		var batch []*Delivery
		for i := range 50 {
			d := queued("erp", fmt.Sprintf("old-%d", i), 1)
			d.Priority = PriorityLow
			batch = append(batch, d)
		}
		enqueue(t, store, e, batch...)
		time.Sleep(50 * time.Millisecond)
		urgent := queued("erp", "old-40", 2)
		urgent.Priority = PriorityNormal
		enqueue(t, store, e, urgent)
		time.Sleep(time.Second)
		if first, second := sender.when(batch[40]), sender.when(urgent); first.IsZero() || !second.After(first) {
			t.Errorf("sent at %s and %s", first, second)
		}
	})
}
