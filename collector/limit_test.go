package collector_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mglru_exporter/collector"
	"mglru_exporter/internal/heat"
)

// ownSeries is how many series of the exporter itself there are in a snapshot that says
// nothing of a source.
const ownSeries = 5

// leaked is a snapshot of memcgs without processes, as ended sessions leave them.
func leaked(n int, change func(i int, m *heat.MemcgSnapshot)) *heat.Snapshot {
	snap := &heat.Snapshot{}
	for i := range n {
		m := &heat.MemcgSnapshot{Path: fmt.Sprintf("/user.slice/session-%d.scope", i), Passes: heat.PassStats{
			Since: time.Unix(1, 0), Passes: 3, DurationBounds: []float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, DurationCounts: make([]uint64, 11),
			Failures: map[string]uint64{"a": 0, "b": 0, "c": 0}, Skips: map[string]uint64{"d": 0, "e": 0}, Resets: map[string]uint64{"exit": 0},
		}}
		if change != nil {
			change(i, m)
		}
		snap.Memcgs = append(snap.Memcgs, m)
	}
	return snap
}

// pageOf returns the lines of a page but for comments, as Prometheus gets most of.
func pageOf(snap *heat.Snapshot, opts collector.Options) []string {
	text := pageText(collector.New(fixed(snap), opts), true)
	return slices.DeleteFunc(strings.Split(strings.TrimSpace(text), "\n"), func(l string) bool { return strings.HasPrefix(l, "#") })
}

// TestMemcgsWithoutProcessesHaveWhatIsNotZero: 5,000 empty cgroups made 205,244 series.
func TestMemcgsWithoutProcessesHaveWhatIsNotZero(t *testing.T) {
	if got := pageOf(leaked(5000, nil), all()); len(got) != ownSeries {
		t.Errorf("%d series of empty memcgs, want the exporter's own %d; the last is %s", len(got), ownSeries, got[len(got)-1])
	}
	snap := leaked(1, func(_ int, m *heat.MemcgSnapshot) {
		m.Passes.Failures["b"] = 7
		m.Generations = []heat.NodeGenerations{
			{Node: 0, Generations: []heat.Generation{{}, {}}},
			{Node: 1, Generations: []heat.Generation{{FileBytes: 4096}}},
		}
	})
	var got []string
	for _, l := range pageOf(snap, all()) {
		if strings.Contains(l, "session-0") {
			got = append(got, strings.ReplaceAll(l, `memcg="/user.slice/session-0.scope"`, "M"))
		}
	}
	want := []string{
		`mglru_passes_total{M} 3.0`, `mglru_passes_created{M} 1.0`, `mglru_pass_failures_total{M,reason="b"} 7.0`,
		`mglru_generation_bytes{generation="0",M,node="1",type="anon"} 0.0`, `mglru_generation_bytes{generation="0",M,node="1",type="file"} 4096.0`,
		`mglru_generation_age_seconds{generation="0",M,node="1"} 0.0`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestMaxSeriesHoldsForMemcgsToo: whatever they have, there are no more series, memcgs
// with most memory stay, and what is left out is counted.
func TestMaxSeriesHoldsForMemcgsToo(t *testing.T) {
	snap := leaked(1000, func(i int, m *heat.MemcgSnapshot) {
		m.WindowEnd, m.TrackedProcesses = time.Unix(1, 0), 1
		m.Series = []heat.Series{{PID: i + 1, Areas: []heat.Area{{Resident: uint64(i), Cold: uint64(i)}}}}
	})
	all := pageOf(snap, collector.Options{LabelPID: true})
	for _, most := range []int{10_000, 1000, 100} {
		got := pageOf(snap, collector.Options{LabelPID: true, MaxSeries: most})
		if len(got) > most || len(got) < most*9/10 && most > 100 {
			t.Errorf("max_series %d: %d series", most, len(got))
		}
		passes, processes := 0, 0
		for _, l := range got {
			if strings.HasPrefix(l, "mglru_passes_total{") {
				passes++
			}
			if strings.HasPrefix(l, "mglru_resident_bytes{") {
				processes++
			}
		}
		if passes == 0 || processes == 0 || passes > processes {
			t.Errorf("max_series %d: %d memcgs and %d processes", most, passes, processes)
		}
		if text := strings.Join(got, "\n"); !strings.Contains(text, `mglru_passes_total{memcg="/user.slice/session-999.scope"}`) || !strings.Contains(text, `pid="1000"`) {
			t.Errorf("max_series %d: the largest memcg is left out", most)
		}
		if want := fmt.Sprintf("mglru_series_dropped_total %d.0", len(all)-len(got)); !slices.Contains(got, want) {
			t.Errorf("max_series %d: no %s", most, want)
		}
	}
}

// TestLongNamesAreBounded: 215 cgroups with paths of 3.8 KB made 33 MB.
func TestLongNamesAreBounded(t *testing.T) {
	snap := leaked(215, func(i int, m *heat.MemcgSnapshot) {
		m.Path = "/" + strings.Repeat("x", 3800) + m.Path
		m.WindowEnd, m.TrackedProcesses = time.Unix(1, 0), 1
		m.Series = []heat.Series{{PID: i + 1, Areas: []heat.Area{{Resident: 1, Cold: 1}}}}
	})
	opts := all()
	opts.MaxSeries = 50_000
	memcgs := map[string]bool{}
	bytes := 0
	for _, l := range pageOf(snap, opts) {
		bytes += len(l)
		if _, rest, ok := strings.Cut(l, `mglru_passes_total{memcg="`); ok {
			memcgs[rest] = true
		}
	}
	if len(memcgs) != 215 || bytes > 8<<20 {
		t.Errorf("%d memcgs in %d bytes, want 215 in at most 8 MiB", len(memcgs), bytes)
	}
	opts.MaxSeries = 1000 // names of 512 bytes have room in 1000 series
	if got := pageOf(snap, opts); len(got) > 1000 || len(got) < 400 {
		t.Errorf("%d series with a max_series of 1000", len(got))
	}
}
