package status

import (
	"runtime"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"walhook/cdc"
)

// metrics are the Prometheus view of the document. The names are a contract; the help texts say what they mean.
type metrics struct {
	registry *prometheus.Registry
	attempts *prometheus.HistogramVec
	stages   *stages
}

// newMetrics registers everything in a registry of its own.
func newMetrics(info Info, snapshot func() Document) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		stages:   newStages(),
		attempts: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "walhook_attempt_duration_seconds",
			Help:    "Duration of delivery attempts by endpoint and result.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"endpoint", "result"}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "walhook_build_info", Help: "Always 1; the labels say what is running.",
		ConstLabels: prometheus.Labels{"version": info.Version, "goversion": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		build, m.attempts, m.stages.all, m.stages.whole, &collector{snapshot: snapshot},
	)
	return m
}

// collector renders one document per scrape.
type collector struct{ snapshot func() Document }

// family is one metric of the document.
type family struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func gauge(name, help string, labels ...string) family {
	return family{prometheus.NewDesc("walhook_"+name, help, labels, nil), prometheus.GaugeValue}
}

func counter(name, help string, labels ...string) family {
	return family{prometheus.NewDesc("walhook_"+name, help, labels, nil), prometheus.CounterValue}
}

var (
	ready        = gauge("ready", "1 when /readyz is true.")
	reader       = gauge("reader", "1 when this process has the right to read the slot, 0 when it stands by.")
	started      = gauge("start_time_seconds", "When the process started, in seconds since the epoch.")
	connected    = gauge("stream_connected", "1 while the replication stream is attached.")
	reconnects   = counter("stream_reconnects_total", "Times the stream was attached again since the process started.")
	transactions = counter("transactions_total", "Transactions handled since the process started.")
	lagB         = gauge("lag_bytes", "WAL that has been written and not been handled.")
	lagS         = gauge("lag_seconds", "How long ago the handled position was the end of WAL.")
	retained     = gauge("slot_retained_bytes", "WAL that the slot keeps on the server's disk.")
	headroom     = gauge("slot_headroom_bytes", "WAL that may still be written before the slot is lost; absent when unlimited.")
	behind       = gauge("slot_behind_bytes", "WAL from the slot's confirmed position to the end of WAL.")
	behindFor    = gauge("slot_behind_seconds", "How long ago the slot's confirmed position was the end of WAL.")
	slotUp       = gauge("slot_up", "1 when the last look at the slot succeeded.")
	slotStatus   = gauge("slot_wal_status", "1 for the slot's present wal_status.", "status")
	slotAlarm    = gauge("slot_alarm", "1 while the alarm is raised.", "alarm")
	guardLimit   = gauge("slot_guard_limit_bytes", "WAL that the slot may keep before the slot guard acts; absent without a guard.")
	stateUp      = gauge("state_up", "1 when the state database answered.")
	stateBytes   = gauge("state_bytes", "Size of the state schema on disk.")
	pending      = gauge("endpoint_pending", "Deliveries in the queue.", "endpoint")
	retrying     = gauge("endpoint_retrying", "Deliveries that failed and wait for their next attempt, counted up to 10,000.", "endpoint")
	held         = gauge("endpoint_held_lanes", "Lanes that wait behind a dead letter, counted up to 10,000.", "endpoint")
	oldest       = gauge("endpoint_oldest_pending_seconds", "Age of the oldest pending delivery.", "endpoint")
	inFlight     = gauge("endpoint_in_flight", "Requests under way.", "endpoint")
	disabled     = gauge("endpoint_disabled", "1 when nothing is sent to the endpoint.", "endpoint")
	deadLetters  = gauge("endpoint_dead_letters", "Dead letters kept now.", "endpoint")
	deliveries   = counter("deliveries_total", "Deliveries that came to an end: delivered or dead.", "endpoint", "result")
	failures     = counter("failed_attempts_total", "Attempts that ended without success.", "endpoint")
	matched      = counter("rule_matched_total", "Events that a rule matched.", "rule")
	parked       = gauge("rule_parked", "Events parked now, as their rule failed to evaluate, counted up to 10,000.", "rule")
	parkedTotal  = counter("rule_parked_total", "Events that were parked.", "rule")
)

