package heatmap

import (
	"fmt"
	"iter"
	"slices"
	"time"

	"mglru_exporter/internal/api"
	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/name"
)

// A Query says what is to be seen of a process.
type Query struct {
	// Rows and Windows are the most rows and columns that there may be, from 1.
	Rows, Windows int
	// From and To are the first position and the one after the last; 0 for To is
	// for all. What is beyond the last position is left out.
	From, To int
	// Addresses gives rows their addresses.
	Addresses bool
}

// A View is the heatmap of one process. It does not change with the History.
type View struct {
	// Regions, From, To, Rows and Nodes are those of api.Heatmap.
	Regions, From, To int
	Rows              []api.Row
	Nodes             []int

	windows   []*window
	stretches []stretch
	perRow    int
}

// View returns what is kept of a process; false if that is nothing.
func (h *History) View(memcg string, pid int, q Query) (*View, bool) {
	windows := h.windows(memcg, pid, q.Windows)
	if len(windows) == 0 {
		return nil, false
	}
	v := &View{windows: windows, Nodes: []int{}}
	v.stretches, v.Regions = union(windows)
	v.To = v.Regions
	if q.To > 0 {
		v.To = min(q.To, v.Regions)
	}
	v.From = min(q.From, v.To)
	v.perRow = max(1, (v.To-v.From+q.Rows-1)/q.Rows)
	v.makeRows(q.Addresses)
	for _, w := range windows {
		for _, node := range w.nodes {
			if i, found := slices.BinarySearch(v.Nodes, int(node)); !found {
				v.Nodes = slices.Insert(v.Nodes, i, int(node))
			}
		}
	}
	return v, true
}

// makeRows makes the rows, all of as many positions but for the last.
func (v *View) makeRows(addresses bool) {
	n := (v.To - v.From + v.perRow - 1) / v.perRow
	v.Rows = make([]api.Row, n)
	bounds := make([]run, n) // the first and the last region of each row
	at := 0
	for i := range v.Rows {
		from := v.From + i*v.perRow
		to := min(from+v.perRow, v.To)
		bounds[i].first = v.region(&at, from)
		bounds[i].last = v.region(&at, to-1)
		v.Rows[i] = api.Row{Position: from, Regions: to - from}
		if addresses {
			v.Rows[i].Address = fmt.Sprintf("%#x", bounds[i].first*heat.RegionSize)
		}
	}
	// The last window that has a row's first region says what it is.
	named := make([]bool, n)
	for i, w := range slices.Backward(v.windows) {
		if i+1 < len(v.windows) && w.places == v.windows[i+1].places {
			continue
		}
		w.places.describe(v.Rows, bounds, named)
	}
}

// region returns the region at a position; at is the index of a stretch that is
// not above it.
func (v *View) region(at *int, position int) uint64 {
	for *at+1 < len(v.stretches) && v.stretches[*at+1].position <= position {
		*at++
	}
	s := v.stretches[*at]
	return s.first + uint64(position-s.position)
}

// describe says of the rows that have no name yet what they are mapped to.
func (p *places) describe(rows []api.Row, bounds []run, named []bool) {
	seen := make([]int, len(p.names)) // the last row, from 1, that had the name
	i := 0
	for row := range rows {
		first, last := bounds[row].first, bounds[row].last
		for i < len(p.list) && p.list[i].last < first {
			i++
		}
		if i == len(p.list) {
			return
		}
		at := p.list[i]
		if named[row] || at.first > first {
			continue
		}
		named[row] = true
		rows[row].Mapping = name.Escape(p.names[at.name])
		rows[row].Offset = (at.offset + first - at.first) * heat.RegionSize
		for _, other := range p.list[i:] {
			if other.first > last {
				break
			}
			if seen[other.name] != row+1 {
				seen[other.name] = row + 1
				rows[row].Mappings++
			}
		}
	}
}

