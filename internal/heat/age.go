package heat

const (
	// maxAge is where ages may stop growing: a page of this age has been idle for
	// that many passes or more.
	maxAge = 255
	// epoch is how many passes of age are told beforehand.
	epoch = 256
	// agePlanes is the number of bit-sliced planes of ages, for maxAge and an
	// epoch.
	agePlanes = 9
	// unreached is what is kept of no page.
	unreached = 1 << agePlanes
)

// MaxIdleAges is how many idle ages a Tracker can report.
const MaxIdleAges = 16

// MaxIdlePasses is how many passes of one length an idle age may last for a
// Tracker to be sure of it.
const MaxIdlePasses = maxAge - 1

// ages are the idle ages of a region's pages, in passes, bit-sliced. A page's age
// is the number of passes since the one that last found it young, missed it, or
// was the first after it was seen resident. All passes since have looked at it and
// found it old.
//
// What is kept is the age that the page will have at the end of an epoch, if
// nothing happens to it until then. So that age is not written again with every
// window, only when something happened: of most memory, nothing did. With left
// passes to go, a page has the age n if n+left is kept of it.
//
// Where nothing is kept there is 0, which is the age of no page: it makes none
// look idle.
type ages [agePlanes]Bitmap

// older sets out to those of the pages of which at least n is kept.
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
	if n >= unreached {
		*out = Bitmap{}
		return
	}
	// A number is above n-1 if, at the highest bit where they differ, it has a 1. So
	// from the lowest bit on, a 1 of the number alone makes it be above, and a 1 of
	// n-1 alone not be. Two planes at once take half the loads and stores.
	var r0, r1, r2, r3, r4, r5, r6, r7 uint64
	for bit, below := 0, n-1; bit < agePlanes-1; bit += 2 {
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
	p := &a[agePlanes-1]
	if (n-1)>>(agePlanes-1) == 0 {
		out[0], out[1], out[2], out[3] = (r0|p[0])&pages[0], (r1|p[1])&pages[1], (r2|p[2])&pages[2], (r3|p[3])&pages[3]
		out[4], out[5], out[6], out[7] = (r4|p[4])&pages[4], (r5|p[5])&pages[5], (r6|p[6])&pages[6], (r7|p[7])&pages[7]
		return
	}
	out[0], out[1], out[2], out[3] = r0&p[0]&pages[0], r1&p[1]&pages[1], r2&p[2]&pages[2], r3&p[3]&pages[3]
	out[4], out[5], out[6], out[7] = r4&p[4]&pages[4], r5&p[5]&pages[5], r6&p[6]&pages[6], r7&p[7]&pages[7]
}

// least returns the least that is kept of any of the pages, 0 if there is none.
func (a *ages) least(pages *Bitmap) int {
	if pages.empty() {
		return 0
	}
	n, among := 0, *pages
	for bit := agePlanes - 1; bit >= 0; bit-- {
		without := among
		without.remove(&a[bit])
		if without.empty() {
			n |= 1 << bit
		} else {
			among = without
		}
	}
	return n
}

// count returns of how many of the pages at least n is kept.
func (a *ages) count(pages *Bitmap, n int) uint64 {
	var b Bitmap
	a.older(n, pages, &b)
	return uint64(b.Count())
}

// grow sets out to what is kept of some pages, and n more, and to 0 for the others.
// Nothing grows beyond what the planes can hold.
func (a *ages) grow(pages *Bitmap, n *[planes]Bitmap, out *ages) {
	for i, p := range pages {
		s0, s1, s2, c := add(a[0][i]&p, a[1][i]&p, a[2][i]&p, n[0][i]&p, n[1][i]&p, n[2][i]&p)
		out[0][i], out[1][i], out[2][i] = s0, s1, s2
		for bit := planes; bit < agePlanes; bit++ {
			up := a[bit][i] & p
			out[bit][i] = up ^ c
			c &= up
		}
		if c != 0 {
			for bit := range out {
				out[bit][i] |= c
			}
		}
	}
}

// postpone keeps n more of all pages. Nothing grows beyond what the planes can hold.
func (a *ages) postpone(n int) {
	for i := range words {
		var c uint64
		for bit := range a {
			p, m := a[bit][i], mask(n, bit)
			a[bit][i] = p ^ m ^ c
			c = p&m | c&(p|m)
		}
		for bit := range a {
			a[bit][i] |= c
		}
	}
}

// mask is all of a word if n has the bit.
func mask(n, bit int) uint64 { return -uint64(n >> bit & 1) }

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

// add adds 64 bit-sliced numbers of three bits each, and returns what they carry.
func add(p0, p1, p2, n0, n1, n2 uint64) (s0, s1, s2, c uint64) {
	c = p0 & n0
	c1 := p1&n1 | c&(p1|n1)
	return p0 ^ n0, p1 ^ n1 ^ c, p2 ^ n2 ^ c1, p2&n2 | c1&(p2|n2)
}
