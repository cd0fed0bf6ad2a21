package heat

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// maxMerged is how many merged series are remembered, if there are no more. What is
// beyond begins anew, as after an exit, if it comes back: names are anybody's
// choice, and there is no end to them.
const maxMerged = 1000

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

// counters are what is counted of one series for as long as there is one.
type counters map[areaKey]*counter

// A counter is what is counted of one area.
type counter struct {
	accesses   Histogram
	reaccessed []uint64 // pages, by idle age
	heat       average
	// found and judged are the window's: accesses, and pages that are hot, warm
	// or cold.
	found, judged uint64
	never         neverCount
	// since and accessesSince are when reaccessed and accesses began to count; zero
	// until the first window that has them ends.
	since, accessesSince time.Time
	// lasting is set once there is more than never, which is the window's alone:
	// from then on the area is there even without a byte.
	lasting bool
}

// A Visitor is shown each part of each process as a window ends. What it is
// given is valid only during the call.
type Visitor func(p Process, part *ResidentPart, c *Classes)

// EndWindow ends a window right after its last pass: it classifies the pages of
// each process by the residency that was read just before that pass, and
// watches these pages from now on. A process without a residency is known but
// has nothing watched, and no series.
func (t *Tracker) EndWindow(residency map[int]*Residency, observers Observers) ([]Series, error) {
	left := t.params.MaxRegions
	index := map[seriesKey]int{}
	var out []Series
	var counts []counters
	t.age(t.clock.passes)
	t.cuts.compile(&t.clock, t.params.IdleAges, t.birth.left)
	t.never, t.untracked = 0, 0
	if t.params.NeverTop > 0 && t.params.NeverWindows > 0 {
		t.never = kept(t.params.NeverWindows*t.params.PassesPerWindow, t.birth.left)
	}
	for _, p := range t.procs {
		p.layout = p.look(residency[p.TGID], t.clock.passes)
	}
	for _, g := range t.group(func(tgid int) (uint64, bool) {
		return t.procs[tgid].layout.pages * PageSize, residency[tgid] != nil
	}) {
		i, ok := index[g.key]
		if !ok {
			i = len(out)
			index[g.key] = i
			out = append(out, Series{PID: g.key.pid, Comm: g.key.comm})
			counts = append(counts, t.counters(g))
		}
		for _, p := range g.procs {
			res := residency[p.TGID]
			out[i].SwappedBytes += res.SwappedPages * PageSize
			out[i].exclude(res.Excluded)
			t.endProcess(&processWindow{process: p, res: res, series: &out[i], counts: counts[i]}, observers)
			watch := t.params.MaxRegions == 0 || p.layout.regions <= left
			if watch {
				left -= p.layout.regions
			} else {
				t.untracked += p.layout.regions
			}
			t.watch(p, res, watch)
		}
	}
	for _, p := range t.procs {
		if residency[p.TGID] == nil {
			t.watch(p, nil, false)
		}
	}
	for i := range out {
		t.attach(counts[i], &out[i])
	}
	t.clock.endWindow()
	if len(t.merged) > maxMerged {
		maps.DeleteFunc(t.merged, func(k seriesKey, _ counters) bool { _, now := index[k]; return !now })
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
		k := t.params.key(p.Process)
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
	if !t.params.LabelPID && !t.params.LabelComm {
		return groups // all are one already
	}
	for i, g := range groups {
		if top := t.params.Top; top > 0 && i >= top || g.resident < t.params.MinResident {
			g.key = seriesKey{pid: PIDOther}
		}
	}
	return groups
}

// key is that of a process's series. Two keys never have the same labels: or else
// one series would go up and down as processes come and go between them. So a
// process without a name is one of the others where the name would be all there is.
func (p *Params) key(info Process) (k seriesKey) {
	switch {
	case p.LabelPID:
		k.pid = info.TGID
	case p.LabelComm && info.Comm == "":
		k.pid = PIDOther
	}
	if p.LabelComm {
		k.comm = info.Comm
	}
	return k
}

// A layout says in which regions a residency has pages.
type layout struct {
	pages   uint64 // those that were not scanned, too
	regions int    // distinct ones
	sorted  bool   // as everything here counts on
	same    bool   // they are those that the process has
}

// look finds out in which regions and on which nodes a process has pages, and so
// whether the last pass walked all of them. Without a residency it has none.
func (p *process) look(res *Residency, passes int) layout {
	p.nodes = 0
	l := layout{sorted: true, same: true}
	if res == nil {
		res = &Residency{}
	}
	var before uint64
	for i := range res.Parts {
		part := &res.Parts[i]
		if part.Node >= 0 {
			p.nodes |= 1 << part.Node
		}
		l.pages += uint64(part.Pages.Count())
		r := part.Region
		if i > 0 && r == before {
			continue
		}
		l.sorted = l.sorted && (i == 0 || r > before)
		l.same = l.same && l.regions < len(p.regions) && p.regions[l.regions] == r
		l.regions++
		before = r
	}
	for _, u := range res.Unscanned {
		l.pages += u.Pages
	}
	l.same = l.same && l.regions == len(p.regions)
	p.stale = p.unwalked || p.walked&p.nodes != p.nodes
	if p.stale && passes > 0 {
		// Pages that came to a node which the last pass did not walk were missed by
		// it, young or not.
		p.missed = true
		p.gaps |= 1 << (passes - 1)
	}
	return l
}
