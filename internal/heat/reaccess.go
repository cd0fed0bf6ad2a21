package heat

import "slices"

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
	return r.levels > 0 && r.first[0].meets(pages) ||
		slices.ContainsFunc(r.again, func(a again) bool { return a.pages.meets(pages) })
}

// found takes in pages that had their first event as they were found young.
func (r *reaccesses) found(pages *Bitmap, a *ages, cuts []int) {
	for len(cuts) > 0 && cuts[len(cuts)-1] == unreached {
		cuts = cuts[:len(cuts)-1]
	}
	var b, last Bitmap
	for level, n := range cuts {
		if level < 2 || !b.equals(&last) { // or else all reach this one, too
			a.older(n, pages, &b)
		}
		if b.empty() {
			return
		}
		if level == 1 {
			a.older(cuts[len(cuts)-1], &b, &last)
		}
		r.first[level].Or(&b)
		r.levels = max(r.levels, level+1)
	}
}

// count adds to counts how many of the pages were reaccessed after each idle age.
func (r *reaccesses) count(pages *Bitmap, counts []uint64) {
	for level := range r.levels {
		counts[level] += uint64(r.first[level].common(pages))
	}
	for i := range r.again {
		n := uint64(r.again[i].pages.common(pages))
		for level := range r.again[i].levels {
			counts[level] += n
		}
	}
}

// pages returns those that were reaccessed after the idle age of a level.
func (r *reaccesses) pages(level int) Bitmap {
	b := r.first[level]
	for i := range r.again {
		if level < r.again[i].levels {
			b.Or(&r.again[i].pages)
		}
	}
	return b
}

// reaccess finds out which pages of a slab, at the beginning of a window, were
// reaccessed by its passes.
func (w *regionWindow) reaccess(s *slab, c *cuts, passes int) {
	var old Bitmap // those that have had no event yet
	for i := range words {
		old[i] = s.tracked[i] & w.tally.young[i]
	}
	s.older(c.least, &old, &old)
	found := 0 // passes
	for k := range passes {
		if c.within {
			w.again(&s.tracked, c, passes, k)
		} else if old.empty() {
			passes = k
			break
		}
		event, young := w.event[passes-1-k], w.young[passes-1-k]
		first := &w.first[k]
		for i := range words {
			first[i] = old[i] & young[i]
			old[i] &^= event[i]
		}
		if !first.empty() {
			found++
		}
	}
	if found > 1 && c.regular {
		w.foundAll(&s.ages, c.before[0], passes)
		return
	}
	for k := range passes {
		if !w.first[k].empty() {
			w.reaccessed.found(&w.first[k], &s.ages, c.before[k])
		}
	}
}

// foundAll takes in what all passes found at once, by the ages that the pages had
// grown to by then.
func (w *regionWindow) foundAll(a *ages, cuts []int, passes int) {
	var pages Bitmap
	var by [planes]Bitmap
	for k := range passes {
		b0, b1, b2 := -uint64(k&1), -uint64(k>>1&1), -uint64(k>>2&1)
		for i := range words {
			first := w.first[k][i]
			pages[i] |= first
			by[0][i] |= first & b0
			by[1][i] |= first & b1
			by[2][i] |= first & b2
		}
	}
	var grown ages
	a.grow(&pages, &by, &grown)
	w.reaccessed.found(&pages, &grown, cuts)
}

// again finds the pages that pass k found young, and that had an event before in
// the window.
func (w *regionWindow) again(tracked *Bitmap, c *cuts, passes, k int) {
	young := *w.young[passes-1-k]
	young.and(tracked)
	for i := k - 1; i >= 0 && !young.empty(); i-- {
		event := w.event[passes-1-i]
		if levels := c.between[i][k]; levels > 0 {
			b := young
			b.and(event)
			if !b.empty() {
				w.reaccessed.again = append(w.reaccessed.again, again{levels, b})
			}
		}
		young.remove(event) // their last one before k was this
	}
}
