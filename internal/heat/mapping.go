package heat

import (
	"cmp"
	"slices"
)

// A MappingWindow is one process's memory over one window, from a source that
// sees how much of a mapping was accessed but not which pages.
type MappingWindow struct {
	// Areas are in any order, each node and type once. They have no accesses.
	Areas []Area
	// SwappedBytes is the size of the pages that have an entry in swap.
	SwappedBytes uint64
	// Excluded is what a Selection has left out of Areas.
	Excluded []Excluded
	// Skips are the reasons for which memory is unobserved that would be cold
	// otherwise, as in the label of mglru_skipped_walks_total.
	Skips []string
}

// AddArea adds bytes to the area of their node and type.
func (w *MappingWindow) AddArea(add Area) {
	for i := range w.Areas {
		if a := &w.Areas[i]; a.Node == add.Node && a.Type == add.Type {
			a.add(&add)
			return
		}
	}
	w.Areas = append(w.Areas, add)
}

// Resident is the resident bytes of all areas.
func (w *MappingWindow) Resident() uint64 {
	var n uint64
	for i := range w.Areas {
		n += w.Areas[i].Resident
	}
	return n
}

// EndMappingWindow ends a window of one pass, by what the pass has found of each
// process. It takes the place of EndPass and EndWindow, and makes series of
// processes in the same way. A process without a MappingWindow has no series.
func (t *Tracker) EndMappingWindow(windows map[int]*MappingWindow) ([]Series, error) {
	index := map[seriesKey]int{}
	var out []Series
	for _, g := range t.group(func(tgid int) (uint64, bool) {
		if w := windows[tgid]; w != nil {
			return w.Resident(), true
		}
		return 0, false
	}) {
		i, ok := index[g.key]
		if !ok {
			i = len(out)
			index[g.key] = i
			out = append(out, Series{PID: g.key.pid, Comm: g.key.comm})
		}
		s := &out[i]
		for _, p := range g.procs {
			w := windows[p.TGID]
			s.SwappedBytes += w.SwappedBytes
			s.exclude(w.Excluded)
			for j := range w.Areas {
				if a := &w.Areas[j]; a.Resident > 0 {
					s.area(a.Node, a.Type).add(a)
				}
			}
		}
	}
	for i := range out {
		slices.SortFunc(out[i].Areas, func(a, b Area) int {
			return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Type, b.Type))
		})
	}
	return checked(out)
}

// add adds the bytes of an area of the same node and type.
func (a *Area) add(b *Area) {
	a.Hot += b.Hot
	a.Warm += b.Warm
	a.Cold += b.Cold
	a.Unobserved += b.Unobserved
	a.Resident += b.Resident
}
