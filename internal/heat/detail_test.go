package heat

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDescribe(t *testing.T) {
	part := func(node int16, typ Type, pages ...int) ResidentPart {
		return ResidentPart{Region: 7, Node: node, Type: typ, Pages: bitmapOf(pages...)}
	}
	for name, c := range map[string]struct {
		parts []ResidentPart
		want  RegionHeat
	}{
		"types are counted one by one": {
			[]ResidentPart{part(0, Anon, 0), part(0, File, 1, 2), part(0, Shmem, 3, 4, 5)},
			RegionHeat{Region: 7, Resident: 6, Anon: 1, Shmem: 3},
		},
		"the node is that of most pages, of all types": {
			[]ResidentPart{part(0, Anon, 0, 1, 2), part(3, Anon, 3, 4), part(3, Shmem, 5, 6)},
			RegionHeat{Region: 7, Resident: 7, Anon: 5, Shmem: 2, Node: 3},
		},
		"of two nodes with as many pages it is the lower": {
			[]ResidentPart{part(4, File, 0), part(2, File, 1)},
			RegionHeat{Region: 7, Resident: 2, Node: 2},
		},
		"a node counts even where more is on none that is known": {
			[]ResidentPart{part(-1, File, 0, 1, 2), part(1, File, 3)},
			RegionHeat{Region: 7, Resident: 4, Node: 1},
		},
		"no node is known": {
			[]ResidentPart{part(-1, File, 0)},
			RegionHeat{Region: 7, Resident: 1, Node: -1},
		},
		"without a page there is no node": {
			[]ResidentPart{part(0, Anon)},
			RegionHeat{Region: 7, Node: -1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, describe(c.parts)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestProcessWindow lets both regions be idle, then one page of one be found young
// by the first of two passes. A pass begins every 2 s and takes one.
func TestProcessWindow(t *testing.T) {
	o := newOne(t, 2)
	o.res.Mappings = []Mapping{{Start: firstRegion * RegionSize, End: (firstRegion + 2) * RegionSize, Name: "[heap]"}}
	o.quiet()
	o.quiet()
	o.pass(func() { o.young(0) })
	o.pass(nil)
	shown := 0
	if _, err := o.EndWindow(map[int]*Residency{1: o.res}, Observers{Process: func(got *ProcessWindow) {
		shown++
		want := &ProcessWindow{
			Process: o.procs[0], End: o.now, Passes: 2, Mappings: o.res.Mappings,
			Regions: []RegionHeat{
				{Region: firstRegion, Accesses: 1, Resident: 5, Anon: 5, Hot: 1, Cold: 4, Idle: time.Second},
				{Region: firstRegion + 1, Resident: 5, Anon: 5, Cold: 5, Idle: 7 * time.Second},
			},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}}); err != nil {
		t.Fatal(err)
	}
	if shown != 1 {
		t.Errorf("the process was shown %d times", shown)
	}
}

// TestBandsAreOfSingleProcesses gives one of two processes a series of its own.
func TestBandsAreOfSingleProcesses(t *testing.T) {
	o := newOne(t, 1, func(p *Params) { p.AddressBands, p.Top = 2, 1 })
	o.res.Mappings = []Mapping{{Start: firstRegion * RegionSize, End: (firstRegion + 2) * RegionSize, Name: "[heap]"}}
	o.procs = append(o.procs, Process{ProcessID: ProcessID{TGID: 2}, Comm: "small"})
	small := &Residency{Parts: o.res.Parts[:1], Mappings: o.res.Mappings}
	var got []Series
	for range 2 {
		o.pass(func() { o.young(0, 63) })
		var err error
		if got, err = o.EndWindow(map[int]*Residency{1: o.res, 2: small}, Observers{}); err != nil {
			t.Fatal(err)
		}
	}
	bands := map[int][]Band{}
	for _, s := range got {
		bands[s.PID] = s.Bands
	}
	want := map[int][]Band{PIDOther: nil, 1: {
		{Accesses: 2, Resident: 5 * PageSize, Start: firstRegion * RegionSize, Mapping: "[heap]"},
		{Resident: 5 * PageSize, Start: (firstRegion + 1) * RegionSize, Mapping: "[heap]"},
	}}
	if diff := cmp.Diff(want, bands); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
