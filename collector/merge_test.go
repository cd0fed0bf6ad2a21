package collector_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mglru_exporter/collector"
	"mglru_exporter/internal/heat"
)

// scaled is an area that has n times what the area of 1 has, of each of its
// numbers another one.
func scaled(node int, n uint64) heat.Area {
	native := make([]uint64, 5)
	for i := range native {
		native[i] = n * uint64(i%4)
	}
	return heat.Area{
		Node: node, Type: heat.Anon, Hot: 1 * n, Warm: 2 * n, Cold: 3 * n, Unobserved: 5 * n, Resident: 11 * n,
		Accesses: heat.Histogram{Bounds: bounds(), Counts: []uint64{n, 2 * n, 3 * n, 0, 0}, Sum: 13 * n, Native: native},
		Idle:     []uint64{17 * n, 19 * n}, Reaccessed: []uint64{23 * n, 29 * n},
		Never: []heat.MappingBytes{{Mapping: "[heap]", Bytes: 31 * n}},
	}
}

// threeProcesses are of one name. The third has the node that only the second
// brought.
func threeProcesses() *heat.Snapshot {
	a, b, c, d := scaled(0, 1), scaled(0, 10), scaled(1, 100), scaled(1, 1000)
	a.HeatRatio, a.HeatKnown = 1, true
	b.HeatRatio, b.HeatKnown = 0.25, true // on ten times the memory
	d.HeatRatio, d.HeatKnown = 0.5, true  // of the other nothing is known
	last := scaled(0, 9)
	last.HeatRatio, last.HeatKnown = 0, true
	return &heat.Snapshot{Memcgs: []*heat.MemcgSnapshot{{
		Path: "/a", WindowEnd: time.Unix(1, 0), IdleAges: []time.Duration{time.Minute, time.Hour},
		Series: []heat.Series{
			{PID: 1, Comm: "x", SwappedBytes: 1, Areas: []heat.Area{a}, Excluded: []heat.Excluded{{Type: heat.File, Bytes: 1}}},
			{PID: 2, Comm: "x", SwappedBytes: 10, Areas: []heat.Area{b, c}, Excluded: []heat.Excluded{{Type: heat.File, Bytes: 10}, {Node: 1, Bytes: 100}}},
			{PID: 3, Comm: "x", SwappedBytes: 100, Areas: []heat.Area{last, d}, Excluded: []heat.Excluded{{Node: 1, Bytes: 1000}}},
		},
	}}}
}

// TestMergedSeriesAddUp: each number of a merged series is the sum of those merged,
// and the heat is weighed by the memory that it was measured on.
func TestMergedSeriesAddUp(t *testing.T) {
	snap := threeProcesses()
	families := gather(t, collector.New(fixed(snap), collector.Options{}))
	heat0 := (1*1 + 0.25*10 + 0*9) / 20.
	for node, want := range map[string]struct {
		n    float64
		heat float64
	}{"0": {20, heat0}, "1": {1100, 0.5}} {
		got := map[string]float64{}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				name := strings.TrimPrefix(f.GetName(), "mglru_")
				of := false
				for _, l := range m.GetLabel() {
					of = of || l.GetName() == "node" && l.GetValue() == node
					if l.GetName() == "min_idle_seconds" || l.GetName() == "type" && name == "excluded_bytes" {
						name += " " + l.GetValue()
					}
				}
				if !of {
					continue
				}
				got[name] += m.GetGauge().GetValue() + m.GetCounter().GetValue()
				if h := m.GetHistogram(); h != nil {
					got[name+" sum"], got[name+" count"] = h.GetSampleSum(), float64(h.GetSampleCount())
					for _, b := range h.GetBucket() {
						got[fmt.Sprint(name, " ≤ ", b.GetUpperBound())] = float64(b.GetCumulativeCount())
					}
					got[name+" native 0"] = float64(h.GetZeroCount())
					delta, n := h.GetPositiveDelta(), int64(0)
					for i := range delta {
						n += delta[i]
						got[fmt.Sprint(name, " native ", i+1)] = float64(n)
					}
				}
			}
		}
		n := want.n
		all := map[string]float64{
			"hot_bytes": n, "warm_bytes": 2 * n, "cold_bytes": 3 * n, "unobserved_bytes": 5 * n, "resident_bytes": 11 * n,
			"idle_bytes 60": 17 * n, "idle_bytes 3600": 19 * n, "reaccessed_bytes_total 60": 23 * n, "reaccessed_bytes_total 3600": 29 * n,
			"mapping_never_accessed_bytes": 31 * n, "heat_ratio": want.heat,
			"region_accesses": 0, "region_accesses sum": 13 * n, "region_accesses count": 6 * n,
			"region_accesses ≤ 0": n, "region_accesses ≤ 64": 3 * n, "region_accesses ≤ 512": 6 * n, "region_accesses ≤ 2048": 6 * n,
			// The bucket after these is empty, and in no span.
			"region_accesses native 0": 0, "region_accesses native 1": n, "region_accesses native 2": 2 * n, "region_accesses native 3": 3 * n,
		}
		if node == "0" {
			all["excluded_bytes file"] = 11
		} else {
			all["excluded_bytes anon"] = 1100
		}
		near := cmp.Comparer(func(x, y float64) bool { return math.Abs(x-y) < 1e-9 })
		if diff := cmp.Diff(all, got, near); diff != "" {
			t.Errorf("node %s (-want +got):\n%s", node, diff)
		}
	}
	if diff := cmp.Diff(threeProcesses(), snap); diff != "" {
		t.Errorf("merging changed the snapshot (-was +is):\n%s", diff)
	}
	want := []string{`mglru_swapped_bytes{memcg="/a"} 111`}
	if diff := cmp.Diff(want, samples(text(t, families), "mglru_swapped_bytes")); diff != "" {
		t.Errorf("swapped (-want +got):\n%s", diff)
	}
}

