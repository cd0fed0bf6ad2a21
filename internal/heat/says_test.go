package heat

import (
	"fmt"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestWhatAWindowSays runs three windows of two passes: the first makes the
// pages watched, then come before and after.
func TestWhatAWindowSays(t *testing.T) {
	for name, c := range map[string]struct {
		before, after func(o *one) string
		wantBefore    string
		want          string
	}{
		"what nobody touched is cold": {want: "ccccc ccccc"},
		"young in all passes is hot, in half of them too": {
			after: func(o *one) string {
				return o.window(func() { o.young(0, 1) }, func() { o.young(1) })
			},
			want: "hhccc ccccc",
		},
		"a page that two records of one pass have counts once": {
			after: func(o *one) string {
				if err := o.SetParams(Params{PassesPerWindow: 2, HotFraction: 1, LabelPID: true}); err != nil {
					o.t.Fatal(err)
				}
				return o.window(func() { o.young(0); o.young(0, 63) }, nil)
			},
			want: "wcwcc ccccc",
		},
		"a failed pass makes all that is not hot unobserved": {
			after: func(o *one) string {
				o.pass(func() { o.young(0) })
				o.Begin(o.tick(), o.procs, nil)
				o.Walked(1, 0)
				o.EndPass(o.tick(), 1, true)
				return o.end()
			},
			want: "huuuu uuuuu",
		},
		"lost records of anyone make all that is not hot unobserved": {
			after: func(o *one) string { return o.window(func() { o.young(0) }, o.LoseAll) },
			want:  "huuuu uuuuu",
		},
		"a loss between two passes counts for the next": {
			after: func(o *one) string { o.pass(nil); o.LoseAll(); o.pass(nil); return o.end() },
			want:  "uuuuu uuuuu",
		},
		"a loss between two windows counts for the next": {
			before:     func(o *one) string { got := o.quiet(); o.LoseAll(); return got },
			wantBefore: "ccccc ccccc",
			want:       "uuuuu uuuuu",
		},
		"a loss between the last pass and the window's end counts for the next": {
			before:     func(o *one) string { o.pass(nil); o.pass(nil); o.LoseAll(); o.Lose(1); return o.end() },
			wantBefore: "ccccc ccccc",
			want:       "uuuuu uuuuu",
		},
		"lost records of the process make it unobserved": {
			after: func(o *one) string { return o.window(func() { o.Lose(1) }, nil) },
			want:  "uuuuu uuuuu",
		},
		"lost records of another process change nothing": {
			after: func(o *one) string { return o.window(func() { o.Lose(2) }, nil) },
			want:  "ccccc ccccc",
		},
		"no word of a walk makes it unobserved": {
			after: func(o *one) string {
				o.pass(nil)
				o.Begin(o.tick(), o.procs, nil)
				o.EndPass(o.tick(), 1, false)
				return o.end()
			},
			want: "uuuuu uuuuu",
		},
		"no word of a walk on one of two nodes makes it unobserved": {
			after: func(o *one) string {
				o.pass(nil)
				o.Begin(o.tick(), o.procs, nil)
				o.Walked(1, 0)
				o.EndPass(o.tick(), 3, false)
				return o.end()
			},
			want: "uuuuu uuuuu",
		},
		"pages that came to a node which the last pass did not walk were missed by it": {
			after: func(o *one) string {
				o.pass(func() { o.young(0) })
				o.pass(func() { o.young(0) })
				for i := range o.res.Parts {
					o.res.Parts[i].Node = 1
				}
				return o.end()
			},
			want: "huuuu uuuuu",
		},
		"a pass that aged only other nodes makes it unobserved": {
			after: func(o *one) string {
				o.pass(nil)
				o.Begin(o.tick(), o.procs, nil)
				o.Walked(1, 1)
				o.EndPass(o.tick(), 2, false)
				return o.end()
			},
			want: "uuuuu uuuuu",
		},
		"a pass that aged no node makes it unobserved": {
			after: func(o *one) string {
				o.pass(nil)
				o.Begin(o.tick(), o.procs, nil)
				o.Walked(1, 0)
				o.EndPass(o.tick(), 0, false)
				return o.end()
			},
			want: "uuuuu uuuuu",
		},
		"pages on a node beyond those that the tracker tells apart are unobserved": {
			before:     func(o *one) string { o.res.Parts[1].Node = maxNodes; return o.quiet() },
			wantBefore: "ccccc ccccc",
			want:       "ccccc uuuuu",
		},
		"what the last pass before skipped has bits of any age": {
			before: func(o *one) string {
				return o.window(nil, func() { o.Skip(1, address(0), address(2)) })
			},
			wantBefore: "uuccc ccccc",
			after:      func(o *one) string { return o.window(func() { o.young(0) }, nil) },
			want:       "uuccc ccccc",
		},
		"what an earlier pass of the window before skipped has been wiped since": {
			before: func(o *one) string {
				return o.window(func() { o.Skip(1, address(0), address(2)) }, nil)
			},
			wantBefore: "uuccc ccccc",
			after:      func(o *one) string { return o.window(func() { o.young(0) }, nil) },
			want:       "hcccc ccccc",
		},
		"a process that the last pass before did not walk has bits of any age": {
			before: func(o *one) string {
				o.pass(nil)
				o.Begin(o.tick(), o.procs, nil)
				o.EndPass(o.tick(), 1, false)
				return o.end()
			},
			wantBefore: "uuuuu uuuuu",
			after:      func(o *one) string { return o.window(func() { o.young(0) }, func() { o.young(1) }) },
			want:       "uhuuu uuuuu",
		},
		"a failed last pass leaves bits of any age": {
			before: func(o *one) string {
				o.pass(nil)
				o.Begin(o.tick(), o.procs, nil)
				o.Walked(1, 0)
				o.EndPass(o.tick(), 1, true)
				return o.end()
			},
			wantBefore: "uuuuu uuuuu",
			after:      func(o *one) string { return o.window(func() { o.young(0) }, func() { o.young(1) }) },
			want:       "uhuuu uuuuu",
		},
		"lost records of the last pass leave wiped bits": {
			before:     func(o *one) string { return o.window(nil, o.LoseAll) },
			wantBefore: "uuuuu uuuuu",
			after:      func(o *one) string { return o.window(func() { o.young(0) }, nil) },
			want:       "hcccc ccccc",
		},
		"records between the last pass and the window's end count for neither, and leave nothing cold": {
			before:     func(o *one) string { o.pass(nil); o.pass(nil); o.young(0); return o.end() },
			wantBefore: "ccccc ccccc",
			want:       "uuuuu uuuuu",
		},
		"a new page is unobserved": {
			before: func(o *one) string {
				o.res = &Residency{Parts: []ResidentPart{{Region: firstRegion, Pages: bitmapOf(0)}}}
				return o.quiet()
			},
			wantBefore: "c",
			after: func(o *one) string {
				o.res = &Residency{Parts: []ResidentPart{
					{Region: firstRegion - 1, Pages: bitmapOf(0)},
					{Region: firstRegion, Pages: bitmapOf(0, 1)},
					{Region: firstRegion + 5, Pages: bitmapOf(7)},
				}}
				return o.window(func() { o.young(1) }, func() { o.young(1) })
			},
			want: "u cu u",
		},
		"a process without a residency is not watched": {
			before: func(o *one) string {
				o.pass(nil)
				o.pass(nil)
				if _, err := o.EndWindow(nil, Observers{}); err != nil {
					o.t.Fatal(err)
				}
				return "none"
			},
			wantBefore: "none",
			want:       "uuuuu uuuuu",
		},
		"a residency out of order is not watched": {
			before: func(o *one) string {
				o.res.Parts[0].Region, o.res.Parts[1].Region = firstRegion+1, firstRegion
				return o.quiet()
			},
			wantBefore: "ccccc uuuuu",
			after: func(o *one) string {
				o.res.Parts[0].Region, o.res.Parts[1].Region = firstRegion, firstRegion+1
				return o.quiet()
			},
			want: "uuuuu uuuuu",
		},
		"another start time is another process": {
			after: func(o *one) string { o.procs[0].Start++; return o.quiet() },
			want:  "uuuuu uuuuu",
		},
		"another image is another process": {
			after: func(o *one) string { o.pass(nil); o.procs[0].Image++; o.pass(nil); return o.end() },
			want:  "uuuuu uuuuu",
		},
		"another name is the same process": {
			after: func(o *one) string { o.procs[0].Comm = "worker"; return o.quiet() },
			want:  "ccccc ccccc",
		},
		"a window that never ends counts no page down": {
			after: func(o *one) string {
				young := func() { o.young(0) }
				return o.window(young, young, young, young, young, young, young, young, young)
			},
			want: "hcccc ccccc",
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOne(t, 2)
			if got := o.quiet(); got != "uuuuu uuuuu" {
				t.Errorf("first window says %q, want all unobserved", got)
			}
			if c.before == nil {
				c.before, c.wantBefore = (*one).quiet, "ccccc ccccc"
			}
			if c.after == nil {
				c.after = (*one).quiet
			}
			if diff := cmp.Diff(c.wantBefore, c.before(o)); diff != "" {
				t.Errorf("before: -want +got:\n%s", diff)
			}
			if diff := cmp.Diff(c.want, c.after(o)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestSkipIsExactToThePage(t *testing.T) {
	for name, c := range map[string]struct {
		start, end uint64
		want       string
	}{
		"nothing":                            {address(0), address(0), "ccccc ccccc"},
		"the end before the start":           {address(64), address(1), "ccccc ccccc"},
		"one page":                           {address(1), address(2), "cuccc ccccc"},
		"the last page of a region":          {address(511), address(512), "ccccu ccccc"},
		"the first page of a region":         {address(512), address(513), "ccccc ucccc"},
		"one page either side of a border":   {address(511), address(513), "ccccu ucccc"},
		"a region":                           {address(0), address(512), "uuuuu ccccc"},
		"two regions":                        {address(0), address(1024), "uuuuu uuuuu"},
		"before all regions":                 {0, address(0), "ccccc ccccc"},
		"behind all regions":                 {address(1024), math.MaxUint64, "ccccc ccccc"},
		"the whole address space":            {0, math.MaxUint64, "uuuuu uuuuu"},
		"from below into a region":           {5, address(64), "uuucc ccccc"},
		"from a region to beyond all":        {address(64), math.MaxUint64, "cccuu uuuuu"},
		"part of a page is all of it":        {address(64) + 4095, address(64) + 4096, "cccuc ccccc"},
		"parts of two pages are all of both": {address(63) + 1, address(64) + 1, "ccuuc ccccc"},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOne(t, 2)
			o.quiet()
			got := o.window(func() { o.Skip(1, c.start, c.end) }, nil)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if diff := cmp.Diff("ccccc ccccc", o.quiet()); diff != "" {
				t.Errorf("a window later: -want +got:\n%s", diff)
			}
		})
	}
}

func TestNeed(t *testing.T) {
	for _, c := range []struct {
		fraction float64
		passes   int
		want     int
	}{
		{0.5, 4, 2}, {0.5, 1, 1}, {0.5, 3, 2}, {0.5, 7, 4},
		{0.1, 7, 1}, {0.1, 1, 1}, {1e-9, 7, 1}, {math.SmallestNonzeroFloat64, 4, 1},
		{1, 1, 1}, {1, 4, 4}, {1, 7, 7}, {0.99, 7, 7},
		{1.0 / 3, 3, 1}, {2.0 / 3, 3, 2}, {0.6, 5, 3}, {0.2, 5, 1}, {0.21, 5, 2}, {3.0 / 7, 7, 3}, {6.0 / 7, 7, 6},
	} {
		t.Run(fmt.Sprintf("%v of %d passes is %d", c.fraction, c.passes, c.want), func(t *testing.T) {
			tr, err := NewTracker(Params{PassesPerWindow: c.passes, HotFraction: c.fraction})
			if err != nil {
				t.Fatal(err)
			}
			if tr.need != c.want {
				t.Errorf("need is %d", tr.need)
			}
		})
	}
}
