package heat

import "time"

// slots is how many passes of a window can be told apart: as many as it may have,
// and what comes after them.
const slots = MaxPassesPerWindow + 1

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

// windowBegan is when the first pass of the window under way began.
func (c *clock) windowBegan() time.Time { return c.epoch.Add(c.begins[0]) }

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

// age returns the least age, from least on, counted from the pass that is back
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
	return maxAge + 1
}

// Cuts are the idle ages of the Params, compiled for one window: what must be kept
// of pages at least.
type cuts struct {
	// idle prove each of the idle ages at the window's end.
	idle []int
	// before prove them of pages found young for the first time by the pass of an
	// index. Least is the least of them.
	before [slots][]int
	least  int
	// between says how many of the idle ages it proves, the first ones, that a
	// page which had an event in one pass was next found young by another.
	between [slots][slots]int
	// within tells whether any of between is not 0.
	within bool
	// regular tells that each of before is less, by one a pass, the later the pass:
	// then what has grown until a pass needs to be as in before[0].
	regular bool
}

// compile is for a window that ends with that many passes of the epoch left.
func (c *cuts) compile(k *clock, idle []time.Duration, left int) {
	c.idle = c.idle[:0]
	c.least, c.within, c.regular = unreached, false, true
	last := k.began(k.passes - 1)
	a := 1
	for _, d := range idle {
		a = k.age(0, last, d, a)
		c.idle = append(c.idle, kept(a, left))
	}
	begin := left + k.passes
	for j := range k.passes {
		c.before[j] = c.before[j][:0]
		a := 0
		for i, d := range idle {
			a = k.age(k.passes, k.began(j-1), d, a)
			n := kept(a, begin)
			c.before[j] = append(c.before[j], n)
			want := c.before[0][i]
			if want != unreached {
				want = max(begin, want-j)
			}
			c.regular = c.regular && n == want
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

// kept is what is kept of a page of that age with that many passes of the epoch
// left.
func kept(age, left int) int {
	if age > maxAge {
		return unreached
	}
	return age + left
}