// Columns yields the windows, the oldest first. A column is valid only until the
// next.
func (v *View) Columns() iter.Seq[*api.Column] {
	return func(yield func(*api.Column) bool) {
		f := newFold(v)
		for _, w := range v.windows {
			f.window(w)
			if !yield(&f.column) {
				return
			}
		}
	}
}

// A fold makes columns of windows, one at a time.
type fold struct {
	*View
	column api.Column
	// pages are those of each row by node: first those of -1, then those of
	// View.Nodes.
	pages []uint32
	nodes map[int16]int
	idle  []uint32
}

func newFold(v *View) *fold {
	n := len(v.Rows)
	f := &fold{
		View: v,
		column: api.Column{
			Accesses: make([]uint64, n), Pages: make([]uint32, n), Anon: make([]uint32, n), Shmem: make([]uint32, n),
			Hot: make([]uint32, n), Warm: make([]uint32, n), Cold: make([]uint32, n),
			Node: make([]int, n), Idle: make([]float64, n),
		},
		pages: make([]uint32, n*(1+len(v.Nodes))),
		nodes: map[int16]int{-1: 0},
		idle:  make([]uint32, n),
	}
	for i, node := range v.Nodes {
		f.nodes[int16(node)] = i + 1
	}
	return f
}

// window makes the column of a window.
func (f *fold) window(w *window) {
	c := &f.column
	c.End, c.Passes = w.end, w.passes
	clear(c.Accesses)
	for _, list := range [][]uint32{c.Pages, c.Anon, c.Shmem, c.Hot, c.Warm, c.Cold, f.pages} {
		clear(list)
	}
	cells := cellReader{left: w.cells}
	left, s := 0, 0 // how often the cell comes yet, and which stretch has the run
	node := f.nodes[cells.cell.node]
	for r := range runs(w.regions) {
		for f.stretches[s].last < r.first {
			s++
		}
		position := f.stretches[s].position + int(r.first-f.stretches[s].first)
		end := position + int(r.last-r.first) + 1
		for position < end {
			if left == 0 {
				before := cells.cell.node
				left = cells.next()
				if cells.cell.node != before {
					node = f.nodes[cells.cell.node]
				}
			}
			n := min(left, end-position)
			f.add(&cells.cell, node, position, n)
			position += n
			left -= n
		}
	}
	for row := range f.Rows {
		if c.Pages[row] == 0 {
			f.idle[row] = 0
		}
		c.Node[row], c.Idle[row] = f.mostly(row), float64(f.idle[row])/float64(time.Second/idleUnit)
	}
}

// add adds a cell to the rows of n positions.
func (f *fold) add(cell *cell, node, position, n int) {
	from, to := max(position, f.From), min(position+n, f.To)
	c := &f.column
	for from < to {
		row := (from - f.From) / f.perRow
		k := min(to, f.From+(row+1)*f.perRow) - from
		from += k
		if cell.resident == 0 {
			continue
		}
		if c.Pages[row] == 0 || cell.idle < f.idle[row] {
			f.idle[row] = cell.idle
		}
		m := uint32(k)
		c.Accesses[row] += uint64(cell.accesses) * uint64(m)
		c.Pages[row] += uint32(cell.resident) * m
		c.Anon[row] += uint32(cell.anon) * m
		c.Shmem[row] += uint32(cell.shmem) * m
		c.Hot[row] += uint32(cell.hot) * m
		c.Warm[row] += uint32(cell.warm) * m
		c.Cold[row] += uint32(cell.cold) * m
		f.pages[row*(1+len(f.Nodes))+node] += uint32(cell.resident) * m
	}
}

// mostly returns the node that most of a row's pages are on.
func (f *fold) mostly(row int) int {
	n := 1 + len(f.Nodes)
	pages := f.pages[row*n : (row+1)*n]
	best := 0
	for i, p := range pages {
		if p > pages[best] {
			best = i
		}
	}
	if best == 0 {
		return -1
	}
	return f.Nodes[best-1]
}
