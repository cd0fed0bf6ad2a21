package heat

import (
	"cmp"
	"slices"
)

// A neverCount counts the pages of one area that were never accessed, by the
// name of their mapping. It is one window's.
type neverCount struct {
	names map[string]uint64
	// Regions in a row have one mapping: name is the last one's, and pages is
	// what names lacks of it.
	name  string
	pages uint64
}

func (c *neverCount) add(name string, pages uint64) {
	if name != c.name {
		c.flush()
		c.name = name
	}
	c.pages += pages
}

func (c *neverCount) flush() {
	if c.pages == 0 {
		return
	}
	if c.names == nil {
		c.names = map[string]uint64{}
	}
	c.names[c.name] += c.pages
	c.pages = 0
}

// countNever counts what of a part was never accessed, by mapping. Parts come in
// the order of addresses.
func (t *Tracker) countNever(p *processWindow, part *ResidentPart, never *Bitmap) {
	var rest Bitmap
	for i := range words {
		rest[i] = never[i] & part.Pages[i]
	}
	count := &t.counter(p).never
	mappings := p.res.Mappings
	first, start := part.Region*PagesPerRegion, part.Region*RegionSize
	for p.mapping < len(mappings) && mappings[p.mapping].End <= start {
		p.mapping++
	}
	for i := p.mapping; i < len(mappings) && mappings[i].Start/PageSize < first+PagesPerRegion; i++ {
		m := &mappings[i]
		if m.Start <= start && start+RegionSize <= m.End {
			count.add(m.Name, uint64(rest.Count()))
			return
		}
		var pages Bitmap
		pages.SetRange(int(max(m.Start/PageSize, first)-first), int(min(m.End/PageSize, first+PagesPerRegion)-first))
		if n := pages.common(&rest); n > 0 {
			count.add(m.Name, uint64(n))
			rest.remove(&pages)
		}
	}
	if n := rest.Count(); n > 0 {
		count.add(UnknownMapping, uint64(n))
	}
}

// attachNever gives a series' areas what was never accessed of them. Which
// mappings are named is up to the whole series.
func (t *Tracker) attachNever(counts counters, s *Series) {
	total := map[string]uint64{}
	for _, c := range counts {
		c.never.flush()
		for name, pages := range c.never.names {
			total[name] += pages
		}
	}
	if len(total) == 0 {
		return
	}
	top := byBytes(total)
	top = top[:min(len(top), t.params.NeverTop)]
	for i := range s.Areas {
		a := &s.Areas[i]
		c := counts[areaKey{int16(a.Node), a.Type}]
		if c == nil || len(c.never.names) == 0 {
			continue
		}
		named := map[string]uint64{}
		for name, pages := range c.never.names {
			if !slices.ContainsFunc(top, func(m MappingBytes) bool { return m.Mapping == name }) {
				name = OtherMappings
			}
			named[name] += pages * PageSize
		}
		a.Never = byBytes(named)
	}
	for _, c := range counts {
		c.never = neverCount{}
	}
}

// byBytes sorts names by their bytes, most first, then by name.
func byBytes(names map[string]uint64) []MappingBytes {
	list := make([]MappingBytes, 0, len(names))
	for name, bytes := range names {
		list = append(list, MappingBytes{name, bytes})
	}
	slices.SortFunc(list, func(a, b MappingBytes) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Mapping, b.Mapping))
	})
	return list
}
