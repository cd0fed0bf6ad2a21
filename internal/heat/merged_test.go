package heat

import (
	"fmt"
	"testing"
	"time"
)

// TestMergedSeriesOfManyNamesAreForgotten has a process change its name with every
// window.
func TestMergedSeriesOfManyNamesAreForgotten(t *testing.T) {
	o := newOne(t, 1, func(p *Params) { p.LabelPID = false })
	for i := range 2 * maxMerged {
		o.procs[0].Comm = fmt.Sprint(i)
		o.quiet()
		if n := len(o.merged); n > maxMerged {
			t.Fatalf("%d merged series are remembered, want %d at most", n, maxMerged)
		}
	}
	o.procs[0].Comm = "last"
	o.quiet()
	o.pass(func() { o.young(0) })
	series, err := o.EndWindow(map[int]*Residency{1: o.res}, Observers{})
	if err != nil {
		t.Fatal(err)
	}
	if got := series[0].Areas[0].Accesses.Sum; got != 1 {
		t.Errorf("%d accesses of the name that stays, want 1", got)
	}
}

// TestReloadOfOneCounterKeepsTheOthers changes what one family counts by.
func TestReloadOfOneCounterKeepsTheOthers(t *testing.T) {
	o := newOne(t, 2, withIdleAges(1), func(p *Params) { p.Average = 1000 * time.Hour })
	o.quiet()
	o.quiet()
	window := func() *Area {
		o.pass(func() { o.young(0) })
		o.pass(nil)
		series, err := o.EndWindow(map[int]*Residency{1: o.res}, Observers{})
		if err != nil {
			t.Fatal(err)
		}
		return &series[0].Areas[0]
	}
	before := window()
	p := o.params
	p.RegionBuckets = []uint64{0, 1, 2}
	if err := o.SetParams(p); err != nil {
		t.Fatal(err)
	}
	after := window()
	if before.Reaccessed[0] == 0 || after.Reaccessed[0] <= before.Reaccessed[0] {
		t.Errorf("reaccessed went from %d to %d bytes", before.Reaccessed[0], after.Reaccessed[0])
	}
	if after.HeatRatio > 0.001 { // the first windows' was 0, and is to weigh almost all
		t.Errorf("the heat ratio went from %v to %v", before.HeatRatio, after.HeatRatio)
	}
	if before.Since.IsZero() || !before.Since.Equal(before.Accesses.Since) || !after.Since.Equal(before.Since) || !after.Accesses.Since.After(before.Accesses.Since) {
		t.Errorf("counters began at %v and %v, then at %v and %v; want only the histogram to begin again",
			before.Since, before.Accesses.Since, after.Since, after.Accesses.Since)
	}
	if len(after.Accesses.Counts) != 4 || after.Accesses.Sum != 1 {
		t.Errorf("accesses by the new buckets are %v, and %d in all; want those of one window", after.Accesses.Counts, after.Accesses.Sum)
	}
}
