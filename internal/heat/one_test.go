package heat

import (
	"strings"
	"testing"
	"time"
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
		procs: []Process{{ProcessID: ProcessID{TGID: 1, Start: 5, Image: 6}, Comm: "memcached"}},
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