// Describe sends every family.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range []family{
		ready, reader, started, connected, reconnects, transactions, lagB, lagS, retained, headroom, behind, behindFor, slotUp, slotStatus, slotAlarm, guardLimit, stateUp, stateBytes, pending, retrying, held,
		oldest, inFlight, disabled, deadLetters, deliveries, failures, matched, parked, parkedTotal,
	} {
		ch <- f.desc
	}
	for _, f := range slices.Concat(slotFamilies, queueFamilies, logFamilies, flowFamilies, windowFamilies, scheduleFamilies, configFamilies, relatedFamilies, noticeFamilies, jobFamilies, resyncFamilies, imageFamilies) {
		ch <- f.desc
	}
}

// Collect sends the figures of one document.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	d := c.snapshot()
	send := func(f family, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(f.desc, f.kind, v, labels...)
	}
	send(ready, truth(d.Ready))
	if d.Process != nil {
		send(reader, truth(d.Process.Role == RoleReader))
		send(started, float64(d.Process.Started.UnixMilli())/1000)
	}
	d.Config.collect(send)
	send(connected, truth(d.Source.Connected))
	send(reconnects, float64(d.Source.Reconnects))
	send(transactions, float64(d.Position.Transactions))
	send(lagB, float64(d.Position.LagBytes))
	send(lagS, d.Position.LagSeconds)
	send(retained, float64(d.Source.Retained))
	if d.Source.Headroom != nil {
		send(headroom, float64(*d.Source.Headroom))
	}
	send(behind, float64(d.Source.Behind))
	send(behindFor, d.Source.BehindSeconds)
	d.Source.SlotFigures.collect(send)
	send(slotUp, truth(d.Source.SlotError == "" && !d.Source.SlotAt.IsZero()))
	if d.Source.WALStatus != "" {
		send(slotStatus, 1, d.Source.WALStatus)
	}
	for _, name := range cdc.AlarmNames {
		on := slices.ContainsFunc(d.Source.Alarms, func(a SlotAlarm) bool { return a.Name == string(name) })
		send(slotAlarm, truth(on), string(name))
	}
	if g := d.Source.Guard; g != nil {
		send(guardLimit, float64(g.MaxRetained))
	}
	send(stateUp, truth(d.State.Reachable))
	send(stateBytes, float64(d.State.Bytes))
	send(allRows, float64(d.State.Queue.Rows))
	send(allBytes, float64(d.State.Queue.Bytes))
	send(allRatio, d.State.Queue.Ratio)
	d.State.Log.collect(send)
	d.Related.collect(send)
	d.collectNotices(send)
	d.collectJobs(send)
	d.collectResync(send)
	d.Images.collect(send)
	for _, e := range d.Endpoints {
		e.Queue.collect(send, e.Name)
		e.FlowState.collect(send, e.Name, d.At)
		e.FlowLimits.collect(send, e.Name)
		send(pending, float64(e.Pending), e.Name)
		send(retrying, float64(e.Retrying), e.Name)
		send(held, float64(e.HeldLanes), e.Name)
		send(endpointWaiting, float64(e.Waiting), e.Name)
		send(oldest, e.OldestPendingSeconds, e.Name)
		send(inFlight, float64(e.InFlight), e.Name)
		send(disabled, truth(e.Disabled), e.Name)
		send(deadLetters, float64(e.Dead), e.Name)
		send(deliveries, float64(e.Delivered), e.Name, "delivered")
		send(deliveries, float64(e.DeadTotal), e.Name, "dead")
		send(failures, float64(e.FailedAttempts), e.Name)
	}
	for _, r := range d.Rules {
		r.Schedule.collect(send, r.Name)
		send(matched, float64(r.Matched), r.Name)
		send(parked, float64(r.Parked), r.Name)
		send(parkedTotal, float64(r.ParkedTotal), r.Name)
		send(ruleWaiting, float64(r.Waiting), r.Name)
		send(ruleSampled, float64(r.Sampled), r.Name)
		send(ruleIgnored, float64(r.Ignored), r.Name)
		send(ruleDropped, float64(r.Dropped), r.Name)
	}
}

// attempt notes one attempt.
func (m *metrics) attempt(endpoint, result string, took time.Duration) {
	m.attempts.WithLabelValues(endpoint, result).Observe(took.Seconds())
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
