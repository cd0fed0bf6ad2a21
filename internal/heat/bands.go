package heat

import (
	"maps"
	"slices"
)

// maxBandMapping is the size of the largest mapping that takes room in bands. What
// is larger is an address sanitizer's shadow or the like: of its memory there is
// so little that all else would be one band beside it.
const maxBandMapping = 1 << 40

// A Band is one of the parts of about the same size that a process's mapped
// address space is divided into, in the order of addresses and without the gaps.
type Band struct {
	// Accesses is the sum over the window's passes of watched pages found young.
	Accesses uint64
	// Resident is bytes.
	Resident uint64
	// Start is the address of the band's first region.
	Start uint64
	// Mapping is the name of the mapping that has most of the resident bytes or,
	// in a band without any, most of the mapped ones.
	Mapping string
}

// foldBands folds regions into n bands, or as many as there are mapped regions if
// these are fewer. Where bands begin depends on n and the mappings alone: each
// region that a mapping reaches into takes room once. Mappings that nobody may
// access take none, nor do those of more than maxBandMapping; a region that is in
// no other mapping, or in none, belongs to the band of the nearest one below it
// that has room, or else to the first. So the bands' sums are those of the
// regions. There is no band where no mapping takes room.
func foldBands(mappings []Mapping, regions []RegionHeat, n int) []Band {
	l := newLine(mappings)
	if n < 1 || l.length == 0 {
		return nil
	}
	bands := make([]Band, min(uint64(n), l.length))
	names := make([]map[string]uint64, len(bands)) // of each band, by resident bytes
	l.divide(bands)
	s := 0
	owners := ownerSearch{mappings: mappings}
	for i := range regions {
		r := &regions[i]
		s = l.span(s, r.Region)
		k := l.band(l.spans[s].position(r.Region), len(bands))
		b := &bands[k]
		resident := uint64(r.Resident) * PageSize
		b.Accesses += uint64(r.Accesses)
		b.Resident += resident
		if names[k] == nil {
			names[k] = map[string]uint64{}
		}
		names[k][owners.of(r.Region)] += resident
	}
	l.nameEmpty(bands, names, mappings)
	for k := range bands {
		bands[k].Mapping = most(names[k])
	}
	return bands
}

// most returns the name that has the most bytes, of several the first.
func most(bytes map[string]uint64) (best string) {
	var highest uint64
	for _, name := range slices.Sorted(maps.Keys(bytes)) {
		if n := bytes[name]; n > highest {
			best, highest = name, n
		}
	}
	return best
}

// takesRoom tells whether a mapping has a place in bands.
func (m *Mapping) takesRoom() bool {
	return m.Start < m.End && m.End-m.Start <= maxBandMapping && !m.NoAccess
}

// A line is the regions that take room, one after another.
type line struct {
	spans  []span // ascending
	length uint64 // in regions
}

// A span is regions in a row, first to last; at is the first's place in the line.
type span struct {
	first, last, at uint64
}

// position is where in the line a region is, or the nearest one of the span.
func (s *span) position(region uint64) uint64 {
	return s.at + min(max(region, s.first), s.last) - s.first
}

func newLine(mappings []Mapping) line {
	var l line
	for i := range mappings {
		m := &mappings[i]
		if !m.takesRoom() {
			continue
		}
		first, last := m.Start/RegionSize, (m.End-1)/RegionSize
		if k := len(l.spans) - 1; k >= 0 && first <= l.spans[k].last+1 {
			l.spans[k].last = max(l.spans[k].last, last)
			continue
		}
		l.spans = append(l.spans, span{first: first, last: last})
	}
	for i := range l.spans {
		l.spans[i].at = l.length
		l.length += l.spans[i].last - l.spans[i].first + 1
	}
	return l
}

// span returns the index of the last span that begins at a region or below it,
// or the first. From is the index of one to begin at: regions come in order.
func (l *line) span(from int, region uint64) int {
	if region < l.spans[from].first {
		from = 0
	}
	for from+1 < len(l.spans) && l.spans[from+1].first <= region {
		from++
	}
	return from
}

// band returns which of k bands a position belongs to. Sizes differ by one
// region at most.
func (l *line) band(position uint64, k int) int { return int(position * uint64(k) / l.length) }

// begin is the first position of a band of k.
func (l *line) begin(band, k int) uint64 {
	return (uint64(band)*l.length + uint64(k) - 1) / uint64(k)
}

// divide says where bands start.
func (l *line) divide(bands []Band) {
	s := 0
	for k := range bands {
		at := l.begin(k, len(bands))
		for s+1 < len(l.spans) && l.spans[s+1].at <= at {
			s++
		}
		bands[k].Start = (l.spans[s].first + at - l.spans[s].at) * RegionSize
	}
}

// nameEmpty counts, for the bands without resident pages, the mapped bytes of each
// name.
func (l *line) nameEmpty(bands []Band, names []map[string]uint64, mappings []Mapping) {
	s := 0
	for i := range mappings {
		m := &mappings[i]
		if !m.takesRoom() {
			continue
		}
		first, last := m.Start/RegionSize, (m.End-1)/RegionSize
		s = l.span(s, first)
		from, to := l.spans[s].position(first), l.spans[s].position(last)
		for k := l.band(from, len(bands)); k <= l.band(to, len(bands)); k++ {
			if bands[k].Resident > 0 {
				continue
			}
			// The positions of the mapping that the band has, without what of its
			// first and last region is another's.
			lo, hi := max(from, l.begin(k, len(bands))), min(to+1, l.begin(k+1, len(bands)))
			n := (hi - lo) * RegionSize
			if lo == from {
				n -= m.Start % RegionSize
			}
			if hi == to+1 {
				n -= RegionSize - 1 - (m.End-1)%RegionSize
			}
			if names[k] == nil {
				names[k] = map[string]uint64{}
			}
			names[k][m.Name] += n
		}
	}
}

// An ownerSearch finds the mapping that has most of a region.
type ownerSearch struct {
	mappings []Mapping
	next     int // the first mapping that ends above the region asked for last
}

// of returns the mapping's name, UnknownMapping if there is none. One that nobody may access
// has a region only where no other reaches into it.
func (o *ownerSearch) of(region uint64) string {
	start, last := region*RegionSize, region*RegionSize+(RegionSize-1)
	if o.next > 0 && o.mappings[o.next-1].End > start {
		o.next = 0
	}
	for o.next < len(o.mappings) && o.mappings[o.next].End <= start {
		o.next++
	}
	best, most := UnknownMapping, uint64(0)
	for i := o.next; i < len(o.mappings) && o.mappings[i].Start <= last; i++ {
		m := &o.mappings[i]
		n := min(m.End-1, last) - max(m.Start, start) + 1
		if !m.NoAccess {
			n += RegionSize
		}
		if n > most {
			best, most = m.Name, n
		}
	}
	return best
}
