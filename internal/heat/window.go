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
	t.cuts.compile(&t.clock, t.params.IdleAges)
	for _, g := range t.group(func(tgid int) (uint64, bool) {
		res := residency[tgid]
		return res.pages() * PageSize, res != nil
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
			l := p.look(res, t.clock.passes)
			bands := t.params.AddressBands
			if g.key.pid <= 0 {
				bands = 0
			}
			t.detailed, t.regions = observers.Process != nil || bands > 0, t.regions[:0]
			t.endProcess(p, res, counts[i], &out[i], observers.Part)
			if bands > 0 {
				out[i].Bands = foldBands(res.Mappings, t.regions, bands)
			}
			if observers.Process != nil {
				observers.Process(&ProcessWindow{
					Process: p.Process, End: t.clock.ended(), Passes: t.clock.passes, Regions: t.regions, Mappings: res.Mappings,
				})
			}
			watch := t.params.MaxRegions == 0 || l.regions <= left
			if watch {
				left -= l.regions
			}
			t.watch(p, res, l, watch)
		}
	}
	for _, p := range t.procs {
		if residency[p.TGID] == nil {
			t.watch(p, &Residency{}, p.look(&Residency{}, t.clock.passes), false)
		}
	}
	for i := range out {
		t.attach(counts[i], &out[i])
	}
	t.clock.endWindow()
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

// A layout says in which regions a residency has pages.
type layout struct {
	regions int  // distinct ones
	sorted  bool // as everything here counts on
	same    bool // they are those that the process has
}

// look finds out in which regions and on which nodes a process has pages, and so
// whether the last pass walked all of them.
func (p *process) look(res *Residency, passes int) layout {
	p.nodes = 0
	l := layout{sorted: true, same: true}
	var before uint64
	for i := range res.Parts {
		part := &res.Parts[i]
		if part.Node >= 0 {
			p.nodes |= 1 << part.Node
		}
		r := part.Region
		if i > 0 && r == before {
			continue
		}
		l.sorted = l.sorted && (i == 0 || r > before)
		l.same = l.same && l.regions < len(p.regions) && p.regions[l.regions] == r
		l.regions++
		before = r
	}
	l.same = l.same && l.regions == len(p.regions)
	p.stale = p.unwalked || p.walked&p.nodes != p.nodes
	if p.stale && passes > 0 {
		p.gaps |= 1 << (passes - 1)
	}
	return l
}

// A regionWindow is what a window says of one region.
type regionWindow struct {
	tally      tally
	events     events
	reaccessed reaccesses
	skipped    [slots]Bitmap
	// clean is set while tally, events and reaccessed are those of a region in
	// which nothing happened.
	clean bool
}

