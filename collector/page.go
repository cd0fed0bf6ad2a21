package collector

import (
	"io"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"mglru_exporter/internal/heat"
)

// A Page is what a scrape returns of one snapshot. It never changes.
type Page struct {
	families families
	snap     *heat.Snapshot
	memcgs   []*heat.MemcgSnapshot
	rows     []*row
	dropped  uint64
}

// Page returns the page of the current snapshot: the same one until there is another
// snapshot, or other options. What limits leave out is counted when a page is made.
func (c *Collector) Page() *Page {
	c.mu.Lock()
	defer c.mu.Unlock()
	snap := c.snap()
	if snap == nil {
		snap = &heat.Snapshot{}
	} else if c.page != nil && snap == c.page.snap {
		return c.page
	}
	p := &Page{families: c.families, snap: snap, memcgs: uniqueMemcgs(snap)}
	p.rows = makeRows(p.memcgs, c.opts)
	c.dropped += p.limit(c.opts.MaxSeries)
	p.dropped, c.page = c.dropped, p
	return p
}

// WriteText writes the page in Prometheus's text format, or in OpenMetrics without its
// last line, "# EOF". The error is the writer's.
func (p *Page) WriteText(w io.Writer, openMetrics bool) error {
	e := &emitter{text: newText(openMetrics)}
	p.emit(e)
	return e.text.writeTo(w)
}

// Gather implements prometheus.Gatherer. It is for formats other than text.
func (p *Page) Gather() ([]*dto.MetricFamily, error) {
	reg := prometheus.NewRegistry()
	if err := reg.Register(gatherer{p}); err != nil {
		return nil, err
	}
	return reg.Gather()
}

// A gatherer has a page collected.
type gatherer struct{ *Page }

// Describe implements prometheus.Collector.
func (g gatherer) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range g.families.all() {
		ch <- f.Desc
	}
}

// Collect implements prometheus.Collector.
func (g gatherer) Collect(ch chan<- prometheus.Metric) {
	e := &emitter{}
	g.emit(e)
	for _, m := range e.metrics {
		ch <- m
	}
}

// emit emits the page group by group of families.
func (p *Page) emit(e *emitter) {
	f := &p.families
	for _, r := range p.rows {
		f.memory.emit(e, r)
		f.regions.emit(e, r)
		f.idle.emit(e, r)
		f.never.emit(e, r)
		f.bands.emit(e, r)
		f.excluded.emit(e, r)
	}
	for _, m := range p.memcgs {
		p.emitMemcg(e, m)
	}
	f.self.emit(e, p.snap, p.dropped)
}

// emitMemcg emits the series of a memcg itself. One without processes, such as those that
// sessions leave behind, has only what is not 0.
func (p *Page) emitMemcg(e *emitter, m *heat.MemcgSnapshot) {
	f := &p.families
	if m.TrackedProcesses > 0 || len(m.Series) > 0 {
		f.passes.emit(e, m)
		f.containers.emit(e, m)
		f.gens.emit(e, m)
		return
	}
	f.passes.emitFailures(e, m)
	if slices.ContainsFunc(m.Generations, charged) {
		f.containers.emit(e, m)
		f.gens.emit(e, m)
	}
}

// families are all that a page can have.
type families struct {
	memory     memory
	regions    regions
	idle       idle
	never      never
	bands      bands
	excluded   excluded
	passes     passes
	gens       generations
	containers containers
	self       self
}

func newFamilies(opts Options) families {
	process := []string{"memcg"}
	if opts.LabelPID {
		process = append(process, "pid")
	}
	if opts.LabelComm {
		process = append(process, "comm")
	}
	area := slices.Concat(process, []string{"node", "type"})
	return families{
		memory: newMemory(process, area), regions: newRegions(area), idle: newIdle(area),
		never: newNever(area), bands: newBands(process, opts.ExposeAddresses), excluded: newExcluded(area),
		passes: newPasses(), gens: newGenerations(), containers: newContainers(), self: newSelf(),
	}
}

func (f *families) all() []*family {
	return slices.Concat(f.memory.descs(), f.regions.descs(), f.idle.descs(), f.never.descs(), f.bands.descs(), f.excluded.descs(),
		f.passes.descs(), f.gens.descs(), f.containers.descs(), f.self.descs())
}
