package heat

const (
	// agePlanes is the number of bit-sliced planes of idle ages.
	agePlanes = 8
	// maxAge is where ages stop growing: a page of this age has been idle for
	// that many passes or more.
	maxAge = 1<<agePlanes - 1
	// unreached is an age that no page reaches.
	unreached = maxAge + 1
)

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

// older sets out to those of the pages whose age is at least n.
//
// It returns no Bitmap, because a processor that has stored eight words waits
// before it can load them as four, which is how Go copies arrays.
func (a *ages) older(n int, pages, out *Bitmap) {
	if n <= 0 {
		for i := range words {
			out[i] = pages[i]
		}
		return
	}
	if n > maxAge {
		*out = Bitmap{}
		return
	}
	// An age is above n-1 if, at the highest bit where they differ, it has a 1. So
	// from the lowest bit on, a 1 of the age alone makes it be above, and a 1 of
	// n-1 alone not be. Two planes at once take half the loads and stores.
	var r0, r1, r2, r3, r4, r5, r6, r7 uint64
	for bit, below := 0, n-1; bit < agePlanes; bit += 2 {
		p, q := &a[bit], &a[bit+1]
		switch below >> bit & 3 {
		case 0:
			r0 = r0 | p[0] | q[0]
			r1 = r1 | p[1] | q[1]
			r2 = r2 | p[2] | q[2]
			r3 = r3 | p[3] | q[3]
			r4 = r4 | p[4] | q[4]
			r5 = r5 | p[5] | q[5]
			r6 = r6 | p[6] | q[6]
			r7 = r7 | p[7] | q[7]
		case 1:
			r0 = (r0 & p[0]) | q[0]
			r1 = (r1 & p[1]) | q[1]
			r2 = (r2 & p[2]) | q[2]
			r3 = (r3 & p[3]) | q[3]
			r4 = (r4 & p[4]) | q[4]
			r5 = (r5 & p[5]) | q[5]
			r6 = (r6 & p[6]) | q[6]
			r7 = (r7 & p[7]) | q[7]
		case 2:
			r0 = (r0 | p[0]) & q[0]
			r1 = (r1 | p[1]) & q[1]
			r2 = (r2 | p[2]) & q[2]
			r3 = (r3 | p[3]) & q[3]
			r4 = (r4 | p[4]) & q[4]
			r5 = (r5 | p[5]) & q[5]
			r6 = (r6 | p[6]) & q[6]
			r7 = (r7 | p[7]) & q[7]
		default:
			r0 = r0 & p[0] & q[0]
			r1 = r1 & p[1] & q[1]
			r2 = r2 & p[2] & q[2]
			r3 = r3 & p[3] & q[3]
			r4 = r4 & p[4] & q[4]
			r5 = r5 & p[5] & q[5]
			r6 = r6 & p[6] & q[6]
			r7 = r7 & p[7] & q[7]
		}
	}
	out[0], out[1], out[2], out[3] = r0&pages[0], r1&pages[1], r2&pages[2], r3&pages[3]
	out[4], out[5], out[6], out[7] = r4&pages[4], r5&pages[5], r6&pages[6], r7&pages[7]
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

// count returns how many of the pages have an age of at least n.
func (a *ages) count(pages *Bitmap, n int) uint64 {
	var b Bitmap
	a.older(n, pages, &b)
	return uint64(b.Count())
}

// idle adds to counts how many of the pages are at least as old as each of the
// cuts, which ascend.
func (a *ages) idle(pages *Bitmap, cuts []int, counts []uint64) {
	if len(cuts) == 0 {
		return
	}
	n := a.count(pages, cuts[0])
	if n == 0 {
		return
	}
	// What is older than one cut is older than those before. So once a count is
	// the last cut's, the rest is.
	least := a.count(pages, cuts[len(cuts)-1])
	counts[0] += n
	for i := 1; i < len(cuts); i++ {
		if n != least {
			n = a.count(pages, cuts[i])
		}
		counts[i] += n
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

// take sets events to those that the passes of a window had, the last one first.
// There are atOnce at least.
func (e *events) take(passes []*Bitmap) {
	p0, p1, p2, p3 := passes[0], passes[1], passes[2], passes[3]
	for i := range words {
		e.any[i] = p0[i] | p1[i] | p2[i] | p3[i]
		e.since[0][i] = (p1[i] | p3[i]&^p2[i]) &^ p0[i]
		e.since[1][i] = (p2[i] | p3[i]) &^ (p0[i] | p1[i])
		e.since[2][i] = 0
	}
	for left, p := range passes[atOnce:] {
		left += atOnce
		for i := range words {
			last := p[i] &^ e.any[i]
			e.any[i] |= last
			for bit := range e.since {
				e.since[bit][i] |= last & -uint64(left>>bit&1)
			}
		}
	}
}

// advance brings a slab to the end of a window of that many passes, at which the
// given pages were resident: those that were not so before have the age 0. A
// window of more passes than it may have counts as one of as many.
func (s *slab) advance(resident, young *Bitmap, e *events, passes int) {
	passes = min(passes, MaxPassesPerWindow)
	n0, n1, n2 := -uint64(passes&1), -uint64(passes>>1&1), -uint64(passes>>2&1)
	a := &s.ages
	for i := range words {
		was := s.tracked[i]
		stay := was & resident[i]
		event := stay & e.any[i]
		old := stay &^ event
		s.tracked[i] = resident[i]
		s.accessed[i] = (s.accessed[i] | young[i]) & stay

		// The old pages' ages grow by the passes; all others become 0, and grow by
		// the passes since their last event, if they had one.
		s0, s1, s2, c := add(a[0][i]&old, a[1][i]&old, a[2][i]&old,
			n0&old|e.since[0][i]&event, n1&old|e.since[1][i]&event, n2&old|e.since[2][i]&event)
		if c == 0 && old == was { // then the planes above stay as they are
			a[0][i], a[1][i], a[2][i] = s0, s1, s2
			continue
		}
		s3, s4, s5, s6, s7, full := carry(a[3][i]&old, a[4][i]&old, a[5][i]&old, a[6][i]&old, a[7][i]&old, c)
		a[0][i], a[1][i], a[2][i], a[3][i] = s0|full, s1|full, s2|full, s3|full
		a[4][i], a[5][i], a[6][i], a[7][i] = s4|full, s5|full, s6|full, s7|full
	}
}

// grow sets out to what the ages of some pages are when they have grown by n, and
// to 0 for the others.
func (a *ages) grow(pages *Bitmap, n *[planes]Bitmap, out *ages) {
	for i, p := range pages {
		s0, s1, s2, c := add(a[0][i]&p, a[1][i]&p, a[2][i]&p, n[0][i]&p, n[1][i]&p, n[2][i]&p)
		s3, s4, s5, s6, s7, full := carry(a[3][i]&p, a[4][i]&p, a[5][i]&p, a[6][i]&p, a[7][i]&p, c)
		out[0][i], out[1][i], out[2][i], out[3][i] = s0|full, s1|full, s2|full, s3|full
		out[4][i], out[5][i], out[6][i], out[7][i] = s4|full, s5|full, s6|full, s7|full
	}
}

// add adds 64 bit-sliced numbers of three bits each, and returns what they carry.
func add(p0, p1, p2, n0, n1, n2 uint64) (s0, s1, s2, c uint64) {
	c = p0 & n0
	c1 := p1&n1 | c&(p1|n1)
	return p0 ^ n0, p1 ^ n1 ^ c, p2 ^ n2 ^ c1, p2&n2 | c1&(p2|n2)
}

// carry adds c to the upper planes of 64 ages. Those in full are beyond maxAge,
// where they are to stay.
func carry(p3, p4, p5, p6, p7, c uint64) (s3, s4, s5, s6, s7, full uint64) {
	c4 := c & p3
	c5 := c4 & p4
	c6 := c5 & p5
	c7 := c6 & p6
	return p3 ^ c, p4 ^ c4, p5 ^ c5, p6 ^ c6, p7 ^ c7, c7 & p7
}
