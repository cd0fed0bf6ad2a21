package heat

import (
	"math"
	"time"
)

const (
	// agePlanes is the number of bit-sliced planes of idle ages.
	agePlanes = 8
	// maxAge is where ages stop growing: a page of this age has been idle for
	// that many passes or more.
	maxAge = 1<<agePlanes - 1
	// never is an age that no page reaches.
	never = maxAge + 1
)

// slots is how many passes of a window can be told apart: as many as it may have,
// and what comes after them.
const slots = MaxPassesPerWindow + 1

// MaxIdleAges is how many idle ages a Tracker can report.
const MaxIdleAges = 16

// MaxIdlePasses is how many passes of one length an idle age may last for a
// Tracker to be sure of it.
const MaxIdlePasses = maxAge - 1

// ages are the idle ages of a region's pages, in passes, bit-sliced: one byte a
// page. A page's age is the number of passes since the one that last found it
// young, missed it, or was the first after it was seen resident. All passes
// since have looked at it and found it old.
type ages [agePlanes]Bitmap

// all are the pages of a region.
var all = Bitmap{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}

// older returns the pages whose age is at least n.
func (a *ages) older(n int) Bitmap {
	if n <= 0 {
		return all
	}
	if n > maxAge {
		return Bitmap{}
	}
	// An age is above n-1 if, at the highest bit where they differ, it has a 1.
	var r0, r1, r2, r3, r4, r5, r6, r7 uint64
	for bit, below := 0, n-1; bit < agePlanes; bit++ {
		p := &a[bit]
		if below>>bit&1 == 0 {
			r0, r1, r2, r3 = r0|p[0], r1|p[1], r2|p[2], r3|p[3]
			r4, r5, r6, r7 = r4|p[4], r5|p[5], r6|p[6], r7|p[7]
		} else {
			r0, r1, r2, r3 = r0&p[0], r1&p[1], r2&p[2], r3&p[3]
			r4, r5, r6, r7 = r4&p[4], r5&p[5], r6&p[6], r7&p[7]
		}
	}
	return Bitmap{r0, r1, r2, r3, r4, r5, r6, r7}
}

// least returns the least age of the pages, 0 if there is none.
func (a *ages) least(pages *Bitmap) int {
	if pages.empty() {
		return 0
	}
	age, among := 0, *pages
	for bit := agePlanes - 1; bit >= 0; bit-- {
		without := among
		without.remove(&a[bit])
		if without.empty() {
			age |= 1 << bit
		} else {
			among = without
		}
	}
	return age
}

// idle adds to counts how many of the pages are at least as old as each of the
// cuts, which ascend.
func (a *ages) idle(pages *Bitmap, cuts []int, counts []uint64) {
	for i, n := range cuts {
		b := a.older(n)
		c := b.common(pages)
		if c == 0 {
			return
		}
		counts[i] += uint64(c)
	}
}

// An event of a page is that a pass found it young or missed it: its age begins
// anew. Events has those of one window's passes.
type events struct {
	// any has the pages with an event, and since, bit-sliced, the number of
	// passes since their last one.
	any   Bitmap
	since [planes]Bitmap
}

// add takes in the pages that had an event left passes before the window's last.
func (e *events) add(pages *Bitmap, left int) {
	b0, b1, b2 := -uint64(left&1), -uint64(left>>1&1), -uint64(left>>2&1)
	for i, p := range pages {
		e.any[i] |= p
		e.since[0][i] = e.since[0][i]&^p | p&b0
		e.since[1][i] = e.since[1][i]&^p | p&b1
		e.since[2][i] = e.since[2][i]&^p | p&b2
	}
}