// endProcess classifies one process's pages into a series, and brings their ages
// to the window's end.
func (t *Tracker) endProcess(p *process, res *Residency, counts counters, s *Series, visit Visitor) {
	var classes Classes
	unwatched := tally{}
	t.sweep.begin(p.skips)
	j, visited := 0, 0
	for i := 0; i < len(res.Parts); {
		next := i + 1
		for next < len(res.Parts) && res.Parts[next].Region == res.Parts[i].Region {
			next++
		}
		for j < len(p.regions) && p.regions[j] < res.Parts[i].Region {
			j++
		}
		var sl *slab
		w := &t.region
		if j < len(p.regions) && p.regions[j] == res.Parts[i].Region {
			sl = &p.slabs[j]
			t.gather(p, j)
			var resident Bitmap
			for k := i; k < next; k++ {
				if res.Parts[k].Node < maxNodes {
					resident.Or(&res.Parts[k].Pages)
				}
			}
			sl.advance(&resident, &w.events, t.clock.passes)
			visited++
		}
		var region RegionHeat
		if t.detailed {
			region = describe(res.Parts[i:next])
			if sl != nil {
				region.Idle = t.clock.idle(sl.ages.least(&sl.tracked))
			}
		}
		for ; i < next; i++ {
			part := &res.Parts[i]
			all := uint64(part.Pages.Count())
			if all == 0 {
				continue
			}
			a := s.area(int(part.Node), part.Type)
			tally := &unwatched
			if sl != nil {
				tally = &w.tally
			}
			var hot, warm, cold uint64
			if sl != nil && w.clean && !p.missed && visit == nil { // all that is watched is cold
				cold = uint64(w.tally.watched.common(&part.Pages))
				classes.Accesses = 0
			} else {
				tally.classify(&part.Pages, t.need, p.missed, &classes)
				hot, warm, cold = uint64(classes.Hot.Count()), uint64(classes.Warm.Count()), uint64(classes.Cold.Count())
			}
			region.Accesses += uint32(classes.Accesses)
			region.Hot += uint16(hot)
			region.Warm += uint16(warm)
			region.Cold += uint16(cold)
			a.Resident += all * PageSize
			a.Hot += hot * PageSize
			a.Warm += warm * PageSize
			a.Cold += cold * PageSize
			a.Unobserved += (all - hot - warm - cold) * PageSize
			if judged := hot + warm + cold; judged > 0 {
				c := t.counter(counts, part)
				c.accesses.observe(classes.Accesses)
				c.found += classes.Accesses
				c.judged += judged
			}
			if sl != nil {
				if a.Idle == nil {
					a.Idle = make([]uint64, len(t.params.IdleAges))
				}
				sl.ages.idle(&part.Pages, t.cuts.idle, a.Idle)
				if w.reaccessed.among(&part.Pages) {
					w.reaccessed.count(&part.Pages, t.counter(counts, part).reaccessed)
				}
			}
			if visit != nil {
				t.show(&classes, part, sl)
				visit(p.Process, part, &classes)
			}
		}
		if t.detailed {
			t.regions = append(t.regions, region)
		}
	}
	for k, young := range p.young {
		if visited < len(p.regions) || k >= t.clock.passes {
			clear(young)
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

// gather puts together what the window's passes said of a region, and clears
// what they found young.
func (t *Tracker) gather(p *process, i int) {
	w := &t.region
	sl := &p.slabs[i]
	if !w.clean {
		w.tally, w.events, w.clean = tally{}, events{}, true
		w.reaccessed.reset()
	}
	w.tally.watched = sl.tracked
	skips := t.sweep.at(p.regions[i])
	if len(skips) > 0 {
		w.clean = false
		w.skipped = [slots]Bitmap{}
		first := p.regions[i] * PagesPerRegion
		for _, s := range skips {
			var pages Bitmap
			pages.SetRange(int(max(s.from, first)-first), int(min(s.to, first+PagesPerRegion)-first))
			switch {
			case s.pass == lastPass:
				w.tally.watched.remove(&pages)
			case s.pass < t.clock.passes:
				w.tally.missed.Or(&pages)
				w.skipped[s.pass].Or(&pages)
			}
		}
	}
	var old Bitmap // pages of an age that may make a reaccess
	looked := false
	for k := range t.clock.passes {
		left := t.clock.passes - 1 - k
		if p.young[k] != nil {
			if young := &p.young[k][i]; !young.empty() {
				if !looked {
					looked = true
					old = sl.ages.older(t.cuts.least)
					old.and(&sl.tracked)
				}
				if young.meets(&old) {
					first := *young
					first.and(&old)
					first.remove(&w.events.any)
					w.reaccessed.found(&first, &sl.ages, t.cuts.before[k])
				}
				if t.cuts.within {
					t.again(sl, young, k)
				}
				w.clean = false
				w.take(young, left)
			}
		}
		switch {
		case p.gaps>>k&1 != 0:
			w.clean = false
			w.events.add(&all, left)
		case len(skips) > 0:
			w.events.add(&w.skipped[k], left)
		}
	}
}

// take adds to tally and events what the pass that was left passes before the
// last found young, and clears it. Counts stay at their maximum rather than wrap.
func (w *regionWindow) take(young *Bitmap, left int) {
	b0, b1, b2 := -uint64(left&1), -uint64(left>>1&1), -uint64(left>>2&1)
	f, e := &w.tally.freq, &w.events
	for i, y := range young {
		c0 := f[0][i] & y
		c1 := f[1][i] & c0
		full := f[2][i] & c1
		f[0][i] = f[0][i] ^ y | full
		f[1][i] = f[1][i] ^ c0 | full
		f[2][i] = f[2][i] ^ c1 | full
		e.any[i] |= y
		e.since[0][i] = e.since[0][i]&^y | y&b0
		e.since[1][i] = e.since[1][i]&^y | y&b1
		e.since[2][i] = e.since[2][i]&^y | y&b2
		young[i] = 0
	}
}

// again finds the pages that pass k found young, and that had an event before in
// the window.
func (t *Tracker) again(sl *slab, young *Bitmap, k int) {
	e := &t.region.events
	for i := range k {
		levels := t.cuts.between[i][k]
		if levels == 0 {
			continue
		}
		left := t.clock.passes - 1 - i
		b := *young
		b.and(&e.any)
		b.and(&sl.tracked)
		for bit := range planes {
			if left>>bit&1 != 0 {
				b.and(&e.since[bit])
			} else {
				b.remove(&e.since[bit])
			}
		}
		if !b.empty() {
			t.region.reaccessed.again = append(t.region.reaccessed.again, again{levels, b})
		}
	}
}

// show gives the visitor what else there is to say of a part.
func (t *Tracker) show(c *Classes, part *ResidentPart, sl *slab) {
	n := len(t.params.IdleAges)
	if cap(c.Idle) < n {
		c.Idle, c.Reaccessed = make([]Bitmap, n), make([]Bitmap, n)
	}
	c.Idle, c.Reaccessed = c.Idle[:n], c.Reaccessed[:n]
	clear(c.Idle)
	clear(c.Reaccessed)
	if sl == nil {
		return
	}
	for i := range n {
		c.Idle[i] = sl.ages.older(t.cuts.idle[i])
		c.Idle[i].and(&part.Pages)
		c.Reaccessed[i] = t.region.reaccessed.pages(i)
		c.Reaccessed[i].and(&part.Pages)
	}
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
