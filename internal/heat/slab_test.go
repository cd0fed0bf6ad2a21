package heat

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// count is the number of passes that found page i young.
func (s *tally) count(i int) int {
	n := 0
	for bit := range s.freq {
		if s.freq[bit].Has(i) {
			n |= 1 << bit
		}
	}
	return n
}

func TestTakeCountsEachPageByItself(t *testing.T) {
	// Page i is young in i%9 of nine passes, at the beginning or the end.
	const passes = 9
	var w regionWindow
	for pass := range passes {
		var young Bitmap
		for i := range PagesPerRegion {
			n := i % (passes + 1)
			if pass < n && i%2 == 0 || pass >= passes-n && i%2 == 1 {
				young.Set(i)
			}
		}
		w.take(&young, 0)
	}
	for i := range PagesPerRegion {
		want := min(i%(passes+1), MaxPassesPerWindow) // more is not counted, but does not wrap
		if got := w.tally.count(i); got != want {
			t.Errorf("page %d was young in %d passes, but counts %d", i, i%(passes+1), got)
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
				var w regionWindow
				for range c.young {
					young := only
					w.take(&young, 0)
				}
				s := w.tally
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
				s.classify(&resident, c.need, c.missedAll, &got)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("page %d: -want +got:\n%s", page, diff)
				}
			}
		})
	}
}
