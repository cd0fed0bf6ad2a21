package heat

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"unicode/utf8"
)

// A Selection says which mappings of a process are looked at: those that any of
// its patterns or ranges names. The zero value says all.
type Selection struct {
	// Names are patterns of mappings' names that CheckPattern finds no fault with.
	Names []string
	// Ranges are of addresses.
	Ranges []Range
}

// A Range is the addresses from Start to before End, both multiples of PageSize.
type Range struct{ Start, End uint64 }

// An Excluded is what a Selection leaves out of one node and type.
type Excluded struct {
	// Node is the NUMA node, -1 where it is not known.
	Node int
	// Type is the type of the pages.
	Type Type
	// Bytes are resident.
	Bytes uint64
}

// All tells whether it leaves nothing out.
func (s *Selection) All() bool { return len(s.Names) == 0 && len(s.Ranges) == 0 }

// Named tells whether it takes mappings of a name wherever they are. In a pattern
// * stands for any characters or none, ? for one, \ takes the meaning from the
// next character, and all else, brackets too, stands for itself. A file that has
// been deleted matches with or without the " (deleted)" after its path.
func (s *Selection) Named(name string) bool {
	path, deleted := strings.CutSuffix(name, " (deleted)")
	for _, p := range s.Names {
		if matchName(p, name) || deleted && matchName(p, path) {
			return true
		}
	}
	return false
}

// Touches tells whether it takes a mapping or, by address, a part of one.
func (s *Selection) Touches(m *Mapping) bool {
	if s.All() || s.Named(m.Name) {
		return true
	}
	return slices.ContainsFunc(s.Ranges, func(r Range) bool { return r.Start < m.End && m.Start < r.End })
}

// Select leaves the pages and mappings of a selection. What it takes away of
// resident pages is in r.Excluded then; swapped pages stay as they are.
//
// Of resident pages that were only counted it is known which mapping they are in,
// but not where: they stay if the selection takes any part of that.
func (r *Residency) Select(s *Selection) {
	r.Excluded = nil
	if s.All() {
		return
	}
	kept := s.cut(r.Mappings)
	unscanned := r.Unscanned[:0]
	for _, u := range r.Unscanned {
		i := slices.IndexFunc(r.Mappings, func(m Mapping) bool { return m.Start == u.Mapping })
		if i >= 0 && s.Touches(&r.Mappings[i]) {
			unscanned = append(unscanned, u)
		} else {
			r.Excluded = Exclude(r.Excluded, int(u.Node), u.Type, u.Pages*PageSize)
		}
	}
	r.Unscanned = unscanned
	r.Mappings = kept

	parts := r.Parts[:0]
	cut := pageCut{mappings: kept, region: ^uint64(0)}
	for _, part := range r.Parts {
		cut.at(part.Region)
		if cut.whole {
			parts = append(parts, part)
			continue
		}
		all := part.Pages.Count()
		part.Pages.and(&cut.pages)
		left := part.Pages.Count()
		r.Excluded = Exclude(r.Excluded, int(part.Node), part.Type, uint64(all-left)*PageSize)
		if left > 0 {
			parts = append(parts, part)
		}
	}
	r.Parts = parts
}

// A pageCut tells which pages of regions are in mappings. It is quick where
// regions come in order.
type pageCut struct {
	mappings []Mapping
	next     int // the first that ends above the start of region
	region   uint64
	pages    Bitmap
	whole    bool // pages are all
}

// at goes to a region.
func (c *pageCut) at(region uint64) {
	if region == c.region {
		return
	}
	if region < c.region {
		c.next = 0
	}
	c.region, c.pages = region, Bitmap{}
	first := region * PagesPerRegion
	for c.next < len(c.mappings) && c.mappings[c.next].End/PageSize <= first {
		c.next++
	}
	c.whole = false
	for _, m := range c.mappings[c.next:] {
		from, to := max(m.Start/PageSize, first), min(m.End/PageSize, first+PagesPerRegion)
		if from >= to {
			break
		}
		if c.whole = to-from == PagesPerRegion; c.whole {
			break
		}
		c.pages.SetRange(int(from-first), int(to-first))
	}
}

// Exclude adds bytes to those of their node and type.
func Exclude(list []Excluded, node int, typ Type, bytes uint64) []Excluded {
	if bytes == 0 {
		return list
	}
	for i := range list {
		if x := &list[i]; x.Node == node && x.Type == typ {
			x.Bytes += bytes
			return list
		}
	}
	return append(list, Excluded{Node: node, Type: typ, Bytes: bytes})
}

// exclude adds what was left out of one of the series' processes.
func (s *Series) exclude(list []Excluded) {
	for _, x := range list {
		s.Excluded = Exclude(s.Excluded, x.Node, x.Type, x.Bytes)
	}
}

// cut returns the mappings that are selected, and of those of which ranges select
// parts, the parts.
func (s *Selection) cut(mappings []Mapping) []Mapping {
	ranges := slices.Clone(s.Ranges)
	slices.SortFunc(ranges, func(a, b Range) int { return cmp.Compare(a.Start, b.Start) })
	var kept []Mapping
	var named bool // those of the name of the mapping at hand
	for i := range mappings {
		m := mappings[i]
		if i == 0 || m.Name != mappings[i-1].Name {
			named = s.Named(m.Name)
		}
		if named {
			kept = append(kept, m)
			continue
		}
		at := m.Start
		for _, r := range ranges {
			from, to := max(r.Start, at), min(r.End, m.End)
			if from >= to {
				continue
			}
			piece := m
			piece.Start, piece.End = from, to
			if m.HasFile() {
				piece.Offset += from - m.Start
			}
			kept = append(kept, piece)
			at = to
		}
	}
	return kept
}

// CheckPattern tells what is wrong with a pattern of Selection.Names.
func CheckPattern(p string) error {
	switch {
	case p == "":
		return errors.New("is empty, and no mapping's name is")
	case strings.ContainsAny(p, "\x00\n"):
		return errors.New("has a NUL byte or a newline, which no mapping's name has")
	}
	for i := 0; i < len(p); i++ {
		if p[i] != '\\' {
			continue
		}
		if i++; i == len(p) {
			return errors.New(`ends in a backslash that escapes nothing, write \\ for the character`)
		}
	}
	return nil
}

// matchName matches all of a name. Only the last * ever has to be tried again: an
// earlier one that took more would gain nothing.
func matchName(pattern, name string) bool {
	p, n := 0, 0
	star, taken := -1, 0
	for n < len(name) {
		if p < len(pattern) {
			switch c := pattern[p]; {
			case c == '*':
				p++
				star, taken = p, n
				continue
			case c == '?':
				_, size := utf8.DecodeRuneInString(name[n:])
				p, n = p+1, n+size
				continue
			case c == '\\' && p+1 < len(pattern):
				if pattern[p+1] == name[n] {
					p, n = p+2, n+1
					continue
				}
			case c == name[n]:
				p, n = p+1, n+1
				continue
			}
		}
		if star < 0 {
			return false
		}
		taken++
		p, n = star, taken
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
