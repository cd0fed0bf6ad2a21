package heat

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The resident pages of all regions.
var onePages = []int{0, 1, 63, 64, 511}

const firstRegion = 1000

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
	want := `memcg /a pid 3 node 1 type file: hot 1 + warm 0 + cold 0 + unobserved 0 = 1 bytes, but 2 are resident`
	if err == nil || err.Error() != want {
		t.Errorf("Check says %v, want %s", err, want)
	}
	m.Series[0].Areas = m.Series[0].Areas[:1]
	if err := m.Check(); err != nil {
		t.Error(err)
	}
}
