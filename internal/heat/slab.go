package heat

import "math/bits"

// planes is the number of bit-sliced frequency planes.
const planes = 3

// A slab is what the tracker keeps of one region of one process from window to
// window. It has no pointers: the garbage collector never looks into slabs.
type slab struct {
	// tracked has the pages that were resident at the end of the window before.
	tracked Bitmap
	// ages has their idle ages at that time.
	ages ages
	// accessed has those that were found young since they are tracked.
	accessed Bitmap
}

// never sets out to the tracked pages that have not been found young since they are
// tracked, nor missed in the last passes of that number, all of which looked at
// them.
func (s *slab) never(passes int, out *Bitmap) {
	for i := range words {
		out[i] = s.tracked[i] &^ s.accessed[i]
	}
	if !out.empty() {
		s.ages.older(passes, out, out)
	}
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
