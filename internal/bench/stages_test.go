package bench

import (
	"bufio"
	"io"
	"maps"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
)

// histogram is what /metrics says of one: how many were at most so large.
type histogram struct {
	count   float64
	buckets map[float64]float64 // by their upper bound
}

var bucketLine = regexp.MustCompile(`^walhook_(?:stage_duration_seconds_bucket\{stage="(\w+)"|(delivery_latency)_seconds_bucket\{endpoint="\w+"),le="([^"]+)"\} (\S+)$`)

// whole is the name of the latency of a delivery among the stages.
const whole = "delivery_latency"

// stages reads the histograms of walhook's stages.
func (w *world) stages() map[string]*histogram {
	w.t.Helper()
	resp, err := http.Get("http://" + w.in.Listen + "/metrics")
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	return w.histograms(resp.Body)
}

func (w *world) histograms(text io.Reader) map[string]*histogram {
	all := map[string]*histogram{}
	for lines := bufio.NewScanner(text); lines.Scan(); {
		m := bucketLine.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		bound, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			w.t.Fatal(err)
		}
		n, err := strconv.ParseFloat(m[4], 64)
		if err != nil {
			w.t.Fatal(err)
		}
		h := all[m[1]+m[2]]
		if h == nil {
			h = &histogram{buckets: map[float64]float64{}}
			all[m[1]+m[2]] = h
		}
		h.buckets[bound] = n
		h.count = max(h.count, n)
	}
	return all
}

// since is what was added to an earlier reading, which may be nil.
func (h *histogram) since(before *histogram) *histogram {
	if before == nil {
		return h
	}
	d := &histogram{count: h.count - before.count, buckets: map[float64]float64{}}
	for bound, n := range h.buckets {
		d.buckets[bound] = n - before.buckets[bound]
	}
	return d
}

// quantile estimates one as Prometheus does, evenly within its bucket.
func (h *histogram) quantile(q float64) float64 {
	rank := q * h.count
	lower, below := 0.0, 0.0
	for _, bound := range slices.Sorted(maps.Keys(h.buckets)) {
		if n := h.buckets[bound]; n >= rank && n > below {
			if math.IsInf(bound, 1) {
				return lower
			}
			return lower + (bound-lower)*(rank-below)/(n-below)
		}
		lower, below = bound, h.buckets[bound]
	}
	return 0
}

// stageNames in the order of the way.
var stageNames = []string{"receive", "decode", "match", "commit", "queue", "send", whole}

// staged are p50 and p99 of each stage since an earlier reading, in ms.
func (w *world) staged(before map[string]*histogram) map[string][]figure {
	w.t.Helper()
	now, all := w.stages(), map[string][]figure{}
	for _, name := range stageNames {
		if h := now[name]; h != nil {
			h = h.since(before[name])
			all[name] = []figure{{"p50 ms", 1000 * h.quantile(0.5)}, {"p99 ms", 1000 * h.quantile(0.99)}, {"counted", h.count}}
		} else {
			w.t.Errorf("/metrics has no histogram of %s", name)
		}
	}
	return all
}

// passed holds what the histograms have counted against what has passed by: so many transactions of one delivery each, of which those are counted further
// that did not wait in the store, for an earlier one of their record or for room: of a few, all may have.
func (w *world) passed(deliveries int) {
	w.t.Helper()
	n := map[string]int{}
	for name, h := range w.stages() {
		n[name] = int(h.count)
	}
	if n["receive"] < deliveries || n["decode"] != n["receive"] || n["match"] == 0 || n["commit"] != n["match"] || n["send"] != n["queue"] || deliveries >= 1000 && (n["queue"] == 0 || n[whole] == 0) {
		w.t.Errorf("of %d deliveries the histograms have counted %v", deliveries, n)
	}
}
