// Package collector turns snapshots into Prometheus metrics. All of them are
// constants made from one snapshot, so a scrape measures nothing, waits for
// nothing, and two scrapes of one snapshot are the same but for their time.
package collector

import (
	"slices"
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
	// MaxSeries is how many process series a scrape returns at most, counted
	// as Prometheus does: a histogram is one for each bucket, its sum and its
	// count. 0 is no bound. The processes with the least resident memory are
	// left out, whole.
	MaxSeries int
	// ExposeAddresses gives mglru_address_band_info the label start.
	ExposeAddresses bool
}

// New returns a collector over what snap returns at the time of a scrape. A nil
// snapshot is one without anything in it. A snapshot must not change once snap
// has returned it.
func New(snap func() *heat.Snapshot, opts Options) *Collector {
	c := &Collector{
		snap:       snap,
		passes:     newPasses(),
		gens:       newGenerations(),
		containers: newContainers(),
		self:       newSelf(),
	}
	c.set(opts)
	return c
}

// A Collector collects the metrics of snapshots. Its methods may be called from
// several goroutines.
type Collector struct {
	snap func() *heat.Snapshot

	passes     passes
	gens       generations
	containers containers
	self       self

	mu       sync.Mutex // guards what follows
	opts     Options
	memory   memory
	regions  regions
	idle     idle
	never    never
	bands    bands
	excluded excluded
	last     *heat.Snapshot      // nil if metrics are to be made anew
	metrics  []prometheus.Metric // of last
	dropped  uint64              // over all snapshots so far
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
	process := []string{"memcg"}
	if opts.LabelPID {
		process = append(process, "pid")
	}
	if opts.LabelComm {
		process = append(process, "comm")
	}
	area := slices.Concat(process, []string{"node", "type"})
	c.opts, c.last = opts, nil
	c.memory, c.regions, c.idle = newMemory(process, area), newRegions(area), newIdle(area)
	c.never, c.bands, c.excluded = newNever(area), newBands(process, opts.ExposeAddresses), newExcluded(area)
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, descs := range [][]*prometheus.Desc{
		c.memory.descs(), c.regions.descs(), c.idle.descs(), c.never.descs(), c.bands.descs(), c.excluded.descs(),
		c.passes.descs(), c.gens.descs(), c.containers.descs(), c.self.descs(),
	} {
		for _, d := range descs {
			ch <- d
		}
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	for _, m := range c.current() {
		ch <- m
	}
}

// current returns the metrics of the current snapshot. They are made at its
// first scrape; what max_series leaves out is counted then, and only then.
func (c *Collector) current() []prometheus.Metric {
	c.mu.Lock()
	defer c.mu.Unlock()
	snap := c.snap()
	if snap == nil {
		snap = &heat.Snapshot{}
	} else if snap == c.last {
		return c.metrics
	}
	memcgs := uniqueMemcgs(snap)
	kept, dropped := limit(makeRows(memcgs, c.opts), c.opts.MaxSeries)
	c.dropped += dropped

	e := &emitter{metrics: make([]prometheus.Metric, 0, len(c.metrics))}
	for _, r := range kept {
		c.memory.emit(e, r)
		c.regions.emit(e, r)
		c.idle.emit(e, r)
		c.never.emit(e, r)
		c.bands.emit(e, r)
		c.excluded.emit(e, r)
	}
	for _, m := range memcgs {
		c.passes.emit(e, m)
		c.gens.emit(e, m)
		c.containers.emit(e, m)
	}
	c.self.emit(e, snap, c.dropped)
	c.last, c.metrics = snap, e.metrics
	return c.metrics
}

// desc describes a metric of ours.
func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
}

// An emitter collects metrics. What cannot be made into one becomes an error of
// the scrape, which leaves the other metrics alone.
type emitter struct {
	metrics []prometheus.Metric
}

func (e *emitter) gauge(d *prometheus.Desc, v float64, labels ...string) {
	e.add(d)(prometheus.NewConstMetric(d, prometheus.GaugeValue, v, labels...))
}

func (e *emitter) counter(d *prometheus.Desc, v float64, labels ...string) {
	e.add(d)(prometheus.NewConstMetric(d, prometheus.CounterValue, v, labels...))
}

// histogram takes counts that are not cumulative: one for each bound, and one
// for what is above all bounds.
func (e *emitter) histogram(d *prometheus.Desc, bounds []float64, counts []uint64, sum float64, labels ...string) {
	buckets := make(map[float64]uint64, len(bounds))
	var n uint64
	for i, c := range counts {
		n += c
		if i < len(bounds) {
			buckets[bounds[i]] = n
		}
	}
	e.add(d)(prometheus.NewConstHistogram(d, n, sum, buckets, labels...))
}

func (e *emitter) add(d *prometheus.Desc) func(prometheus.Metric, error) {
	return func(m prometheus.Metric, err error) {
		if err != nil {
			m = prometheus.NewInvalidMetric(d, err)
		}
		e.metrics = append(e.metrics, m)
	}
}

// byReason emits a counter for each key of a map.
func (e *emitter) byReason(d *prometheus.Desc, counts map[string]uint64, labels ...string) {
	for reason, n := range counts {
		e.counter(d, float64(n), append(slices.Clip(labels), reason)...)
	}
}
