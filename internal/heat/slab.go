package heat

import "math/bits"

// planes is the number of bit-sliced frequency planes.
const planes = 3

// A slab is what the tracker keeps of one region of one process from window to
// window. It has no pointers: the garbage collector never looks into slabs. First
// comes what each window looks at, also where nothing happened.
type slab struct {
	// Of each of the tracked pages at least least and at most most is kept in ages,
	// and at least untouched of those that are not in accessed.
	least, most, untouched uint16
	// tracked has the pages that were resident at the end of the window before.
	tracked Bitmap
	// accessed has those that were found young since they are tracked.
	accessed Bitmap
	// ages has their idle ages.
	ages ages
}

// A birth says what is kept of pages whose ages begin in a window.
type birth struct {
	left int
	low  [planes]uint64
	// up is what is kept in the planes above if the low ones do not carry, and
	// flip what differs if they do.
	up, flip [agePlanes]uint64
}

// birthAt is for a window that ends with that many passes of the epoch left.
func birthAt(left int) (b birth) {
	b.left = left
	for bit := range agePlanes {
		if bit < planes {
			b.low[bit] = mask(left, bit)
			continue
		}
		b.up[bit] = mask(left, bit)
		b.flip[bit] = b.up[bit] ^ mask(left+1<<planes, bit)
	}
	return b
}

// begin makes all pages' age 0.
func (s *slab) begin(b *birth) {
	for bit := range s.ages {
		m := mask(b.left, bit)
		s.ages[bit] = Bitmap{m, m, m, m, m, m, m, m}
	}
	s.least, s.most, s.untouched = uint16(b.left), uint16(b.left), uint16(b.left)
}

// advance brings a slab to the end of a window, at which the given pages were
// resident: those that were not so before have the age 0, and those with an event
// the number of passes since.
func (s *slab) advance(resident, young *Bitmap, e *events, b *birth) {
	var begun, untouched, kept uint64
	a := &s.ages
	for i := range words {
		was, is := s.tracked[i], resident[i]
		event := was & is & e.any[i]
		kept |= was & is &^ event
		anew := event | is&^was
		begun |= anew
		untouched |= event&^young[i] | is&^was
		if was == is && event == 0 {
			continue
		}
		s.tracked[i] = is
		s.accessed[i] = (s.accessed[i] | young[i]) & was & is
		if anew == 0 {
			continue
		}
		s0, s1, s2, c := add(e.since[0][i]&event, e.since[1][i]&event, e.since[2][i]&event, b.low[0], b.low[1], b.low[2])
		a[0][i] = a[0][i]&^anew | s0&anew
		a[1][i] = a[1][i]&^anew | s1&anew
		a[2][i] = a[2][i]&^anew | s2&anew
		a[3][i] = a[3][i]&^anew | (b.up[3]^b.flip[3]&c)&anew
		a[4][i] = a[4][i]&^anew | (b.up[4]^b.flip[4]&c)&anew
		a[5][i] = a[5][i]&^anew | (b.up[5]^b.flip[5]&c)&anew
		a[6][i] = a[6][i]&^anew | (b.up[6]^b.flip[6]&c)&anew
		a[7][i] = a[7][i]&^anew | (b.up[7]^b.flip[7]&c)&anew
		a[8][i] = a[8][i]&^anew | (b.up[8]^b.flip[8]&c)&anew
	}
	if begun != 0 {
		s.least = uint16(b.left)
		if kept == 0 {
			s.most = uint16(b.left + slots - 1)
		}
	}
	if untouched != 0 {
		s.untouched = uint16(b.left)
	}
}

// postpone moves the end of the epoch by that many passes.
func (s *slab) postpone(passes int) {
	s.ages.postpone(passes)
	for _, n := range []*uint16{&s.least, &s.most, &s.untouched} {
		*n = uint16(min(unreached-1, int(*n)+passes))
	}
}

// older sets out to those of the pages, tracked ones, of which at least n is kept.
func (s *slab) older(n int, pages, out *Bitmap) {
	switch {
	case n <= int(s.least):
		*out = *pages
	case n > int(s.most):
		*out = Bitmap{}
	default:
		s.ages.older(n, pages, out)
	}
}

// never sets out to the tracked pages of which at least n is kept and that have
// not been found young since they are tracked: the passes since looked at them.
func (s *slab) never(n int, out *Bitmap) {
	for i := range words {
		out[i] = s.tracked[i] &^ s.accessed[i]
	}
	if n > int(s.untouched) && !out.empty() {
		s.older(n, out, out)
	}
}

// age returns the least age of the tracked pages, 0 if there is none.
func (s *slab) age(left int) int {
	return min(maxAge, max(0, s.ages.least(&s.tracked)-left))
}

