package heatmap

import (
	"slices"
	"strings"

	"mglru_exporter/internal/heat"
)

// places say what the regions of a window are mapped to.
type places struct {
	list  []place // in the order of regions, none overlapping another
	names []string
}

// A place is regions that follow each other in the mappings of one name. It may
// have holes: regions that are mapped but not resident.
type place struct {
	run
	// offset is how many regions the mappings of that name have below the first.
	offset uint64
	name   uint32 // index of places.names
}

// newPlaces finds out which mapping each region belongs to: the one that most
// of its addresses are in, and of those that may be accessed if there is any.
func newPlaces(regions []heat.RegionHeat, mappings []heat.Mapping) *places {
	p := &places{}
	ix := indexed{next: mappings, names: map[string]*named{}}
	for i := range regions {
		r := regions[i].Region
		name, offset, ok := ix.at(r)
		if !ok {
			continue
		}
		if n := len(p.list); n > 0 {
			last := &p.list[n-1]
			if p.names[last.name] == name && offset-last.offset == r-last.first {
				last.last = r
				continue
			}
		}
		k := &ix.names[name].index
		if *k < 0 {
			*k = len(p.names)
			p.names = append(p.names, strings.Clone(name)) // what it is a part of may be large
		}
		p.list = append(p.list, place{run{r, r}, offset, uint32(*k)})
	}
	p.list = slices.Clip(p.list)
	return p
}

func (p *places) equal(q *places) bool {
	return slices.Equal(p.list, q.list) && slices.Equal(p.names, q.names)
}

// indexed are mappings, gone through along with regions in ascending order.
type indexed struct {
	next   []heat.Mapping // that end above the last region
	active []mapped       // that have begun, and have not ended below it
	names  map[string]*named
}

// A mapped is a mapping, and how many regions the mappings of its name have below
// its own first.
type mapped struct {
	*heat.Mapping
	offset uint64
}

// A named is the mappings of one name.
type named struct {
	regions uint64 // that they reach into, so far
	end     uint64 // the region after the last of these
	index   int    // of places.names, -1 for none
}

// at returns the name that a region belongs to, and how many regions of that
// name are below it.
func (x *indexed) at(region uint64) (name string, offset uint64, ok bool) {
	from := region * heat.RegionSize
	to := from + heat.RegionSize - 1 // the last address: the next may be 0
	for len(x.next) > 0 && x.next[0].Start <= to {
		x.begin(&x.next[0])
		x.next = x.next[1:]
	}
	x.active = slices.DeleteFunc(x.active, func(m mapped) bool { return m.End <= from })
	var best mapped
	var most uint64
	for _, m := range x.active {
		size := min(m.End-1, to) - max(m.Start, from) + 1
		switch {
		case best.Mapping == nil, best.NoAccess && !m.NoAccess, best.NoAccess == m.NoAccess && size > most:
			best, most = m, size
		}
	}
	if best.Mapping == nil {
		return "", 0, false
	}
	return best.Name, best.offset + region - best.Start/heat.RegionSize, true
}

// begin counts the regions of a mapping.
func (x *indexed) begin(m *heat.Mapping) {
	if m.End <= m.Start {
		return
	}
	n := x.names[m.Name]
	if n == nil {
		n = &named{index: -1}
		x.names[m.Name] = n
	}
	first, end := m.Start/heat.RegionSize, (m.End-1)/heat.RegionSize+1
	if n.end > first { // the last one of that name ends in the region that this begins in
		n.regions -= n.end - first
	}
	x.active = append(x.active, mapped{m, n.regions})
	n.regions += end - first
	n.end = end
}
