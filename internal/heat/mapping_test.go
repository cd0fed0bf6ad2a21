package heat

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// bytesOf makes an area of node 0.
func bytesOf(typ Type, hot, cold, unobserved uint64) Area {
	return Area{Type: typ, Hot: hot, Cold: cold, Unobserved: unobserved, Resident: hot + cold + unobserved}
}

func TestEndMappingWindow(t *testing.T) {
	windows := map[int]*MappingWindow{
		1: {Areas: []Area{bytesOf(File, 1, 2, 3), bytesOf(Anon, 100, 200, 300), {Type: Shmem}}, SwappedBytes: 7},
		2: {Areas: []Area{bytesOf(Anon, 10, 20, 30)}, SwappedBytes: 5, Excluded: []Excluded{{0, Anon, 5}}},
		3: {Areas: []Area{bytesOf(Anon, 1, 1, 1)}, Excluded: []Excluded{{0, Anon, 7}, {1, File, 9}}},
		9: {Areas: []Area{bytesOf(Anon, 1, 1, 1)}},
	}
	big := Series{PID: 1, Comm: "a", SwappedBytes: 7, Areas: []Area{bytesOf(Anon, 100, 200, 300), bytesOf(File, 1, 2, 3)}}
	for _, tc := range []struct {
		name   string
		params func(p *Params)
		want   []Series
	}{
		{"each process", func(*Params) {}, []Series{
			big, {PID: 2, Comm: "b", SwappedBytes: 5, Areas: []Area{bytesOf(Anon, 10, 20, 30)}, Excluded: []Excluded{{0, Anon, 5}}}, {PID: 3, Comm: "b", Areas: []Area{bytesOf(Anon, 1, 1, 1)}, Excluded: []Excluded{{0, Anon, 7}, {1, File, 9}}},
		}},
		{"the biggest", func(p *Params) { p.Top = 1 }, []Series{
			{PID: PIDOther, SwappedBytes: 5, Areas: []Area{bytesOf(Anon, 11, 21, 31)}, Excluded: []Excluded{{0, Anon, 12}, {1, File, 9}}}, big,
		}},
		{"those with some memory", func(p *Params) { p.MinResident = 60 }, []Series{
			{PID: PIDOther, Areas: []Area{bytesOf(Anon, 1, 1, 1)}, Excluded: []Excluded{{0, Anon, 7}, {1, File, 9}}}, big, {PID: 2, Comm: "b", SwappedBytes: 5, Areas: []Area{bytesOf(Anon, 10, 20, 30)}, Excluded: []Excluded{{0, Anon, 5}}},
		}},
		{"by name", func(p *Params) { p.LabelPID = false }, []Series{
			{Comm: "a", SwappedBytes: 7, Areas: big.Areas}, {Comm: "b", SwappedBytes: 5, Areas: []Area{bytesOf(Anon, 11, 21, 31)}, Excluded: []Excluded{{0, Anon, 12}, {1, File, 9}}},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := Params{PassesPerWindow: 4, HotFraction: 0.5, RegionBuckets: []uint64{0, 1}, LabelPID: true, LabelComm: true}
			tc.params(&p)
			tr, err := NewTracker(p)
			if err != nil {
				t.Fatal(err)
			}
			tr.Begin(time.Time{}, []Process{ // 4 has no window, 9 is not known
				{ProcessID: ProcessID{TGID: 1}, Comm: "a"}, {ProcessID: ProcessID{TGID: 2}, Comm: "b"},
				{ProcessID: ProcessID{TGID: 3}, Comm: "b"}, {ProcessID: ProcessID{TGID: 4}, Comm: "c"},
			}, func(ProcessID) bool { return true })
			got, err := tr.EndMappingWindow(windows)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("series (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEndMappingWindowChecksTheSum(t *testing.T) {
	tr, err := NewTracker(Params{PassesPerWindow: 4, HotFraction: 0.5})
	if err != nil {
		t.Fatal(err)
	}
	tr.Begin(time.Time{}, []Process{{ProcessID: ProcessID{TGID: 1}}}, nil)
	if _, err := tr.EndMappingWindow(map[int]*MappingWindow{1: {Areas: []Area{{Hot: 1, Resident: 2}}}}); err == nil {
		t.Error("1 byte hot of 2 is no error")
	}
}

func TestAddArea(t *testing.T) {
	w := &MappingWindow{}
	for _, a := range []Area{bytesOf(Anon, 1, 2, 3), bytesOf(File, 1, 0, 0), bytesOf(Anon, 10, 20, 30), {Node: -1, Type: Anon, Warm: 4, Resident: 4}} {
		w.AddArea(a)
	}
	want := []Area{bytesOf(Anon, 11, 22, 33), bytesOf(File, 1, 0, 0), {Node: -1, Type: Anon, Warm: 4, Resident: 4}}
	if diff := cmp.Diff(want, w.Areas); diff != "" || w.Resident() != 71 {
		t.Errorf("%d resident, areas (-want +got):\n%s", w.Resident(), diff)
	}
}
