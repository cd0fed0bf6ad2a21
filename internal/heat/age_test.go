package heat

import (
	"math"
	"math/bits"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// agesOf gives page i of a region the age of f(i).
func agesOf(f func(i int) int) (a ages) {
	for i := range PagesPerRegion {
		for bit := range a {
			if f(i)>>bit&1 != 0 {
				a[bit].Set(i)
			}
		}
	}
	return a
}

func (a *ages) of(i int) int {
	n := 0
	for bit := range a {
		if a[bit].Has(i) {
			n |= 1 << bit
		}
	}
	return n
}

func TestOlder(t *testing.T) {
	a := agesOf(func(i int) int { return i })
	for n := 0; n <= 1<<agePlanes; n++ {
		var all, got Bitmap
		all.SetRange(0, PagesPerRegion)
		a.older(n, &all, &got)
		for i := range PagesPerRegion {
			if want := i >= n; got.Has(i) != want {
				t.Fatalf("%d is at least %d: %v, want %v", i, n, got.Has(i), want)
			}
		}
	}
}

func TestEventsTakeTheLast(t *testing.T) {
	for passes := atOnce; passes <= slots; passes++ {
		// Page i has an event in the passes that the bits of i name, bit 0 in the
		// last one.
		e := events{any: bitmapOf(7), since: [planes]Bitmap{bitmapOf(7), bitmapOf(8), bitmapOf(9)}} // another region's
		e.take(youngIn(passes, func(i, left int) bool { return i>>left&1 != 0 }))
		for i := range PagesPerRegion {
			named := uint(i) & (1<<passes - 1)
			since := 0
			for bit := range e.since {
				if e.since[bit].Has(i) {
					since |= 1 << bit
				}
			}
			want := 0
			if named != 0 {
				want = bits.TrailingZeros(named)
			}
			if e.any.Has(i) != (named != 0) || since != want {
				t.Errorf("page %d of %d passes: an event %v, %d passes ago, want %d", i, passes, e.any.Has(i), since, want)
			}
		}
	}
}

func TestAdvance(t *testing.T) {
	for passes := 1; passes <= slots; passes++ {
		for last := -1; last < passes; last++ { // passes since the last event, if any
			for _, left := range []int{0, 1, 6, 7, 8, 127, 250, epoch} { // by the end of the window
				kept := func(i int) int { return left + passes + i%100 }
				s := slab{ages: agesOf(func(i int) int {
					if i >= 500 {
						return i // not tracked
					}
					return kept(i)
				}), least: uint16(left + passes), most: uint16(left + passes + 99)}
				var resident, young Bitmap
				s.tracked.SetRange(0, 500)
				s.accessed = bitmapOf(3, 12, 255)
				resident.SetRange(10, 512)
				var e events
				if last >= 0 {
					pages, none := bitmapOf(0, 10, 255, 256, 499, 500), Bitmap{}
					took := make([]*Bitmap, max(passes, atOnce))
					for i := range took {
						took[i] = &none
					}
					took[last], took[passes-1] = &pages, &pages
					e.take(took)
					young = bitmapOf(0, 10, 255, 500)
				}
				b := birthAt(left)
				s.advance(&resident, &young, &e, &b)
				for i := 10; i < PagesPerRegion; i++ {
					want := kept(i)
					switch {
					case i >= 500:
						want = left
					case e.any.Has(i):
						want = left + last
					}
					got := s.ages.of(i)
					if got != want {
						t.Fatalf("of page %d, %d passes before the end, with an event %d before: %d is kept, want %d", i, left, last, got, want)
					}
					if got < int(s.least) || got > int(s.most) {
						t.Fatalf("of page %d %d is kept, which is not in %d..%d", i, got, s.least, s.most)
					}
				}
				if s.tracked != resident {
					t.Fatal("what is resident is not what is tracked")
				}
				accessed := bitmapOf(12, 255)
				if last >= 0 {
					accessed = bitmapOf(10, 12, 255)
				}
				if s.accessed != accessed {
					t.Fatalf("accessed are %v, want %v", s.accessed, accessed)
				}
			}
		}
	}
}

func TestPostpone(t *testing.T) {
	for _, n := range []int{0, 1, 7, 249, epoch} {
		s := slab{ages: agesOf(func(i int) int { return i }), least: 0, most: 511}
		s.postpone(n)
		for i := range PagesPerRegion {
			if got, want := s.ages.of(i), min(i+n, 511); got != want {
				t.Errorf("%d and %d more are %d, want %d", i, n, got, want)
			}
		}
		if int(s.least) != n || s.most != 511 {
			t.Errorf("with %d more it is in %d..%d", n, s.least, s.most)
		}
	}
}

func TestGrow(t *testing.T) {
	a := agesOf(func(i int) int { return i })
	var by [planes]Bitmap
	var pages Bitmap
	n := func(i int) int { return i * 5 % 8 }
	for i := range PagesPerRegion {
		for bit := range by {
			if n(i)>>bit&1 != 0 {
				by[bit].Set(i)
			}
		}
		if i%3 != 0 {
			pages.Set(i)
		}
	}
	got := agesOf(func(int) int { return 300 }) // another region's
	a.grow(&pages, &by, &got)
	for i := range PagesPerRegion {
		want := 0
		if pages.Has(i) {
			want = min(i+n(i), 511)
		}
		if got.of(i) != want {
			t.Errorf("%d has grown by %d to %d, want %d", i, n(i), got.of(i), want)
		}
	}
}

// idlePages ends a window and returns how many of the ten pages of a one are idle
// for at least each idle age, and have been reaccessed after it.
func (o *one) idlePages() (idle, again []uint64) {
	o.t.Helper()
	series, err := o.EndWindow(map[int]*Residency{1: o.res}, Observers{})
	if err != nil {
		o.t.Fatal(err)
	}
	a := series[0].Areas[0]
	for i := range a.Idle {
		idle, again = append(idle, a.Idle[i]/PageSize), append(again, a.Reaccessed[i]/PageSize)
	}
	return idle, again
}

func withIdleAges(ages ...time.Duration) func(*Params) {
	return func(p *Params) { p.IdleAges = ages }
}

func TestAgesSaturate(t *testing.T) {
	// A pass begins every 2 s and takes one of them, so that the 255 passes which
	// an age can count prove 509 s.
	o := newOne(t, 2, withIdleAges(508*time.Second, 509*time.Second, 510*time.Second))
	o.quiet()
	for window := 1; window <= 400; window++ {
		o.pass(nil)
		o.pass(nil)
		got, _ := o.idlePages()
		want := []uint64{0, 0, 0}
		if 2*window >= 255 {
			want = []uint64{10, 10, 0}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("after %d passes %v pages are idle, want %v", 2*window, got, want)
		}
	}
	o.pass(func() { o.young(0, 511) })
	o.pass(nil)
	idle, again := o.idlePages()
	if diff := cmp.Diff([][]uint64{{8, 8, 0}, {2, 2, 0}}, [][]uint64{idle, again}); diff != "" {
		t.Errorf("idle and reaccessed: -want +got:\n%s", diff)
	}
}

// TestNothingMissedLooksOlder has pages idle for two windows of two passes, and
// then something happen in the second of four more.
func TestNothingMissedLooksOlder(t *testing.T) {
	for name, c := range map[string]struct {
		second func(o *one)
		// Of ten pages, those idle for at least 1, 5, 9 and 13 s after the fourth
		// pass, and those reaccessed by then.
		idle, again []uint64
	}{
		"nothing":       {func(o *one) { o.pass(nil) }, []uint64{10, 10, 10, 10}, []uint64{0, 0, 0, 0}},
		"an access":     {func(o *one) { o.pass(func() { o.young(0) }) }, []uint64{10, 9, 9, 9}, []uint64{1, 1, 1, 0}},
		"a skip":        {func(o *one) { o.pass(func() { o.Skip(1, address(0), address(2)) }) }, []uint64{10, 8, 8, 8}, []uint64{0, 0, 0, 0}},
		"a lost record": {func(o *one) { o.pass(func() { o.Lose(1) }) }, []uint64{10, 0, 0, 0}, []uint64{0, 0, 0, 0}},
		"a lost record and an access that was not": {func(o *one) { o.pass(func() { o.LoseAll(); o.young(0) }) },
			[]uint64{10, 0, 0, 0}, []uint64{1, 1, 1, 0}},
		"a failed pass": {func(o *one) {
			o.Begin(o.tick(), o.procs, nil)
			o.Walked(1, 0)
			o.EndPass(o.tick(), 1, true)
		}, []uint64{10, 0, 0, 0}, []uint64{0, 0, 0, 0}},
		"a pass that did not walk it": {func(o *one) {
			o.Begin(o.tick(), o.procs, nil)
			o.EndPass(o.tick(), 1, false)
		}, []uint64{10, 0, 0, 0}, []uint64{0, 0, 0, 0}},
		"another process under its pid": {func(o *one) { o.procs[0].Start++; o.pass(nil) }, []uint64{0, 0, 0, 0}, []uint64{0, 0, 0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOne(t, 4, withIdleAges(time.Second, 5*time.Second, 9*time.Second, 13*time.Second))
			o.quiet()
			o.quiet()
			o.pass(nil)
			c.second(o)
			o.pass(nil)
			// What this pass finds after a miss, it finds of before the miss.
			o.pass(nil)
			idle, again := o.idlePages()
			if diff := cmp.Diff([][]uint64{c.idle, c.again}, [][]uint64{idle, again}); diff != "" {
				t.Errorf("idle and reaccessed: -want +got:\n%s", diff)
			}
		})
	}
}

func TestWhatIsFoundAfterAMissIsNoReaccess(t *testing.T) {
	o := newOne(t, 4, withIdleAges(time.Second))
	o.quiet()
	o.quiet()
	o.pass(nil)
	o.pass(func() { o.Skip(1, address(0), address(2)) })
	o.pass(func() { o.young(0, 63) })
	o.pass(nil)
	if _, again := o.idlePages(); again[0] != 1 {
		t.Errorf("%d pages reaccessed, want only the one that was not skipped", again[0])
	}
}

func TestAverage(t *testing.T) {
	var a average
	a.observe(0.5, time.Hour, time.Minute)
	if a.value != 0.5 {
		t.Errorf("the first is %v, want itself", a.value)
	}
	a.observe(1, time.Hour+time.Minute, time.Minute)
	if want := 1 - 0.5/math.E; math.Abs(a.value-want) > 1e-12 {
		t.Errorf("a time constant later it is %v, want %v", a.value, want)
	}
	a.observe(0, time.Hour+time.Minute, time.Minute)
	if want := 1 - 0.5/math.E; math.Abs(a.value-want) > 1e-12 {
		t.Errorf("what comes at the same time makes it %v, want %v", a.value, want)
	}
	a.observe(0.25, 2*time.Hour, 0)
	if a.value != 0.25 {
		t.Errorf("without a time constant it is %v, want the last", a.value)
	}
}

func TestIdleAgesThatCannotBe(t *testing.T) {
	for name, ages := range map[string][]time.Duration{
		"too many":       make([]time.Duration, MaxIdleAges+1),
		"0":              {0},
		"not ascending":  {2, 1},
		"the same twice": {1, 1},
		"less than 0":    {-1},
	} {
		if _, err := NewTracker(Params{PassesPerWindow: 1, HotFraction: 1, IdleAges: ages}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestLeast(t *testing.T) {
	a := agesOf(func(i int) int { return (i * 7) % 512 })
	for from := range PagesPerRegion {
		for _, n := range []int{0, 1, 2, 65, 300} {
			var pages Bitmap
			pages.SetRange(from, min(from+n, PagesPerRegion))
			want := 0
			for i := from; i < min(from+n, PagesPerRegion); i++ {
				if age := (i * 7) % 512; i == from || age < want {
					want = age
				}
			}
			if got := a.least(&pages); got != want {
				t.Fatalf("the least age of %d pages from %d on is %d, want %d", n, from, got, want)
			}
		}
	}
}