// advance brings a slab to the end of a window of that many passes, at which the
// given pages were resident: those that were not so before have the age 0. A
// window of more passes than it may have counts as one of as many.
func (s *slab) advance(resident *Bitmap, e *events, passes int) {
	passes = min(passes, MaxPassesPerWindow)
	n0, n1, n2 := -uint64(passes&1), -uint64(passes>>1&1), -uint64(passes>>2&1)
	for i := range resident {
		stay := s.tracked[i] & resident[i]
		old := stay &^ e.any[i]
		event := stay & e.any[i]
		s.tracked[i] = resident[i]

		p0, p1, p2 := s.ages[0][i], s.ages[1][i], s.ages[2][i]
		s0, c := p0^n0, p0&n0
		s1 := p1 ^ n1 ^ c
		c = p1&n1 | c&(p1|n1)
		s2 := p2 ^ n2 ^ c
		c = p2&n2 | c&(p2|n2)
		p3, p4, p5, p6, p7 := s.ages[3][i], s.ages[4][i], s.ages[5][i], s.ages[6][i], s.ages[7][i]
		c3 := c & p3
		c4 := c3 & p4
		c5 := c4 & p5
		c6 := c5 & p6
		full := c6 & p7
		s.ages[0][i] = (s0|full)&old | e.since[0][i]&event
		s.ages[1][i] = (s1|full)&old | e.since[1][i]&event
		s.ages[2][i] = (s2|full)&old | e.since[2][i]&event
		s.ages[3][i] = (p3 ^ c | full) & old
		s.ages[4][i] = (p4 ^ c3 | full) & old
		s.ages[5][i] = (p5 ^ c4 | full) & old
		s.ages[6][i] = (p6 ^ c5 | full) & old
		s.ages[7][i] = (p7 ^ c6 | full) & old
	}
}

// A clock remembers when passes began and ended, and so what ages prove.
//
// A page that pass k found young and no pass up to n did was last accessed before
// k ended, and not between then and n's walk, which came after n began. So it was
// idle for at least the time from the end of k to the beginning of n. That is
// less than it was, by two passes' durations at most, and never more.
type clock struct {
	epoch time.Time
	// ends are when the last passes ended, since epoch; as many as ages can
	// tell apart, and a window's more.
	ends []time.Duration
	// begins are when the passes of the window began; before is when the last
	// one of the window before did.
	begins [slots]time.Duration
	before time.Duration
	// passes is how many passes of the window have ended. Those of a window that
	// goes on for too long are one with the last that can be told apart.
	passes int
}

// slot is the index in the window of the pass under way, or next.
func (c *clock) slot() int { return min(c.passes, slots-1) }

func (c *clock) since(at time.Time) time.Duration {
	if c.epoch.IsZero() {
		c.epoch = at
	}
	return at.Sub(c.epoch)
}

func (c *clock) begin(at time.Time) {
	d := c.since(at)
	if c.passes < slots {
		c.begins[c.passes] = d
	}
}

func (c *clock) end(at time.Time) {
	d := c.since(at)
	if c.passes == slots {
		c.ends[len(c.ends)-1] = d
		return
	}
	const most = maxAge + 1 + slots
	if len(c.ends) == most {
		copy(c.ends, c.ends[1:])
		c.ends = c.ends[:most-1]
	}
	c.ends = append(c.ends, d)
	c.passes++
}

func (c *clock) endWindow() {
	if c.passes > 0 {
		c.before, c.passes = c.begins[c.passes-1], 0
	}
}

// now is when the last pass ended.
func (c *clock) now() time.Duration {
	if len(c.ends) == 0 {
		return 0
	}
	return c.ends[len(c.ends)-1]
}

// ended is when the last pass ended.
func (c *clock) ended() time.Time { return c.epoch.Add(c.now()) }

// idle is for how long a page of that age has been idle at least, as the last
// pass of the window saw it.
func (c *clock) idle(age int) time.Duration {
	i := len(c.ends) - 1 - age
	if age == 0 || i < 0 {
		return 0
	}
	return max(0, c.began(c.passes-1)-c.ends[i])
}

