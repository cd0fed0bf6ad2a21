package top

import (
	"math"

	"mglru_exporter/internal/api"
)

// A spot is one or more rows of one window, drawn as one. Counts are of pages
// of 4 KiB.
type spot struct {
	accesses           uint64
	pages, anon, shmem uint64
	hot, warm, cold    uint64
	watched            uint64  // the sum of those three
	node               int     // where most pages are, -1 if that is not known
	idle               float64 // seconds, of the page that was accessed last
	passes             int
}

// observed tells whether the window can say something about the pages: about
// most of them where some were accessed, about nearly all where none was. What
// the window could not see is not taken for cold because others are.
func (s *spot) observed() bool {
	if s.accesses == 0 {
		return s.watched > 0 && 16*s.unobserved() < s.pages
	}
	return s.watched > 0 && 2*s.watched >= s.pages
}

func (s *spot) unobserved() uint64 { return s.pages - min(s.watched, s.pages) }

// heat is which share of the watched pages an average pass found young, 0 to 1.
func (s *spot) heat() float64 {
	if s.watched == 0 || s.passes <= 0 {
		return 0
	}
	return min(float64(s.accesses)/(float64(s.watched)*float64(s.passes)), 1)
}

// types are those of pages, in the order of their colours.
var types = [...]string{"anon", "file", "shmem"}

// mainType is the index of the type that most pages have.
func (s *spot) mainType() int {
	file := s.pages - min(s.anon+s.shmem, s.pages)
	switch {
	case s.anon >= file && s.anon >= s.shmem:
		return 0
	case file >= s.shmem:
		return 1
	default:
		return 2
	}
}

// fold makes one spot of the rows [from, to) of a window. All lists of the
// column have to be that long.
func fold(c *api.Column, from, to int) spot {
	s := spot{node: -1, idle: math.Inf(1), passes: c.Passes}
	var on nodePages
	for i := from; i < to; i++ {
		n := uint64(c.Pages[i])
		if n == 0 {
			continue
		}
		s.accesses += c.Accesses[i]
		s.pages += n
		s.anon += uint64(c.Anon[i])
		s.shmem += uint64(c.Shmem[i])
		s.hot += uint64(c.Hot[i])
		s.warm += uint64(c.Warm[i])
		s.cold += uint64(c.Cold[i])
		if c.Hot[i]|c.Warm[i]|c.Cold[i] != 0 {
			s.idle = min(s.idle, c.Idle[i])
		}
		on.add(c.Node[i], n)
	}
	s.watched = s.hot + s.warm + s.cold
	s.node = on.most()
	return s
}

// nodePages counts pages by node, of the first eight nodes that a spot has.
type nodePages struct {
	node  [8]int
	pages [8]uint64
	n     int
}

func (p *nodePages) add(node int, pages uint64) {
	i := 0
	for i < p.n && p.node[i] != node {
		i++
	}
	if i == len(p.node) {
		return
	}
	if i == p.n {
		p.node[i], p.n = node, i+1
	}
	p.pages[i] += pages
}

func (p *nodePages) most() int {
	best := 0
	for i := 1; i < p.n; i++ {
		if p.pages[i] > p.pages[best] {
			best = i
		}
	}
	if p.n == 0 {
		return -1
	}
	return p.node[best]
}

// span is the part of n rows that line i of so many lines shows: several where
// there are more rows than lines, and one on several lines where there are fewer.
func span(i, lines, n int) (from, to int) {
	from = i * n / lines
	return from, max((i+1)*n/lines, from+1)
}
