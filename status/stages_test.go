package status

import (
	"testing"
	"time"

	"walhook/delivery"
)

// Noting a delivery's stages makes no garbage.
func TestStagesAllocateNothing(t *testing.T) {
	s := &Server{metrics: newMetrics(Info{}, func() Document { return Document{} })}
	if n := testing.AllocsPerRun(100, func() {
		s.Stage(delivery.StageCommit, time.Millisecond)
		s.Sent("erp", time.Millisecond, time.Millisecond, 3*time.Millisecond)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkSent is what a delivery costs, noted by all workers at once.
func BenchmarkSent(b *testing.B) {
	s := &Server{metrics: newMetrics(Info{}, func() Document { return Document{} })}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			s.Sent("erp", time.Millisecond, time.Millisecond, 3*time.Millisecond)
		}
	})
}
