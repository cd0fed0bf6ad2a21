package heat

import (
	"math/bits"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// of is the number of passes that found page i young.
func (s *tally) of(i int) int {
	n := 0
	for bit := range s.freq {
		if s.freq[bit].Has(i) {
			n |= 1 << bit
		}
	}
	return n
}

// youngIn makes passes of which those that f names found page i young.
func youngIn(passes int, f func(i, pass int) bool) []*Bitmap {
	var out []*Bitmap
	for pass := range passes {
		young := &Bitmap{}
		for i := range PagesPerRegion {
			if f(i, pass) {
				young.Set(i)
			}
		}
		out = append(out, young)
	}
	return out
}

func TestCountIsOfEachPageByItself(t *testing.T) {
	for passes := atOnce; passes <= slots; passes++ {
		// Page i is young in the passes that the bits of i name.
		var s tally
		s.count(youngIn(passes, func(i, pass int) bool { return i>>pass&1 != 0 }))
		for i := range PagesPerRegion {
			n := bits.OnesCount(uint(i) & (1<<passes - 1))
			want := min(n, MaxPassesPerWindow) // more is not counted, but does not wrap
			if got := s.of(i); got != want || s.young.Has(i) != (n > 0) {
				t.Errorf("page %d was young in %d of %d passes, but counts %d; young at all: %v", i, n, passes, got, s.young.Has(i))
			}
		}
	}
}

func TestAtLeast(t *testing.T) {
	for n := 1; n <= MaxPassesPerWindow; n++ {
		for count := range MaxPassesPerWindow + 1 {
			plane := func(bit int) uint64 { return -uint64(count >> bit & 1) }
			want := uint64(0)
			if count >= n {
				want = ^want
			}
			if got := atLeast(n, plane(0), plane(1), plane(2)); got != want {
				t.Errorf("a count of %d is at least %d: %x, want %x", count, n, got, want)
			}
		}
	}
}

func TestClassify(t *testing.T) {
	for name, c := range map[string]struct {
		young     int // passes
		need      int
		unwatched bool
		missed    bool
		missedAll bool
		absent    bool
		class     string
		accesses  uint64
	}{
		"young in every pass is hot":                {young: 4, need: 2, class: "hot", accesses: 4},
		"young in just enough passes is hot":        {young: 2, need: 2, class: "hot", accesses: 2},
		"young in too few passes is warm":           {young: 1, need: 2, class: "warm", accesses: 1},
		"young in no pass is cold":                  {need: 2, class: "cold"},
		"hot stays hot if a pass missed it":         {young: 3, need: 3, missed: true, class: "hot", accesses: 3},
		"hot stays hot if a pass missed everything": {young: 3, need: 3, missedAll: true, class: "hot", accesses: 3},
		"not warm if a pass missed it":              {young: 1, need: 2, missed: true},
		"not warm if a pass missed everything":      {young: 1, need: 2, missedAll: true},
		"not cold if a pass missed it":              {need: 2, missed: true},
		"not cold if a pass missed everything":      {need: 2, missedAll: true},
		"not hot if not watched":                    {young: 7, need: 1, unwatched: true},
		"not warm if not watched":                   {young: 1, need: 2, unwatched: true},
		"not cold if not watched":                   {need: 2, unwatched: true},
		"in no class if not resident":               {young: 7, need: 1, absent: true},
	} {
		t.Run(name, func(t *testing.T) {
			for _, page := range []int{0, 63, 64, 300, 511} {
				only := bitmapOf(page)
				var s tally
				s.count(youngIn(MaxPassesPerWindow, func(i, pass int) bool { return i == page && pass < c.young }))
				if !c.unwatched {
					s.watched = only
				}
				if c.missed {
					s.missed = only
				}
				resident := only
				if c.absent {
					resident = Bitmap{}
				}
				want := Classes{Accesses: c.accesses}
				switch c.class {
				case "hot":
					want.Hot = only
				case "warm":
					want.Warm = only
				case "cold":
					want.Cold = only
				}
				got := Classes{Hot: bitmapOf(1, 2, 3), Warm: bitmapOf(4), Cold: bitmapOf(5), Accesses: 99} // of another part
				n := s.classify(&resident, c.need, c.missedAll, &got)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("page %d: -want +got:\n%s", page, diff)
				}
				if want := (census{uint64(want.Hot.Count()), uint64(want.Warm.Count()), uint64(want.Cold.Count()), want.Accesses}); n != want {
					t.Errorf("page %d: counted %+v, want %+v", page, n, want)
				}
			}
		})
	}
}