// began is when pass i of the window began; -1 is the last of the one before.
func (c *clock) began(i int) time.Duration {
	if i < 0 {
		return c.before
	}
	return c.begins[i]
}

// age returns the least age, from min on, counted from the pass that is back
// passes before the last, that proves that at a time a page had been idle for d.
func (c *clock) age(back int, at, d time.Duration, least int) int {
	for a := least; a <= maxAge; a++ {
		i := len(c.ends) - 1 - back - a
		if i < 0 {
			break
		}
		if at-c.ends[i] >= d {
			return a
		}
	}
	return never
}

// Cuts are the idle ages of the Params, compiled for one window.
type cuts struct {
	// idle are the ages at the window's end that prove each of the idle ages.
	idle []int
	// before are those, at the beginning of the window, that prove it of pages
	// found young for the first time by the pass of an index. Least is the least
	// of them.
	before [slots][]int
	least  int
	// between says how many of the idle ages it proves, the first ones, that a
	// page which had an event in one pass was next found young by another.
	between [slots][slots]int
	// within tells whether any of between is not 0.
	within bool
}

func (c *cuts) compile(k *clock, idle []time.Duration) {
	c.idle = c.idle[:0]
	c.least, c.within = never, false
	last := k.began(k.passes - 1)
	a := 1
	for _, d := range idle {
		a = k.age(0, last, d, a)
		c.idle = append(c.idle, a)
	}
	for j := range k.passes {
		c.before[j] = c.before[j][:0]
		a := 0
		for _, d := range idle {
			a = k.age(k.passes, k.began(j-1), d, a)
			c.before[j] = append(c.before[j], a)
		}
		if len(idle) > 0 {
			c.least = min(c.least, c.before[j][0])
		}
		for i := range j {
			c.between[i][j] = 0
			end := k.ends[len(k.ends)-k.passes+i]
			for c.between[i][j] < len(idle) && k.began(j-1)-end >= idle[c.between[i][j]] {
				c.between[i][j]++
				c.within = true
			}
		}
	}
}

// reaccesses are the pages of one region that a window found young after they
// had been idle.
type reaccesses struct {
	// first has, for each idle age, pages whose first event of the window that
	// was; none beyond the first levels.
	first  [MaxIdleAges]Bitmap
	levels int
	// again has those that had an event before in the window, with the number
	// of idle ages that they reached.
	again []again
}

type again struct {
	levels int
	pages  Bitmap
}

func (r *reaccesses) reset() {
	for i := range r.levels {
		r.first[i] = Bitmap{}
	}
	r.levels, r.again = 0, r.again[:0]
}

// among tells whether any of the pages was reaccessed.
func (r *reaccesses) among(pages *Bitmap) bool {
	if r.levels == 0 && len(r.again) == 0 {
		return false
	}
	b := r.pages(0)
	b.and(pages)
	return !b.empty()
}

// found takes in pages that had their first event as they were found young.
func (r *reaccesses) found(pages *Bitmap, a *ages, cuts []int) {
	for level, n := range cuts {
		b := a.older(n)
		b.and(pages)
		if b.empty() {
			return
		}
		r.first[level].Or(&b)
		r.levels = max(r.levels, level+1)
	}
}

// count adds to counts how many of the pages were reaccessed after each idle age.
func (r *reaccesses) count(pages *Bitmap, counts []uint64) {
	for level := range r.levels {
		b := r.first[level]
		b.and(pages)
		counts[level] += uint64(b.Count())
	}
	for i := range r.again {
		b := r.again[i].pages
		b.and(pages)
		n := uint64(b.Count())
		for level := range r.again[i].levels {
			counts[level] += n
		}
	}
}

// pages returns those that were reaccessed at least once.
func (r *reaccesses) pages(level int) Bitmap {
	b := r.first[level]
	for i := range r.again {
		if level < r.again[i].levels {
			b.Or(&r.again[i].pages)
		}
	}
	return b
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
