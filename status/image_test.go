package status

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

// What images do is in the metrics: of each table whether every row has one, and what this process has counted. Without images there are none.
func TestImageMetrics(t *testing.T) {
	d := Document{Images: &ImagesState{Bytes: 4096, Rows: 12, Counts: &ImageCounts{Found: 5, Missing: 1, Written: 7, Filled: 9},
		Tables: []ImageState{{Schema: "public", Table: "a", Filled: time.Now()}, {Schema: "public", Table: "b"}}}}
	registry := prometheus.NewRegistry()
	registry.MustRegister(&collector{snapshot: func() Document { return d }})
	images := func() map[string]float64 {
		t.Helper()
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				name := f.GetName()
				for _, l := range m.GetLabel() {
					name += " " + l.GetValue()
				}
				got[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
		for name := range got {
			if len(name) < 15 || name[:15] != "walhook_images_" {
				delete(got, name)
			}
		}
		return got
	}
	want := map[string]float64{"walhook_images_bytes": 4096, "walhook_images_rows": 12, "walhook_images_filling public.a": 0, "walhook_images_filling public.b": 1,
		"walhook_images_found_total": 5, "walhook_images_missing_total": 1, "walhook_images_written_total": 7, "walhook_images_filled_total": 9}
	if diff := cmp.Diff(want, images()); diff != "" {
		t.Error(diff)
	}
	d.Images = nil
	if got := images(); len(got) != 0 {
		t.Errorf("without images: %v", got)
	}
}
