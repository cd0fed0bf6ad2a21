package collector

import (
	"cmp"
	"slices"

	"mglru_exporter/internal/heat"
)

// labelBytes is how many bytes of label values the series of a page have at most, on
// average; those of Kubernetes have some 250. It bounds what long names can take.
const labelBytes = 512

// A room is what a page has left for series.
type room struct {
	series, bytes int64
}

// take takes what something needs, or reports that there is too little.
func (r *room) take(need room) bool {
	if need.series > r.series || need.bytes > r.bytes {
		return false
	}
	r.series -= need.series
	r.bytes -= need.bytes
	return true
}

// limit leaves out what Options.MaxSeries has no room for, and returns how many series
// that are. The exporter's own are always there. Of the rest, series of memcgs get at
// most half, those of memcgs with the most resident memory; processes get what is left,
// those with the most, up to the first that does not fit. The order of ties is that of
// names, so that equal snapshots give equal choices.
func (p *Page) limit(most int) (dropped uint64) {
	if most <= 0 {
		return 0
	}
	own := &emitter{counting: true}
	p.families.self.emit(own, p.snap, 0)
	all := room{int64(most) - own.counted.series, int64(most) * labelBytes}

	resident := map[*heat.MemcgSnapshot]uint64{}
	for _, r := range p.rows {
		resident[r.memcg] += r.resident
	}
	memcgs := room{all.series / 2, all.bytes / 2}
	rest := room{all.series - memcgs.series, all.bytes - memcgs.bytes}
	p.memcgs, dropped = keep(p.memcgs, &memcgs, p.memcgCost, func(a, b *heat.MemcgSnapshot) int {
		return cmp.Or(cmp.Compare(resident[b], resident[a]), cmp.Compare(b.TrackedProcesses, a.TrackedProcesses), cmp.Compare(a.Path, b.Path))
	})
	rest.series += memcgs.series
	rest.bytes += memcgs.bytes

	var rows uint64
	p.rows, rows = keep(p.rows, &rest, (*row).cost, func(a, b *row) int {
		return cmp.Or(cmp.Compare(b.resident, a.resident), slices.Compare(a.labels, b.labels))
	})
	return dropped + rows
}

// memcgCost is what the series of a memcg itself need.
func (p *Page) memcgCost(m *heat.MemcgSnapshot) room {
	e := &emitter{counting: true}
	p.emitMemcg(e, m)
	return e.counted
}

// cost is what the series of a row need.
func (r *row) cost() room {
	c := room{series: int64(r.size())}
	each := int64(0)
	for _, l := range r.labels {
		each += int64(len(l))
	}
	c.bytes = each * c.series
	for i := range r.areas {
		for _, m := range r.areas[i].Never {
			c.bytes += int64(len(m.Mapping))
		}
	}
	for i := range r.bands {
		c.bytes += int64(len(r.bands[i].Mapping))
	}
	return c
}

// keep returns those that there is room for, by order, which are few where all fit: then
// it keeps them as they are. What does not fit ends it.
func keep[T any](all []T, left *room, cost func(T) room, order func(a, b T) int) (kept []T, dropped uint64) {
	costs := make([]room, len(all))
	var sum room
	for i, x := range all {
		costs[i] = cost(x)
		sum.series += costs[i].series
		sum.bytes += costs[i].bytes
	}
	if left.take(sum) {
		return all, 0
	}
	places := make([]int, len(all))
	for i := range places {
		places[i] = i
	}
	slices.SortFunc(places, func(i, j int) int { return order(all[i], all[j]) })
	n := 0
	for n < len(places) && left.take(costs[places[n]]) {
		n++
	}
	for _, i := range places[n:] {
		dropped += uint64(costs[i].series)
	}
	slices.Sort(places[:n]) // as they were
	for _, i := range places[:n] {
		kept = append(kept, all[i])
	}
	return kept, dropped
}
