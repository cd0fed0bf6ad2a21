package heat

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestOverlappingRangesGiveEachPageOnce: pieces of mappings are in order, do not
// overlap, and have the bytes of the ranges all together.
func TestOverlappingRangesGiveEachPageOnce(t *testing.T) {
	const base = 1 << 30
	at := func(page uint64) uint64 { return base + page*PageSize }
	heap := Mapping{Start: at(0), End: at(100), Name: "[heap]"}
	ranges := []Range{{at(10), at(50)}, {at(10), at(20)}, {at(30), at(60)}, {at(60), at(61)}, {at(90), at(200)}}
	r := rand.New(rand.NewPCG(1, 4))
	for range 20 {
		r.Shuffle(len(ranges), func(i, j int) { ranges[i], ranges[j] = ranges[j], ranges[i] })
		given := slices.Clone(ranges)
		res := &Residency{Mappings: []Mapping{heap}}
		res.Select(&Selection{Ranges: ranges})
		have := uint64(0)
		for i, m := range res.Mappings {
			if i > 0 && m.Start < res.Mappings[i-1].End {
				t.Fatalf("of ranges %x, the mappings overlap: %+v", ranges, res.Mappings)
			}
			have += (m.End - m.Start) / PageSize
		}
		if have != 51+10 {
			t.Fatalf("of ranges %x, the mappings have %d pages, want 61: %+v", ranges, have, res.Mappings)
		}
		if diff := cmp.Diff(given, ranges); diff != "" {
			t.Fatalf("the config's ranges were changed:\n%s", diff)
		}
	}
}

// TestWhatIsInNoListedMappingIsNotSelected: of pages that were only counted, in a
// mapping that has gone from the list meanwhile, a selection knows nothing.
func TestWhatIsInNoListedMappingIsNotSelected(t *testing.T) {
	res := &Residency{
		Mappings:  []Mapping{{Start: 1 << 30, End: 1<<30 + mib, Name: "[heap]"}},
		Unscanned: []UnscannedPages{{Node: 1, Type: Anon, Mapping: 1 << 30, Pages: 3}, {Node: 1, Type: Anon, Mapping: 1 << 31, Pages: 5}},
	}
	res.Select(&Selection{Names: []string{"*"}})
	want := &Residency{
		Mappings: res.Mappings, Parts: nil,
		Unscanned: []UnscannedPages{{Node: 1, Type: Anon, Mapping: 1 << 30, Pages: 3}},
		Excluded:  []Excluded{{Node: 1, Type: Anon, Bytes: 5 * PageSize}},
	}
	if diff := cmp.Diff(want, res); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestProcessesOfOneSeriesExcludeTogether: what was left out of each counts, with
// either kind of source.
func TestProcessesOfOneSeriesExcludeTogether(t *testing.T) {
	left := map[int][]Excluded{
		1: {{Node: 0, Type: File, Bytes: 1}, {Node: 1, Type: File, Bytes: 20}},
		2: {{Node: 0, Type: File, Bytes: 4}, {Node: 0, Type: Anon, Bytes: 50}},
	}
	want := []Excluded{{Node: 0, Type: Anon, Bytes: 50}, {Node: 0, Type: File, Bytes: 5}, {Node: 1, Type: File, Bytes: 20}}
	newTracker := func() *Tracker {
		tr, err := NewTracker(Params{PassesPerWindow: 1, HotFraction: 1})
		if err != nil {
			t.Fatal(err)
		}
		tr.Begin(tr.clock.epoch, []Process{{ProcessID: ProcessID{TGID: 1}}, {ProcessID: ProcessID{TGID: 2}}}, nil)
		return tr
	}
	check := func(source string, series []Series, err error) {
		t.Helper()
		if err != nil || len(series) != 1 {
			t.Fatalf("%s: %v, series %+v", source, err, series)
		}
		got := series[0].Excluded
		slices.SortFunc(got, func(a, b Excluded) int { return 8*(a.Node-b.Node) + int(a.Type) - int(b.Type) })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: excluded (-want +got):\n%s", source, diff)
		}
	}
	tr := newTracker()
	tr.EndPass(tr.clock.epoch, 1, false)
	series, err := tr.EndWindow(map[int]*Residency{1: {Excluded: left[1]}, 2: {Excluded: left[2]}}, Observers{})
	check("pages", series, err)
	series, err = newTracker().EndMappingWindow(map[int]*MappingWindow{1: {Excluded: left[1]}, 2: {Excluded: left[2]}})
	check("mappings", series, err)
	if left[1][0].Bytes != 1 || left[2][0].Bytes != 4 {
		t.Errorf("what the residency says was changed: %+v", left)
	}
}
