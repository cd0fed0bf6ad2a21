package heat

import (
	"cmp"
	"slices"
)

// A seriesKey tells one series from another. Its pid is 0 where the config
// merges processes.
type seriesKey struct {
	pid  int
	comm string
}

// An areaKey tells one area of a series from another.
type areaKey struct {
	node int16
	typ  Type
}

// histograms are the running histograms of one series.
type histograms map[areaKey]*Histogram

// A Visitor is shown each part of each process as a window ends. What it is
// given is valid only during the call.
type Visitor func(p Process, part *ResidentPart, c *Classes)

// EndWindow ends a window right after its last pass: it classifies the pages of
// each process by the residency that was read just before that pass, and
// watches these pages from now on. A process without a residency is known but
// has nothing watched, and no series. Visit may be nil.
func (t *Tracker) EndWindow(residency map[int]*Residency, visit Visitor) ([]Series, error) {
	left := t.params.MaxRegions
	index := map[seriesKey]int{}
	var out []Series
	var hists []histograms
	for _, g := range t.group(func(tgid int) (uint64, bool) {
		res := residency[tgid]
		return res.pages() * PageSize, res != nil
	}) {
		i, ok := index[g.key]
		if !ok {
			i = len(out)
			index[g.key] = i
			out = append(out, Series{PID: g.key.pid, Comm: g.key.comm})
			hists = append(hists, t.histograms(g))
		}
		for _, p := range g.procs {
			res := residency[p.TGID]
			out[i].SwappedBytes += res.SwappedPages * PageSize
			t.endProcess(p, res, hists[i], &out[i], visit)
			n := distinctRegions(res)
			watch := t.params.MaxRegions == 0 || n <= left
			if watch {
				left -= n
			}
			t.watch(p, res, watch)
		}
	}
	for _, p := range t.procs {
		if residency[p.TGID] == nil {
			t.watch(p, &Residency{}, false)
		}
	}
	for i := range out {
		t.attach(hists[i], &out[i])
	}
	return checked(out)
}

// checked sorts the series of a window and checks that they add up.
func checked(series []Series) ([]Series, error) {
	slices.SortFunc(series, func(a, b Series) int {
		return cmp.Or(cmp.Compare(a.PID, b.PID), cmp.Compare(a.Comm, b.Comm))
	})
	return series, (&MemcgSnapshot{Series: series}).Check()
}

// A group is the processes that share a series.
type group struct {
	key      seriesKey
	resident uint64
	procs    []*process
}

