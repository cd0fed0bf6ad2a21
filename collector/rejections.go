package collector

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Rejections counts what HTTP's limits have cut. Its methods may be called from several
// goroutines.
type Rejections struct {
	total *family

	mu     sync.Mutex // guards counts
	counts map[string]uint64
}

// NewRejections returns Rejections for these reasons.
func NewRejections(reasons ...string) *Rejections {
	r := &Rejections{
		total:  desc("http_rejections_total", "HTTP requests, connections and event streams cut off by a limit.", "reason"),
		counts: map[string]uint64{},
	}
	for _, reason := range reasons {
		r.counts[reason] = 0
	}
	return r
}

// Add counts one. A reason that is not known is not counted.
func (r *Rejections) Add(reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.counts[reason]; ok {
		r.counts[reason]++
	}
}

// Describe implements prometheus.Collector.
func (r *Rejections) Describe(ch chan<- *prometheus.Desc) { ch <- r.total.Desc }

// Collect implements prometheus.Collector.
func (r *Rejections) Collect(ch chan<- prometheus.Metric) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := &emitter{}
	e.byReason(r.total, r.counts)
	for _, m := range e.metrics {
		ch <- m
	}
}
