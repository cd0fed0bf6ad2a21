package heat

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
	"time"
)

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

// counters finds or makes the counters of a group's series.
func (t *Tracker) counters(g *group) counters {
	if g.key.pid > 0 { // then it is the only process
		p := g.procs[0]
		if p.own == nil {
			p.own = counters{}
		}
		return p.own
	}
	if t.merged[g.key] == nil {
		t.merged[g.key] = counters{}
	}
	return t.merged[g.key]
}

// counter finds or makes the counter of the spot.
func (t *Tracker) counter(p *processWindow) *counter {
	if p.spot.counter != nil {
		return p.spot.counter
	}
	c := p.counts[p.spot.key]
	if c == nil {
		bounds := t.params.RegionBuckets
		c = &counter{
			accesses:   newHistogram(bounds),
			reaccessed: make([]uint64, len(t.params.IdleAges)),
		}
		p.counts[p.spot.key] = c
	}
	p.spot.counter = c
	return c
}

// change keeps what has been counted and other params count, too. A histogram of
// other buckets begins anew.
func (cs counters) change(from, to *Params) {
	buckets, ages := !slices.Equal(from.RegionBuckets, to.RegionBuckets), !slices.Equal(from.IdleAges, to.IdleAges)
	for _, c := range cs {
		if buckets {
			c.accesses, c.accessesSince = newHistogram(slices.Clone(to.RegionBuckets)), time.Time{}
		}
		if !ages {
			continue
		}
		was := c.reaccessed
		c.reaccessed = make([]uint64, len(to.IdleAges))
		for i, d := range to.IdleAges {
			if j := slices.Index(from.IdleAges, d); j >= 0 {
				c.reaccessed[i] = was[j]
			}
		}
	}
}

// attach gives a series' areas what has been counted of them.
func (t *Tracker) attach(counts counters, s *Series) {
	for k, c := range counts {
		if c.lasting {
			s.area(int(k.node), k.typ)
		}
	}
	slices.SortFunc(s.Areas, func(a, b Area) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Type, b.Type))
	})
	for i := range s.Areas {
		a := &s.Areas[i]
		a.Accesses = newHistogram(t.params.RegionBuckets)
		if a.Idle == nil {
			a.Idle = make([]uint64, len(t.params.IdleAges))
		}
		for i := range a.Idle {
			a.Idle[i] *= PageSize
		}
		a.Reaccessed = make([]uint64, len(t.params.IdleAges))
		c := counts[areaKey{int16(a.Node), a.Type}]
		if c == nil {
			continue
		}
		if c.since.IsZero() {
			c.since = t.clock.windowBegan()
		}
		if c.accessesSince.IsZero() {
			c.accessesSince = t.clock.windowBegan()
		}
		a.Since, a.Accesses.Since = c.since, c.accessesSince
		copy(a.Accesses.Counts, c.accesses.Counts)
		copy(a.Accesses.Native, c.accesses.Native)
		a.Accesses.Sum = c.accesses.Sum
		for i, n := range c.reaccessed {
			a.Reaccessed[i] = n * PageSize
		}
		if c.judged > 0 && t.clock.passes > 0 {
			c.heat.observe(float64(c.found)/float64(uint64(t.clock.passes)*c.judged), t.clock.now(), t.params.Average)
			a.HeatRatio, a.HeatKnown = c.heat.value, true
		}
		c.found, c.judged = 0, 0
	}
	t.attachNever(counts, s)
}

func newHistogram(bounds []uint64) Histogram {
	return Histogram{Bounds: bounds, Counts: make([]uint64, len(bounds)+1), Native: make([]uint64, nativeBuckets)}
}

func (h *Histogram) observe(v uint64) {
	i, _ := slices.BinarySearch(h.Bounds, v)
	h.Counts[i]++
	h.Sum += v
	h.Native[nativeBucket(v)]++
}

// nativeBucket returns the index in Histogram.Native: the least i for which v^4 is
// at most 2^i, and 0 for 0.
func nativeBucket(v uint64) int {
	if v == 0 {
		return 0
	}
	return 1 + bits.Len64(v*v*v*v-1)
}

// An average is a moving average that forgets with time.
type average struct {
	value float64
	at    time.Duration
	known bool
}

// observe moves the average r towards x, seen Δt after the one before:
//
//	r += (x − r)·(1 − exp(−Δt/τ))
//
// so that what is τ old weighs 1/e of what is new. The first x is the average.
func (a *average) observe(x float64, now, tau time.Duration) {
	weight := 1.0
	if a.known && tau > 0 {
		weight = -math.Expm1(-float64(now-a.at) / float64(tau))
	}
	a.value += (x - a.value) * weight
	a.at, a.known = now, true
}

// Size returns how many processes the tracker knows and how many regions it
// watches.
func (t *Tracker) Size() (processes, regions int) {
	for _, p := range t.procs {
		regions += len(p.regions)
	}
	return len(t.procs), regions
}