// group puts processes into their series, the biggest first, and all beyond the
// top N under PIDOther. Resident tells the resident bytes of a process; false
// leaves it out.
func (t *Tracker) group(resident func(tgid int) (uint64, bool)) []*group {
	byKey := map[seriesKey]*group{}
	var groups []*group
	for _, p := range t.procs {
		bytes, ok := resident(p.TGID)
		if !ok {
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
		p.resident = bytes
		g.resident += p.resident
		g.procs = append(g.procs, p)
	}
	for _, g := range groups {
		slices.SortFunc(g.procs, func(a, b *process) int {
			return cmp.Or(cmp.Compare(b.resident, a.resident), cmp.Compare(a.TGID, b.TGID))
		})
	}
	slices.SortFunc(groups, func(a, b *group) int {
		return cmp.Or(cmp.Compare(b.resident, a.resident), cmp.Compare(a.key.pid, b.key.pid), cmp.Compare(a.key.comm, b.key.comm))
	})
	for i, g := range groups {
		if top := t.params.Top; top > 0 && i >= top || g.resident < t.params.MinResident {
			g.key = seriesKey{pid: PIDOther}
		}
	}
	return groups
}

// endProcess classifies one process's pages into a series.
func (t *Tracker) endProcess(p *process, res *Residency, hist histograms, s *Series, visit Visitor) {
	var classes Classes
	unwatched := slab{}
	j := 0
	for i := range res.Parts {
		part := &res.Parts[i]
		all := uint64(part.Pages.Count())
		if all == 0 {
			continue
		}
		for j < len(p.regions) && p.regions[j] < part.Region {
			j++
		}
		sl := &unwatched
		if j < len(p.regions) && p.regions[j] == part.Region {
			sl = &p.slabs[j]
		}
		sl.classify(&part.Pages, t.need, p.missed, &classes)
		a := s.area(int(part.Node), part.Type)
		hot, warm, cold := uint64(classes.Hot.Count()), uint64(classes.Warm.Count()), uint64(classes.Cold.Count())
		a.Resident += all * PageSize
		a.Hot += hot * PageSize
		a.Warm += warm * PageSize
		a.Cold += cold * PageSize
		a.Unobserved += (all - hot - warm - cold) * PageSize
		if hot+warm+cold > 0 {
			hist.of(part.Node, part.Type, t.params.RegionBuckets).observe(classes.Accesses)
		}
		if visit != nil {
			visit(p.Process, part, &classes)
		}
	}
	for _, u := range res.Unscanned {
		if u.Pages == 0 {
			continue
		}
		a := s.area(int(u.Node), u.Type)
		a.Resident += u.Pages * PageSize
		a.Unobserved += u.Pages * PageSize
	}
}

// watch makes the resident pages the ones that the next window can judge.
func (t *Tracker) watch(p *process, res *Residency, watch bool) {
	p.nodes = 0
	for i := range res.Parts {
		if n := res.Parts[i].Node; n >= 0 {
			p.nodes |= 1 << n
		}
	}
	p.stale = p.unwalked || p.walked&p.nodes != p.nodes
	p.missed = p.stale || p.folded
	p.cursor = 0
	if !watch || !res.sorted() {
		p.nodes, p.regions, p.runs, p.young, p.slabs = 0, nil, nil, nil, nil
		return
	}
	if !p.hasRegions(res) {
		// The content of slabs does not outlive the window, only the memory.
		n := distinctRegions(res)
		if c := cap(p.slabs); c < n || c > 4*n {
			if c = n; p.slabs != nil {
				c += n / 16
			}
			p.regions, p.young, p.slabs = make([]uint64, 0, c), make([]Bitmap, c), make([]slab, c)
		}
		p.regions, p.runs, p.young, p.slabs = p.regions[:0], p.runs[:0], p.young[:n], p.slabs[:n]
		for i := range res.Parts {
			if r := res.Parts[i].Region; i == 0 || res.Parts[i-1].Region != r {
				if n := len(p.regions); n > 0 && p.regions[n-1] == r-1 {
					p.runs[len(p.runs)-1].last = r
				} else {
					p.runs = append(p.runs, run{r, r, n})
				}
				p.regions = append(p.regions, r)
			}
		}
	}
	clear(p.young)
	clear(p.slabs)
	j := 0
	for i := range res.Parts {
		part := &res.Parts[i]
		if p.regions[j] != part.Region {
			j++
		}
		if part.Node < maxNodes {
			p.slabs[j].watched.Or(&part.Pages)
		}
	}
	for _, sp := range p.skips {
		p.each(sp, func(s *slab, pages *Bitmap) { s.watched.remove(pages) })
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

// sorted tells whether the parts are in the order that everything here counts on.
func (r *Residency) sorted() bool {
	for i := range r.Parts {
		if i > 0 && r.Parts[i].Region < r.Parts[i-1].Region {
			return false
		}
	}
	return true
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

// pages is the number of resident pages, 0 without a residency.
func (r *Residency) pages() uint64 {
	if r == nil {
		return 0
	}
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

// histograms finds or makes the running histograms of a group's series.
func (t *Tracker) histograms(g *group) histograms {
	if g.key.pid > 0 { // then it is the only process
		p := g.procs[0]
		if p.hist == nil {
			p.hist = histograms{}
		}
		return p.hist
	}
	if t.merged[g.key] == nil {
		t.merged[g.key] = histograms{}
	}
	return t.merged[g.key]
}

// of finds or makes the histogram of an area.
func (hs histograms) of(node int16, typ Type, bounds []uint64) *Histogram {
	k := areaKey{node, typ}
	h := hs[k]
	if h == nil {
		h = &Histogram{Bounds: bounds, Counts: make([]uint64, len(bounds)+1)}
		hs[k] = h
	}
	return h
}

// attach gives a series' areas copies of their running histograms.
func (t *Tracker) attach(hist histograms, s *Series) {
	for k := range hist {
		s.area(int(k.node), k.typ)
	}
	slices.SortFunc(s.Areas, func(a, b Area) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Type, b.Type))
	})
	for i := range s.Areas {
		a := &s.Areas[i]
		a.Accesses = Histogram{Bounds: t.params.RegionBuckets, Counts: make([]uint64, len(t.params.RegionBuckets)+1)}
		if h := hist[areaKey{int16(a.Node), a.Type}]; h != nil {
			copy(a.Accesses.Counts, h.Counts)
			a.Accesses.Sum = h.Sum
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
