package heat

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// one is a tracker of one process with pid 1 on node 0, with two regions of
// which some pages are resident.
type one struct {
	*Tracker
	t      *testing.T
	procs  []Process
	res    *Residency
	passes int
	now    time.Time
}

// tick moves the clock on: a pass takes a second, and the next one begins a
// second later.
func (o *one) tick() time.Time {
	o.now = o.now.Add(time.Second)
	return o.now
}

// The resident pages of all regions.
var onePages = []int{0, 1, 63, 64, 511}

const firstRegion = 1000

func newOne(t *testing.T, passes int, change ...func(*Params)) *one {
	t.Helper()
	p := Params{PassesPerWindow: passes, HotFraction: 0.5, RegionBuckets: []uint64{0, 4}, LabelPID: true, LabelComm: true}
	for _, f := range change {
		f(&p)
	}
	tracker, err := NewTracker(p)
	if err != nil {
		t.Fatal(err)
	}
	o := &one{
		Tracker: tracker, t: t, passes: passes,
		procs: []Process{{ProcessID{TGID: 1, Start: 5, Image: 6}, "memcached"}},
		res: &Residency{Parts: []ResidentPart{
			{Region: firstRegion, Pages: bitmapOf(onePages...)},
			{Region: firstRegion + 1, Pages: bitmapOf(onePages...)},
		}},
	}
	return o
}

// pass runs a pass in which all goes well, and what during does.
func (o *one) pass(during func()) {
	o.Begin(o.tick(), o.procs, func(ProcessID) bool { return true })
	o.Walked(1, 0)
	if during != nil {
		during()
	}
	o.EndPass(o.tick(), 1, false)
}

// window runs a window with a pass for each func, and returns the class of each
// page as a letter, by region: h, w, c or u.
func (o *one) window(passes ...func()) string {
	o.t.Helper()
	for _, f := range passes {
		o.pass(f)
	}
	return o.end()
}

func (o *one) quiet() string { return o.window(make([]func(), o.passes)...) }

func (o *one) end() string {
	o.t.Helper()
	var out []string
	_, err := o.EndWindow(map[int]*Residency{1: o.res}, Observers{Part: func(_ Process, part *ResidentPart, c *Classes) {
		s := ""
		for i := range PagesPerRegion {
			switch {
			case c.Hot.Has(i):
				s += "h"
			case c.Warm.Has(i):
				s += "w"
			case c.Cold.Has(i):
				s += "c"
			case part.Pages.Has(i):
				s += "u"
			}
		}
		out = append(out, s)
	}})
	if err != nil {
		o.t.Fatal(err)
	}
	return strings.Join(out, " ")
}

func (o *one) young(pages ...int) {
	b := bitmapOf(pages...)
	o.Fold(1, firstRegion, &b)
}

// address is that of a page of the first region, which may lie beyond it.
func address(page int) uint64 { return firstRegion*RegionSize + uint64(page)*PageSize }

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

func TestParamsThatCannotBe(t *testing.T) {
	for name, p := range map[string]Params{
		"no pass":                   {PassesPerWindow: 0, HotFraction: 1},
		"more passes than planes":   {PassesPerWindow: 8, HotFraction: 1},
		"nothing is enough":         {PassesPerWindow: 1, HotFraction: 0},
		"more than all":             {PassesPerWindow: 1, HotFraction: 1.01},
		"a fraction that is no one": {PassesPerWindow: 1, HotFraction: math.NaN()},
		"fewer bands than none":     {PassesPerWindow: 1, HotFraction: 1, AddressBands: -1},
		"fewer windows than none":   {PassesPerWindow: 1, HotFraction: 1, NeverWindows: -1},
		"a top of fewer than none":  {PassesPerWindow: 1, HotFraction: 1, NeverTop: -1},
		"never for longer than ages can tell": {
			PassesPerWindow: 2, HotFraction: 1, NeverWindows: MaxIdlePasses/2 + 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := NewTracker(p); err == nil {
				t.Error("no error")
			}
		})
	}
}

