package status

import "walhook/cdc"

// RelatedState is how looking related rows up goes, since the configuration in force was taken over.
type RelatedState struct {
	Hits     int64   `json:"hits"`          // records and lists of records that were in memory
	Misses   int64   `json:"misses"`        // that were looked up in the source
	Dropped  int64   `json:"dropped"`       // that were in memory, and that the stream has brought a change of
	Evicted  int64   `json:"evicted"`       // that had to give way to others
	Queries  int64   `json:"lookups"`       // how often the source was asked
	Seconds  float64 `json:"seconds"`       // that took
	Entries  int64   `json:"cache_entries"` // in memory now
	Bytes    int64   `json:"cache_bytes"`
	MaxBytes int64   `json:"cache_max_bytes"` // source.related_cache
}

// NewRelatedState says so in the words of the pages.
func NewRelatedState(s cdc.LookupStats, limit int64) *RelatedState {
	return &RelatedState{Hits: s.Hits, Misses: s.Misses, Dropped: s.Dropped, Evicted: s.Evicted, Queries: s.Queries, Seconds: s.Duration.Seconds(),
		Entries: s.Entries, Bytes: s.Bytes, MaxBytes: limit}
}

var (
	relatedHits    = counter("related_hits_total", "Related records, and lists of them, that were in memory.")
	relatedMisses  = counter("related_misses_total", "Related records, and lists of them, that were looked up in the source.")
	relatedDropped = counter("related_dropped_total", "Related records, and lists of them, that were dropped from memory as the stream brought a change of them.")
	relatedEvicted = counter("related_evicted_total", "Related records, and lists of them, that were dropped from memory for want of room.")
	relatedQueries = counter("related_lookups_total", "How often the source was asked for related records.")
	relatedSeconds = counter("related_lookup_seconds_total", "How long that took.")
	relatedEntries = gauge("related_cache_entries", "Related records, and lists of them, in memory.")
	relatedBytes   = gauge("related_cache_bytes", "Memory that they take.")
	relatedMax     = gauge("related_cache_max_bytes", "Memory that they may take (source.related_cache).")
)

// relatedFamilies are the metrics of look-ups.
var relatedFamilies = []family{relatedHits, relatedMisses, relatedDropped, relatedEvicted, relatedQueries, relatedSeconds, relatedEntries, relatedBytes, relatedMax}

// collect sends the figures, if rules look anything up.
func (r *RelatedState) collect(send func(f family, v float64, labels ...string)) {
	if r == nil {
		return
	}
	send(relatedHits, float64(r.Hits))
	send(relatedMisses, float64(r.Misses))
	send(relatedDropped, float64(r.Dropped))
	send(relatedEvicted, float64(r.Evicted))
	send(relatedQueries, float64(r.Queries))
	send(relatedSeconds, r.Seconds)
	send(relatedEntries, float64(r.Entries))
	send(relatedBytes, float64(r.Bytes))
	send(relatedMax, float64(r.MaxBytes))
}
