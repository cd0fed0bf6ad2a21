package heat

import (
	"cmp"
	"slices"
)

// A seriesKey tells one series' histograms from another's. Its pid is 0 where
// the config merges processes.
type seriesKey struct {
	pid  int
	comm string
	node int16
	typ  Type
}

// A Visitor is shown each part of each process as a window ends. What it is
// given is valid only during the call.
type Visitor func(p Process, part *ResidentPart, c *Classes)

// EndWindow ends a window right after its last pass: it classifies the pages of
// each process by the residency that was read just before that pass, and
// watches these pages from now on. A process without a residency is known but
// has nothing watched, and no series. Visit may be nil.
func (t *Tracker) EndWindow(residency map[int]*Residency, visit Visitor) ([]Series, error) {
	groups := t.group(residency)
	left := t.params.MaxRegions
	index := map[seriesKey]int{}
	var out []Series
	at := func(k seriesKey) *Series {
		i, ok := index[k]
		if !ok {
			i = len(out)
			index[k] = i
			out = append(out, Series{PID: k.pid, Comm: k.comm})
		}
		return &out[i]
	}
	for _, g := range groups {
		for _, p := range g.procs {
			res := residency[p.TGID]
			s := at(g.key)
			s.SwappedBytes += res.SwappedPages * PageSize
			t.endProcess(p, res, g.key, s, visit)
			watch := t.params.MaxRegions == 0 || distinctRegions(res) <= left
			if t.params.MaxRegions > 0 && watch {
				left -= distinctRegions(res)
			}
			t.watch(p, res, watch)
		}
	}
	for _, p := range t.procs {
		if residency[p.TGID] == nil {
			t.watch(p, &Residency{}, false)
		}
	}
	t.attachHistograms(out, index)
	slices.SortFunc(out, func(a, b Series) int {
		return cmp.Or(cmp.Compare(a.PID, b.PID), cmp.Compare(a.Comm, b.Comm))
	})
	return out, (&MemcgSnapshot{Series: out}).Check()
}

// A group is the processes that share a series.
type group struct {
	key      seriesKey
	resident uint64
	procs    []*process
}

// group puts processes into their series, the biggest first, and all beyond the
// top N under PIDOther.
func (t *Tracker) group(residency map[int]*Residency) []*group {
	byKey := map[seriesKey]*group{}
	var groups []*group
	for _, p := range t.procs {
		res := residency[p.TGID]
		if res == nil {
			continue
		}
		k := seriesKey{}
		if t.params.LabelPID {
			k.pid = p.TGID
		}
		if t.params.LabelComm {
			k.comm = p.Comm
		}
		g := byKey[k]
		if g == nil {
			g = &group{key: k}
			byKey[k] = g
			groups = append(groups, g)
		}
		g.resident += res.pages()
		g.procs = append(g.procs, p)
	}
	for _, g := range groups {
		slices.SortFunc(g.procs, func(a, b *process) int { return cmp.Compare(a.TGID, b.TGID) })
	}
	slices.SortFunc(groups, func(a, b *group) int {
		return cmp.Or(cmp.Compare(b.resident, a.resident), cmp.Compare(a.key.pid, b.key.pid), cmp.Compare(a.key.comm, b.key.comm))
	})
	for i, g := range groups {
		if top := t.params.Top; top > 0 && i >= top || g.resident*PageSize < t.params.MinResident {
			g.key = seriesKey{pid: PIDOther}
		}
	}
	return groups
}

// endProcess classifies one process's pages into a series.
func (t *Tracker) endProcess(p *process, res *Residency, key seriesKey, s *Series, visit Visitor) {
	for i := range p.slabs {
		p.slabs[i].roll()
	}
	var classes Classes
	unwatched := slab{}
	j := 0
	for i := range res.Parts {
		part := &res.Parts[i]
		for j < len(p.regions) && p.regions[j] < part.Region {
			j++
		}
		sl := &unwatched
		if j < len(p.regions) && p.regions[j] == part.Region {
			sl = &p.slabs[j]
		}
		sl.classify(&part.Pages, t.need, p.missed, &classes)
		a := s.area(int(part.Node), part.Type)
		all := uint64(part.Pages.Count())
		hot, warm, cold := uint64(classes.Hot.Count()), uint64(classes.Warm.Count()), uint64(classes.Cold.Count())
		a.Resident += all * PageSize
		a.Hot += hot * PageSize
		a.Warm += warm * PageSize
		a.Cold += cold * PageSize
		a.Unobserved += (all - hot - warm - cold) * PageSize
		if hot+warm+cold > 0 {
			key.node, key.typ = part.Node, part.Type
			t.histogram(key).observe(classes.Accesses)
		}
		if visit != nil {
			visit(p.Process, part, &classes)
		}
	}
	for _, u := range res.Unscanned {
		a := s.area(int(u.Node), u.Type)
		a.Resident += u.Pages * PageSize
		a.Unobserved += u.Pages * PageSize
	}
}

