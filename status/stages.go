package status

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"walhook/delivery"
)

// latencyBuckets reach from what a quiet system takes for a single stage to what a timeout takes.
var latencyBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}

// stages are the histograms of where time goes between a commit and its receipt. Observing takes no lock and makes no garbage.
type stages struct {
	all   *prometheus.HistogramVec
	of    []prometheus.Observer // by stage
	whole *prometheus.HistogramVec
}

func newStages() *stages {
	s := &stages{
		all: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "walhook_stage_duration_seconds",
			Help:    "Duration of each stage between a commit and its receipt: receive and decode of a transaction with deliveries, match and commit of a batch, queue and send of a delivery's first attempt.",
			Buckets: latencyBuckets,
		}, []string{"stage"}),
		whole: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "walhook_delivery_latency_seconds",
			Help:    "Time from the commit, by the source's clock, to the receiver's 2xx, of deliveries that went straight from their commit to the endpoint and were taken at the first attempt.",
			Buckets: latencyBuckets,
		}, []string{"endpoint"}),
	}
	for _, stage := range delivery.Stages {
		s.of = append(s.of, s.all.WithLabelValues(stage.String()))
	}
	return s
}

// Stage notes how long a stage of ingest took.
func (s *Server) Stage(stage delivery.Stage, took time.Duration) {
	s.metrics.stages.of[stage].Observe(took.Seconds())
}

// Sent notes the first attempt of a delivery that went straight from its commit to the endpoint; whole is 0 when it was not taken.
func (s *Server) Sent(endpoint string, waited, took, whole time.Duration) {
	m := s.metrics.stages
	m.of[delivery.StageQueue].Observe(waited.Seconds())
	m.of[delivery.StageSend].Observe(took.Seconds())
	if whole > 0 {
		m.whole.WithLabelValues(endpoint).Observe(whole.Seconds())
	}
}
