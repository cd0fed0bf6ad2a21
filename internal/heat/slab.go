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
}

// A tally is what one window found of one region.
type tally struct {
	// freq counts the window's passes that found a page young: bit p of page
	// i's count is freq[p].Has(i).
	freq [planes]Bitmap
	// missed has the pages which some pass of the window could not look at.
	missed Bitmap
	// watched has the pages that were resident before the last pass of the
	// window before, which looked at them: those whose accessed bits this window
	// can interpret.
	watched Bitmap
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

// classify judges the pages of a part: hot are those young in at least need
// passes, whatever was missed beside; nothing missed is warm or cold.
func (s *tally) classify(pages *Bitmap, need int, missedAll bool, c *Classes) {
	c.Accesses = 0
	for i := range pages {
		f0, f1, f2 := s.freq[0][i], s.freq[1][i], s.freq[2][i]
		w := pages[i] & s.watched[i]
		sure := w &^ s.missed[i]
		if missedAll {
			sure = 0
		}
		hot := atLeast(need, f0, f1, f2) & w
		anyPass := f0 | f1 | f2
		warm := sure & anyPass &^ hot
		cold := sure &^ anyPass
		c.Hot[i], c.Warm[i], c.Cold[i] = hot, warm, cold
		seen := hot | warm
		c.Accesses += uint64(bits.OnesCount64(f0&seen) + 2*bits.OnesCount64(f1&seen) + 4*bits.OnesCount64(f2&seen))
	}
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