// watch makes the resident pages the ones that the next window can judge.
func (t *Tracker) watch(p *process, res *Residency, watch bool) {
	p.missed = false
	p.cursor = 0
	if !watch {
		p.regions, p.slabs = nil, nil
		return
	}
	if !p.hasRegions(res) {
		// The content of slabs does not outlive the window: only the memory is
		// kept, swapped with the tracker's spare so that it is not made anew.
		n := distinctRegions(res)
		regions, slabs := t.spareRegions[:0], t.spareSlabs[:0]
		if cap(regions) < n || cap(slabs) < n {
			regions, slabs = make([]uint64, 0, n), make([]slab, 0, n)
		}
		for i := range res.Parts {
			if r := res.Parts[i].Region; len(regions) == 0 || regions[len(regions)-1] != r {
				regions = append(regions, r)
			}
		}
		t.spareRegions, t.spareSlabs = p.regions, p.slabs
		p.regions, p.slabs = regions, slabs[:n]
	}
	j := -1
	for i := range res.Parts {
		part := &res.Parts[i]
		if j < 0 || p.regions[j] != part.Region {
			j++
			p.slabs[j].restart(&part.Pages)
			continue
		}
		p.slabs[j].watched.Or(&part.Pages)
	}
}

// hasRegions tells whether the process's regions are those of the residency.
func (p *process) hasRegions(res *Residency) bool {
	j := 0
	for i := range res.Parts {
		r := res.Parts[i].Region
		if j > 0 && p.regions[j-1] == r {
			continue
		}
		if j == len(p.regions) || p.regions[j] != r {
			return false
		}
		j++
	}
	return j == len(p.regions)
}

func distinctRegions(res *Residency) int {
	n := 0
	for i := range res.Parts {
		if i == 0 || res.Parts[i].Region != res.Parts[i-1].Region {
			n++
		}
	}
	return n
}

func (r *Residency) pages() uint64 {
	var n uint64
	for i := range r.Parts {
		n += uint64(r.Parts[i].Pages.Count())
	}
	for _, u := range r.Unscanned {
		n += u.Pages
	}
	return n
}

// area finds or makes the area of a node and type.
func (s *Series) area(node int, typ Type) *Area {
	for i := range s.Areas {
		if a := &s.Areas[i]; a.Node == node && a.Type == typ {
			return a
		}
	}
	s.Areas = append(s.Areas, Area{Node: node, Type: typ})
	return &s.Areas[len(s.Areas)-1]
}

// histogram finds or makes the running histogram of a series and area.
func (t *Tracker) histogram(k seriesKey) *Histogram {
	h := t.hist[k]
	if h == nil {
		b := t.params.RegionBuckets
		h = &Histogram{Bounds: b, Counts: make([]uint64, len(b)+1)}
		t.hist[k] = h
	}
	return h
}

// attachHistograms gives the finished series copies of their running
// histograms. index has the series by key, node and type left zero.
func (t *Tracker) attachHistograms(out []Series, index map[seriesKey]int) {
	for k := range t.hist {
		if i, ok := index[seriesKey{pid: k.pid, comm: k.comm}]; ok {
			out[i].area(int(k.node), k.typ)
		}
	}
	for i := range out {
		s := &out[i]
		slices.SortFunc(s.Areas, func(a, b Area) int {
			return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Type, b.Type))
		})
		for j := range s.Areas {
			a := &s.Areas[j]
			a.Accesses = Histogram{Bounds: t.params.RegionBuckets, Counts: make([]uint64, len(t.params.RegionBuckets)+1)}
			if h := t.hist[seriesKey{s.PID, s.Comm, int16(a.Node), a.Type}]; h != nil {
				copy(a.Accesses.Counts, h.Counts)
				a.Accesses.Sum = h.Sum
			}
		}
	}
}

// forgetSeries drops the histograms of a process's own series. Merged series
// outlive their processes, or their counters would go down.
func (t *Tracker) forgetSeries(tgid int) {
	for k := range t.hist {
		if k.pid == tgid {
			delete(t.hist, k)
		}
	}
}

func (h *Histogram) observe(v uint64) {
	i, _ := slices.BinarySearch(h.Bounds, v)
	h.Counts[i]++
	h.Sum += v
}

// Size returns how many processes the tracker knows and how many regions it
// watches.
func (t *Tracker) Size() (processes, regions int) {
	for _, p := range t.procs {
		regions += len(p.regions)
	}
	return len(t.procs), regions
}
