package heat

// A regionWindow is what a window says of one region.
type regionWindow struct {
	tally      tally
	events     events
	reaccessed reaccesses
	// clean is set while all of that is of a region in which nothing happened.
	clean bool

	// young has what each pass found young, the last one first, and event that
	// with what it missed: bitmaps of the process, of missed, or none, which is
	// empty. There are atOnce of them, more if the window had more passes.
	young, event [slots]*Bitmap
	missed       [slots]Bitmap
	none         Bitmap
	// first has, for each pass in the order of time, the pages that had their
	// first event in it by being found young, if they may have been idle before.
	first [slots]Bitmap
}

// atOnce is how many passes are looked at together, at least.
const atOnce = 4

// A spot is where what is found of one node and type is summed up.
type spot struct {
	key  areaKey
	area *Area
	// counter is nil until there is something to count.
	counter *counter
}

// A processWindow is the end of a window of one process.
type processWindow struct {
	*process
	res    *Residency
	series *Series
	counts counters

	spot spot
	// visit is shown the parts, and classes are for it: both may be nil.
	visit   Visitor
	classes *Classes
	// detail is what there is to say of each region, if detailed is set.
	detail   []RegionHeat
	detailed bool
	// mapping is the index of the first mapping that does not end before the
	// region at hand.
	mapping int
}

// endProcess classifies one process's pages into a series, brings their ages to
// the window's end, and tells the observers.
func (t *Tracker) endProcess(p *processWindow, observers Observers) {
	if observers.Part != nil {
		p.visit, p.classes = observers.Part, &Classes{}
	}
	bands := 0
	if p.series.PID > 0 {
		bands = t.params.AddressBands
	}
	p.detailed, p.detail = observers.Process != nil || bands > 0, t.detail[:0]
	t.endRegions(p)
	for _, u := range p.res.Unscanned {
		if u.Pages == 0 {
			continue
		}
		a := p.series.area(int(u.Node), u.Type)
		a.Resident += u.Pages * PageSize
		a.Unobserved += u.Pages * PageSize
	}
	t.detail = p.detail
	if bands > 0 {
		p.series.Bands = foldBands(p.res.Mappings, p.detail, bands)
	}
	if observers.Process != nil {
		observers.Process(&ProcessWindow{
			Process: p.Process, End: t.clock.ended(), Passes: t.clock.passes, Regions: p.detail, Mappings: p.res.Mappings,
		})
	}
}

// endRegions goes through the process's regions, and leaves nothing in its
// bitmaps of what was found young.
func (t *Tracker) endRegions(p *processWindow) {
	t.sweep.begin(p.skips)
	j, visited := 0, 0
	for parts := p.res.Parts; len(parts) > 0; {
		n := 1
		for n < len(parts) && parts[n].Region == parts[0].Region {
			n++
		}
		for j < len(p.regions) && p.regions[j] < parts[0].Region {
			j++
		}
		if j < len(p.regions) && p.regions[j] == parts[0].Region {
			t.gather(p.process, j)
			t.endRegion(p, parts[:n], &p.slabs[j])
			visited++
		} else {
			t.endRegion(p, parts[:n], nil)
		}
		parts = parts[n:]
	}
	t.region.young, t.region.event = [slots]*Bitmap{}, [slots]*Bitmap{}
	for k, young := range p.young {
		if visited < len(p.regions) || k >= t.clock.passes {
			clear(young)
		}
	}
}