func TestFind(t *testing.T) {
	for name, regions := range map[string][]uint64{
		"no region":          {},
		"one region":         {7},
		"one run":            {7, 8, 9, 10},
		"no two in a row":    {1, 3, 5, 7},
		"runs":               {1, 2, 5, 6, 7, 11, 13, 14},
		"both ends of space": {0, 1, 1 << 42, 1<<42 + 1, math.MaxUint64 / RegionSize},
	} {
		t.Run(name, func(t *testing.T) {
			res := &Residency{}
			index := map[uint64]int{}
			for i, r := range regions {
				index[r] = i
				res.Parts = append(res.Parts, ResidentPart{Region: r, Pages: bitmapOf(1)}, ResidentPart{Region: r, Node: 1, Pages: bitmapOf(2)})
			}
			tr := &Tracker{}
			p := &process{}
			p.layout = p.look(res, 0)
			tr.watch(p, res, true)
			if diff := cmp.Diff(append([]uint64{}, regions...), append([]uint64{}, p.regions...)); diff != "" {
				t.Fatalf("regions: -want +got:\n%s", diff)
			}
			wanted := append([]uint64{0, 2, 4, 12, 15, 1 << 44, math.MaxUint64}, regions...)
			for cursor := range len(p.runs) + 1 {
				for _, r := range wanted {
					want, ok := index[r]
					if !ok {
						want = -1
					}
					p.cursor = cursor
					if got := p.find(r); got != want {
						t.Errorf("region %d from run %d is at %d, want %d", r, cursor, got, want)
					}
				}
			}
		})
	}
}

