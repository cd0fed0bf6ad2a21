// Package collector turns snapshots into Prometheus metrics. All of them are
// constants made from one snapshot, so a scrape measures nothing, waits for
// nothing, and two scrapes of one snapshot are the same to the byte.
package collector

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"mglru_exporter/internal/heat"
)

// namespace begins the name of every metric.
const namespace = "mglru"

// Options says which series there are.
type Options struct {
	// LabelPID and LabelComm tell whether process series carry the labels pid
	// and comm. Series that differ only in a label that is off are merged.
	LabelPID, LabelComm bool
	// MaxSeries is how many series of ours a scrape returns at most, counted
	// as Prometheus does: a histogram is one for each bucket, its sum and its
	// count, and in OpenMetrics each counter and histogram has one more, its
	// start. 0 is no bound. The processes with the least resident memory are
	// left out, whole.
	MaxSeries int
	// ExposeAddresses gives mglru_address_band_info the label start.
	ExposeAddresses bool
}

// New returns a collector over what snap returns at the time of a scrape. A nil
// snapshot is one without anything in it. A snapshot must not change once snap
// has returned it.
func New(snap func() *heat.Snapshot, opts Options) *Collector {
	c := &Collector{snap: snap}
	c.set(opts)
	return c
}

// A Collector collects the metrics of snapshots. Its methods may be called from
// several goroutines.
type Collector struct {
	snap func() *heat.Snapshot

	mu       sync.Mutex // guards what follows
	opts     Options
	families families
	page     *Page  // the last; nil if there is to be another one
	dropped  uint64 // over all snapshots so far
}

// Set changes the options from the next scrape on. A registry that checks whether
// metrics are as they were described, as a pedantic one does, does not allow it.
func (c *Collector) Set(opts Options) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if opts != c.opts { // else what is left out would count again
		c.set(opts)
	}
}

func (c *Collector) set(opts Options) {
	c.opts, c.families, c.page = opts, newFamilies(opts), nil
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.families.all() {
		ch <- f.Desc
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(ch chan<- prometheus.Metric) { gatherer{c.Page()}.Collect(ch) }