// TestMergedSeriesAreAsLargeAsAllOfThem: with what is merged, and no less, a series
// stands against the others for a place below max_series.
func TestMergedSeriesAreAsLargeAsAllOfThem(t *testing.T) {
	series := func(pid int, comm string, areas ...uint64) heat.Series {
		s := heat.Series{PID: pid, Comm: comm}
		for node, n := range areas {
			s.Areas = append(s.Areas, heat.Area{Node: node, Unobserved: n, Resident: n})
		}
		return s
	}
	snap := &heat.Snapshot{Memcgs: []*heat.MemcgSnapshot{{Path: "/a", WindowEnd: time.Unix(1, 0), Series: []heat.Series{
		series(1, "two", 50, 50), series(2, "two", 50, 50), series(3, "one", 150, 20),
	}}}}
	got := samples(exposition(t, collector.New(fixed(snap), collector.Options{LabelComm: true, MaxSeries: ownSeries + 2*5 + 1})), "mglru_swapped_bytes")
	if diff := cmp.Diff([]string{`mglru_swapped_bytes{comm="two",memcg="/a"} 0`}, got); diff != "" {
		t.Errorf("the series that stays (-want +got):\n%s", diff)
	}
}

// TestIdleAgesMayBeFractions: the config allows passes 100 ms apart.
func TestIdleAgesMayBeFractions(t *testing.T) {
	snap := threeProcesses()
	snap.Memcgs[0].IdleAges = []time.Duration{100 * time.Millisecond, 400 * time.Millisecond}
	got := samples(exposition(t, collector.New(fixed(snap), collector.Options{LabelPID: true})), `mglru_idle_bytes{memcg="/a",min_idle_seconds="0.`)
	var ages []string
	for _, l := range got {
		if strings.Contains(l, `pid="1"`) {
			ages = append(ages, l)
		}
	}
	want := []string{
		`mglru_idle_bytes{memcg="/a",min_idle_seconds="0.1",node="0",pid="1",type="anon"} 17`,
		`mglru_idle_bytes{memcg="/a",min_idle_seconds="0.4",node="0",pid="1",type="anon"} 19`,
	}
	if diff := cmp.Diff(want, ages); diff != "" {
		t.Errorf("idle bytes (-want +got):\n%s", diff)
	}
}

// TestHostilePathsShowWhatIsOfTheMemcg: the families that are not about processes
// have the path in a form that Prometheus takes, too.
func TestHostilePathsShowWhatIsOfTheMemcg(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	snap := &heat.Snapshot{Memcgs: []*heat.MemcgSnapshot{{
		Path:        "/a\xff\"/docker-" + id + ".scope",
		Generations: []heat.NodeGenerations{{Generations: []heat.Generation{{AnonBytes: 1}}}},
		Passes:      heat.PassStats{Passes: 1, Failures: map[string]uint64{"raced": 1}, DurationCounts: []uint64{1}},
	}}}
	snap.Memcgs[0].TrackedProcesses = 1
	got := exposition(t, collector.New(fixed(snap), all()))
	path := "\"/a\ufffdff\\\"/docker-" + id + ".scope\""
	for _, family := range []string{
		"generation_bytes", "generation_age_seconds", "memcg_container_info", "passes_total", "pass_failures_total",
		"pass_duration_seconds_count", "records_total", "tracked_regions",
	} {
		lines := samples(got, "mglru_"+family+"{")
		if len(lines) == 0 || !strings.Contains(lines[0], "memcg="+path) {
			t.Errorf("%s: %q, want memcg=%s", family, lines, path)
		}
	}
}