// endRegion takes in the parts of one region, whose slab is nil if it was not
// watched. What the window says of it has been gathered.
func (t *Tracker) endRegion(p *processWindow, parts []ResidentPart, sl *slab) {
	w := &t.region
	var never Bitmap
	var region RegionHeat
	if sl != nil {
		resident := &parts[0].Pages
		if len(parts) > 1 || parts[0].Node >= maxNodes {
			resident = &Bitmap{}
			for i := range parts {
				if parts[i].Node < maxNodes {
					resident.Or(&parts[i].Pages)
				}
			}
		}
		sl.advance(resident, &w.tally.young, &w.events, &t.birth)
		if t.never > 0 && len(p.res.Mappings) > 0 {
			sl.never(t.never, &never)
		}
	}
	if p.detailed {
		region = describe(parts)
		if sl != nil {
			region.Idle = t.clock.idle(sl.age(t.birth.left))
		}
	}
	for i := range parts {
		part := &parts[i]
		all := uint64(part.Pages.Count())
		if all == 0 {
			continue
		}
		var n census
		switch {
		case p.visit == nil && sl == nil:
		case p.visit == nil && w.clean && !p.missed: // all that is watched is cold
			n.cold = uint64(w.tally.watched.common(&part.Pages))
		case sl == nil:
			p.classes.clear()
		default:
			n = w.tally.classify(&part.Pages, t.need, p.missed, p.classes)
		}
		t.enter(p, part)
		a := p.spot.area
		a.Resident += all * PageSize
		a.Hot += n.hot * PageSize
		a.Warm += n.warm * PageSize
		a.Cold += n.cold * PageSize
		a.Unobserved += (all - n.judged()) * PageSize
		if n.judged() > 0 {
			c := t.counter(p)
			c.lasting = true
			c.accesses.observe(n.accesses)
			c.found += n.accesses
			c.judged += n.judged()
		}
		if sl != nil {
			if part.Node < maxNodes { // else it is not tracked
				sl.idle(&part.Pages, all, t.cuts.idle, a.Idle)
			}
			if w.reaccessed.among(&part.Pages) {
				c := t.counter(p)
				c.lasting = true
				w.reaccessed.count(&part.Pages, c.reaccessed)
			}
			if never.meets(&part.Pages) {
				t.countNever(p, part, &never)
			}
		}
		if p.visit != nil {
			t.show(p.classes, part, sl)
			p.visit(p.Process, part, p.classes)
		}
		region.Accesses += uint32(n.accesses)
		region.Hot += uint16(n.hot)
		region.Warm += uint16(n.warm)
		region.Cold += uint16(n.cold)
	}
	if p.detailed {
		p.detail = append(p.detail, region)
	}
}

// enter goes to the spot of a part. Parts come in runs of one node and type.
func (t *Tracker) enter(p *processWindow, part *ResidentPart) {
	k := areaKey{part.Node, part.Type}
	if p.spot.area != nil && p.spot.key == k {
		return
	}
	p.spot = spot{key: k, area: p.series.area(int(part.Node), part.Type)}
	if p.spot.area.Idle == nil {
		p.spot.area.Idle = make([]uint64, len(t.params.IdleAges))
	}
}

// gather puts together what the window's passes said of a region, and clears
// what they found young.
func (t *Tracker) gather(p *process, i int) {
	w := &t.region
	w.tally.watched = p.slabs[i].tracked
	quiet := true
	for k := range t.clock.passes {
		young := &w.none
		if p.young[k] != nil && !p.young[k][i].empty() {
			young, quiet = &p.young[k][i], false
		}
		left := t.clock.passes - 1 - k
		w.young[left], w.event[left] = young, young
	}
	for left := t.clock.passes; left < atOnce; left++ {
		w.young[left], w.event[left] = &w.none, &w.none
	}
	skips := t.sweep.at(p.regions[i])
	missed := len(skips) > 0 || p.gaps != 0
	quiet = quiet && !missed
	if quiet && w.clean {
		return
	}
	w.clean = quiet
	w.tally.missed = Bitmap{}
	if missed {
		t.miss(p, p.regions[i], skips)
	}
	passes := max(t.clock.passes, atOnce)
	w.tally.count(w.young[:passes])
	w.events.take(w.event[:passes])
	w.reaccessed.reset()
	w.reaccess(&p.slabs[i], &t.cuts, t.clock.passes)
	for _, young := range w.young[:passes] {
		if young != &w.none {
			*young = Bitmap{}
		}
	}
}

// miss adds to the events of a region what passes missed of it.
func (t *Tracker) miss(p *process, region uint64, skips []skip) {
	w := &t.region
	for k := range t.clock.passes {
		w.missed[k] = Bitmap{}
		if p.gaps>>k&1 != 0 {
			w.missed[k].SetRange(0, PagesPerRegion)
		}
	}
	first := region * PagesPerRegion
	for _, s := range skips {
		var pages Bitmap
		pages.SetRange(int(max(s.from, first)-first), int(min(s.to, first+PagesPerRegion)-first))
		switch {
		case s.pass == lastPass:
			w.tally.watched.remove(&pages)
		case s.pass < t.clock.passes:
			w.tally.missed.Or(&pages)
			w.missed[s.pass].Or(&pages)
		}
	}
	for k := range t.clock.passes {
		left := t.clock.passes - 1 - k
		w.missed[k].Or(w.young[left])
		w.event[left] = &w.missed[k]
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
	for i, n := range t.cuts.idle {
		if part.Node < maxNodes {
			sl.older(n, &part.Pages, &c.Idle[i])
		}
		c.Reaccessed[i] = t.region.reaccessed.pages(i)
		c.Reaccessed[i].and(&part.Pages)
	}
}