// idle adds to counts how many of the pages, tracked ones and all in number, are at
// least as old as each of the cuts, which ascend.
func (s *slab) idle(pages *Bitmap, all uint64, cuts []int, counts []uint64) {
	for len(cuts) > 0 && cuts[len(cuts)-1] > int(s.most) {
		cuts = cuts[:len(cuts)-1]
	}
	for len(cuts) > 0 && cuts[0] <= int(s.least) {
		counts[0] += all
		cuts, counts = cuts[1:], counts[1:]
	}
	if len(cuts) == 0 {
		return
	}
	// What is older than one cut is older than those before. So once a count is
	// the last cut's, the rest is.
	last := s.count(pages, all, cuts[len(cuts)-1])
	n := last
	for i := range cuts[:len(cuts)-1] {
		if i == 0 || n != last {
			n = s.count(pages, all, cuts[i])
		}
		counts[i] += n
	}
	counts[len(cuts)-1] += last
}

// count returns of how many of the pages, all in number, at least n is kept, and
// remembers what that says of the whole slab.
func (s *slab) count(pages *Bitmap, all uint64, n int) uint64 {
	count := s.ages.count(pages, n)
	switch {
	case count == 0 && s.tracked.equals(pages):
		s.most = uint16(n - 1)
	case count == all && s.tracked.equals(pages):
		s.least = uint16(n)
	}
	return count
}

// A tally is what one window found of one region.
type tally struct {
	// freq counts the window's passes that found a page young: bit p of page
	// i's count is freq[p].Has(i). Young has the pages that any pass did.
	freq  [planes]Bitmap
	young Bitmap
	// missed has the pages which some pass of the window could not look at.
	missed Bitmap
	// watched has the pages that were resident before the last pass of the
	// window before, which looked at them: those whose accessed bits this window
	// can interpret.
	watched Bitmap
}

// count sets freq and young to what passes found young. There are atOnce at least.
// Counts stay at their maximum rather than wrap.
func (s *tally) count(passes []*Bitmap) {
	p0, p1, p2, p3 := passes[0], passes[1], passes[2], passes[3]
	for i := range words {
		a, b := p0[i]^p1[i], p0[i]&p1[i] // the sum of two, and of the others
		c, d := p2[i]^p3[i], p2[i]&p3[i]
		s.young[i] = a | b | c | d
		s.freq[0][i] = a ^ c
		s.freq[1][i] = b ^ d | a&c
		s.freq[2][i] = b & d
	}
	for _, p := range passes[atOnce:] {
		for i := range words {
			c0 := s.freq[0][i] & p[i]
			c1 := s.freq[1][i] & c0
			full := s.freq[2][i] & c1
			s.young[i] |= p[i]
			s.freq[0][i] = s.freq[0][i] ^ p[i] | full
			s.freq[1][i] = s.freq[1][i] ^ c0 | full
			s.freq[2][i] = s.freq[2][i] ^ c1 | full
		}
	}
}

// Classes are the pages of one ResidentPart at the end of a window. They share
// no page; those in none of them are unobserved.
type Classes struct {
	Hot, Warm, Cold Bitmap
	// Accesses is the sum of the window's accesses of these pages.
	Accesses uint64
	// Idle has, for each idle age of the Params, the pages known to have been
	// idle for at least that long, and Reaccessed those that were found young in
	// the window after they had been. Only a Visitor gets them.
	Idle, Reaccessed []Bitmap
}

func (c *Classes) clear() { c.Hot, c.Warm, c.Cold, c.Accesses = Bitmap{}, Bitmap{}, Bitmap{}, 0 }

// A census counts the pages of Classes.
type census struct {
	hot, warm, cold uint64
	accesses        uint64
}

func (c *census) judged() uint64 { return c.hot + c.warm + c.cold }

// classify judges the pages of a part: hot are those young in at least need
// passes, whatever was missed beside; nothing missed is warm or cold. C may be nil.
func (s *tally) classify(pages *Bitmap, need int, missedAll bool, c *Classes) (n census) {
	var lookedAt uint64
	if !missedAll {
		lookedAt = ^lookedAt
	}
	for i := range words {
		f0, f1, f2 := s.freq[0][i], s.freq[1][i], s.freq[2][i]
		w := pages[i] & s.watched[i]
		sure := w & lookedAt &^ s.missed[i]
		hot := atLeast(need, f0, f1, f2) & w
		warm := sure & s.young[i] &^ hot
		cold := sure &^ s.young[i]
		if c != nil {
			c.Hot[i], c.Warm[i], c.Cold[i] = hot, warm, cold
		}
		n.cold += uint64(bits.OnesCount64(cold))
		if seen := hot | warm; seen != 0 {
			n.hot += uint64(bits.OnesCount64(hot))
			n.warm += uint64(bits.OnesCount64(warm))
			n.accesses += uint64(bits.OnesCount64(f0&seen) + 2*bits.OnesCount64(f1&seen) + 4*bits.OnesCount64(f2&seen))
		}
	}
	if c != nil {
		c.Accesses = n.accesses
	}
	return n
}

// atLeast returns, for 64 bit-sliced counts at once, which are at least n,
// 1 to MaxPassesPerWindow.
func atLeast(n int, f0, f1, f2 uint64) uint64 {
	switch n {
	case 1:
		return f0 | f1 | f2
	case 2:
		return f1 | f2
	case 3:
		return f0&f1 | f2
	case 4:
		return f2
	case 5:
		return f2 & (f0 | f1)
	case 6:
		return f2 & f1
	default:
		return f0 & f1 & f2
	}
}