// TestRecordsGoToTheProcessThatIs makes the tracker remember a process, and
// changes who that is.
func TestRecordsGoToTheProcessThatIs(t *testing.T) {
	page := bitmapOf(0)
	for name, c := range map[string]struct {
		change func(o *one)
		known  bool
		want   string
	}{
		"the same as before":         {func(*one) {}, true, "hcccc ccccc"},
		"none after an exit":         {func(o *one) { o.Begin(o.tick(), nil, func(ProcessID) bool { return true }) }, false, ""},
		"none after a move":          {func(o *one) { o.Begin(o.tick(), nil, func(ProcessID) bool { return false }) }, false, ""},
		"none once taken over":       {func(o *one) { o.Forget(1) }, false, ""},
		"none after a failed Verify": {func(o *one) { o.Verify(1, ProcessID{}, false) }, false, ""},
		"none after an exec in Verify": {func(o *one) {
			now := o.procs[0].ProcessID
			now.Image++
			o.Verify(1, now, true)
		}, false, ""},
		"the new one after an exec": {func(o *one) {
			o.procs[0].Image++
			o.Begin(o.tick(), o.procs, nil)
		}, true, "uuuuu uuuuu"},
		"the new one after pid reuse": {func(o *one) {
			o.procs[0].Start++
			o.Begin(o.tick(), o.procs, nil)
		}, true, "uuuuu uuuuu"},
		"the one that comes back": {func(o *one) {
			o.Begin(o.tick(), nil, func(ProcessID) bool { return false })
			o.Tracks(1)
			o.Begin(o.tick(), o.procs, nil)
		}, true, "uuuuu uuuuu"},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOne(t, 2)
			o.quiet()
			o.Begin(o.tick(), o.procs, nil)
			o.Fold(1, firstRegion, &page)
			c.change(o)
			o.Walked(1, 0)
			if known := o.Fold(1, firstRegion, &page); known != c.known {
				t.Errorf("Fold knows the process: %v, want %v", known, c.known)
			}
			o.EndPass(o.tick(), 1, false)
			if c.known {
				o.pass(nil)
			}
			if diff := cmp.Diff(c.want, o.end()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestResetsSayWhy(t *testing.T) {
	id := ProcessID{TGID: 1, Start: 5, Image: 6}
	for name, c := range map[string]struct {
		now  []Process
		gone bool
		want map[Reset]int
	}{
		"nothing changed": {[]Process{{ProcessID: id}}, false, map[Reset]int{}},
		"another start":   {[]Process{{ProcessID: ProcessID{1, 9, 6}}}, false, map[Reset]int{ResetReused: 1}},
		"both changed":    {[]Process{{ProcessID: ProcessID{1, 9, 9}}}, false, map[Reset]int{ResetReused: 1}},
		"another image":   {[]Process{{ProcessID: ProcessID{1, 5, 9}}}, false, map[Reset]int{ResetExec: 1}},
		"gone":            {nil, true, map[Reset]int{ResetExit: 1}},
		"elsewhere":       {nil, false, map[Reset]int{ResetMoved: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			tr, err := NewTracker(Params{PassesPerWindow: 1, HotFraction: 1})
			if err != nil {
				t.Fatal(err)
			}
			tr.Begin(time.Time{}, []Process{{ProcessID: id}}, nil)
			got := tr.Begin(time.Time{}, c.now, func(p ProcessID) bool { return c.gone && p == id })
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestCountersOutliveWhatTheyCount(t *testing.T) {
	// observations is how many observations pid 1's, or its group's, series has.
	observations := func(o *one, pid int) (n uint64, ok bool) {
		o.t.Helper()
		o.pass(nil)
		o.pass(nil)
		series, err := o.EndWindow(map[int]*Residency{1: o.res}, Observers{})
		if err != nil {
			o.t.Fatal(err)
		}
		for _, s := range series {
			if s.PID == pid {
				ok = true
				for _, a := range s.Areas {
					n += a.Accesses.Count()
				}
			}
		}
		return n, ok
	}
	for name, c := range map[string]struct {
		params func(*Params)
		pid    int
		change func(o *one)
		want   uint64 // after 4 in two windows, and one more
	}{
		"no change":                           {func(*Params) {}, 1, func(*one) {}, 6},
		"a new name without the comm label":   {func(p *Params) { p.LabelComm = false }, 1, func(o *one) { o.procs[0].Comm = "x" }, 6},
		"a new name makes another series":     {func(*Params) {}, 1, func(o *one) { o.procs[0].Comm = "x" }, 2},
		"an exec makes the series anew":       {func(*Params) {}, 1, func(o *one) { o.procs[0].Image++ }, 0},
		"an exec in a merged series":          {func(p *Params) { p.LabelPID = false }, PIDOff, func(o *one) { o.procs[0].Image++ }, 4},
		"an exit and a birth in a merged one": {func(p *Params) { p.LabelPID = false }, PIDOff, func(o *one) { o.Forget(1) }, 4},
		"an exec among the others":            {func(p *Params) { p.MinResident = math.MaxUint64 }, PIDOther, func(o *one) { o.procs[0].Image++ }, 4},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOne(t, 2, c.params)
			o.quiet()
			observations(o, c.pid)
			if n, ok := observations(o, c.pid); n != 4 || !ok {
				t.Fatalf("%d observations before (series exists: %v), want 4", n, ok)
			}
			c.change(o)
			if n, ok := observations(o, c.pid); n != c.want || !ok {
				t.Errorf("%d observations (series exists: %v), want %d", n, ok, c.want)
			}
		})
	}
}

func TestAreasWithNothingAreLeftOut(t *testing.T) {
	o := newOne(t, 2)
	o.res.Parts = append(o.res.Parts, ResidentPart{Region: firstRegion + 2, Node: 1, Type: Shmem})
	o.res.Unscanned = []UnscannedPages{{Node: 1, Type: File}}
	o.quiet()
	series, err := o.EndWindow(map[int]*Residency{1: o.res}, Observers{})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(series[0].Areas); n != 1 {
		t.Errorf("%d areas: %+v", n, series[0].Areas)
	}
}

func TestCheckFindsBytesThatDoNotAddUp(t *testing.T) {
	m := MemcgSnapshot{Path: "/a", Series: []Series{{PID: 3, Areas: []Area{
		{Hot: 1, Warm: 2, Cold: 3, Unobserved: 4, Resident: 10},
		{Node: 1, Type: File, Hot: 1, Resident: 2},
	}}}}
	err := m.Check()
	want := `memcg "/a" pid 3 node 1 type file: hot 1 + warm 0 + cold 0 + unobserved 0 = 1 bytes, but 2 are resident`
	if err == nil || err.Error() != want {
		t.Errorf("Check says %v, want %s", err, want)
	}
	m.Series[0].Areas = m.Series[0].Areas[:1]
	if err := m.Check(); err != nil {
		t.Error(err)
	}
}
