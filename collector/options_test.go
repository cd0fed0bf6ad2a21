package collector_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"mglru_exporter/collector"
	"mglru_exporter/internal/heat"
)

func TestLabelsThatAreOffAreNotThereAndTheirSeriesMerge(t *testing.T) {
	area := func(resident uint64) heat.Area {
		return heat.Area{Type: heat.Anon, Hot: resident, Resident: resident, Accesses: histogram(1, 0, 1)}
	}
	snap := &heat.Snapshot{Memcgs: []*heat.MemcgSnapshot{{
		Path: "/a", WindowEnd: time.Unix(1, 0),
		Series: []heat.Series{
			{PID: 1, Comm: "x", SwappedBytes: 1, Areas: []heat.Area{area(4096)}},
			{PID: 1, Comm: "y", SwappedBytes: 2, Areas: []heat.Area{area(8192), {Node: 1, Unobserved: 5, Resident: 5}}},
			{PID: 2, Comm: "x", SwappedBytes: 4, Areas: []heat.Area{area(16384)}},
		},
	}}}
	before := fmt.Sprintf("%+v", snap)
	for _, c := range []struct {
		opts collector.Options
		want []string
	}{
		{collector.Options{}, []string{
			`mglru_hot_bytes{memcg="/a",node="0",type="anon"} 28672`,
			`mglru_hot_bytes{memcg="/a",node="1",type="anon"} 0`,
			`mglru_swapped_bytes{memcg="/a"} 7`,
			`mglru_region_accesses_count{memcg="/a",node="0",type="anon"} 3`,
		}},
		{collector.Options{LabelPID: true}, []string{
			`mglru_hot_bytes{memcg="/a",node="0",pid="1",type="anon"} 12288`,
			`mglru_hot_bytes{memcg="/a",node="0",pid="2",type="anon"} 16384`,
			`mglru_hot_bytes{memcg="/a",node="1",pid="1",type="anon"} 0`,
			`mglru_swapped_bytes{memcg="/a",pid="1"} 3`,
			`mglru_swapped_bytes{memcg="/a",pid="2"} 4`,
			`mglru_region_accesses_count{memcg="/a",node="0",pid="1",type="anon"} 2`,
			`mglru_region_accesses_count{memcg="/a",node="0",pid="2",type="anon"} 1`,
		}},
		{collector.Options{LabelComm: true}, []string{
			`mglru_hot_bytes{comm="x",memcg="/a",node="0",type="anon"} 20480`,
			`mglru_hot_bytes{comm="y",memcg="/a",node="0",type="anon"} 8192`,
			`mglru_hot_bytes{comm="y",memcg="/a",node="1",type="anon"} 0`,
			`mglru_swapped_bytes{comm="x",memcg="/a"} 5`,
			`mglru_swapped_bytes{comm="y",memcg="/a"} 2`,
			`mglru_region_accesses_count{comm="x",memcg="/a",node="0",type="anon"} 2`,
			`mglru_region_accesses_count{comm="y",memcg="/a",node="0",type="anon"} 1`,
		}},
	} {
		got := exposition(t, collector.New(fixed(snap), c.opts))
		lines := append(samples(got, "mglru_hot_bytes"), samples(got, "mglru_swapped_bytes")...)
		for _, l := range samples(got, "mglru_region_accesses_count") {
			if !strings.Contains(l, `node="1"`) {
				lines = append(lines, l)
			}
		}
		if diff := cmp.Diff(c.want, lines); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", c.opts, diff)
		}
	}
	if diff := cmp.Diff(before, fmt.Sprintf("%+v", snap)); diff != "" {
		t.Errorf("merging changed the snapshot:\n%s", diff)
	}
}

func TestMaxSeriesDropsTheSmallestProcessesWhole(t *testing.T) {
	process := func(pid int, resident uint64) heat.Series {
		return heat.Series{PID: pid, Areas: []heat.Area{{Cold: resident, Resident: resident, Accesses: histogram(1)}}}
	}
	const memcgs = 2 * 12      // passes, durations, processes …
	const each = 1 + 5 + 4 + 4 // swapped, gauges, bounds, +Inf with sum, count and start
	snap := &heat.Snapshot{Memcgs: []*heat.MemcgSnapshot{
		{Path: "/a", WindowEnd: time.Unix(1, 0), Series: []heat.Series{process(1, 100), process(2, 300)}},
		{Path: "/b", WindowEnd: time.Unix(1, 0), Series: []heat.Series{process(3, 200), process(4, 100)}},
	}}
	for _, c := range []struct {
		most    int
		pids    []string
		dropped int
	}{
		{-ownSeries - memcgs, []string{"1", "2", "3", "4"}, 0}, // 0 is no bound
		{4 * each, []string{"1", "2", "3", "4"}, 0},
		{4*each - 1, []string{"1", "2", "3"}, each},
		{2 * each, []string{"2", "3"}, 2 * each},
		{1 - ownSeries - memcgs, nil, 4*each + memcgs},
	} {
		c.most += ownSeries + memcgs
		current := snap
		col := collector.New(func() *heat.Snapshot { return current }, collector.Options{LabelPID: true, MaxSeries: c.most})
		first := gather(t, col)
		var pids []string
		series := 0
		for _, f := range first {
			for _, m := range f.GetMetric() {
				for _, l := range m.GetLabel() {
					if l.GetName() == "pid" {
						if f.GetName() == "mglru_swapped_bytes" {
							pids = append(pids, l.GetValue())
						}
						series++
						if h := m.GetHistogram(); h != nil {
							series += len(h.GetBucket()) + 3
						}
					}
				}
			}
		}
		slices.Sort(pids)
		if diff := cmp.Diff(c.pids, pids); diff != "" {
			t.Errorf("max_series %d: processes (-want +got):\n%s", c.most, diff)
		}
		if c.most > 0 && series > c.most {
			t.Errorf("max_series %d: %d series", c.most, series)
		}
		if got := text(t, gather(t, col)); got != text(t, first) {
			t.Errorf("max_series %d: two scrapes of one snapshot differ", c.most)
		}
		again := *snap
		current = &again
		want := []string{fmt.Sprintf("mglru_series_dropped_total %d", 2*c.dropped)}
		if diff := cmp.Diff(want, samples(exposition(t, col), "mglru_series_dropped_total")); diff != "" {
			t.Errorf("max_series %d: after two snapshots (-want +got):\n%s", c.most, diff)
		}
	}
}

// TestOptionsChange: the same snapshot with other options is what a new collector
// with these would show, but for the count of what was left out.
func TestOptionsChange(t *testing.T) {
	snap := twoNodes()
	merged := collector.Options{LabelComm: true, MaxSeries: 1}
	col := collector.New(fixed(snap), merged)
	reg := prometheus.NewRegistry()
	reg.MustRegister(col)
	if _, err := reg.Gather(); err != nil {
		t.Fatal(err)
	}
	for _, opts := range []collector.Options{{LabelPID: true}, {LabelComm: true}, all(), all()} {
		col.Set(opts)
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		dropped := regexp.MustCompile(`(?m)^mglru_series_dropped_total .*\n`)
		want := dropped.ReplaceAllString(exposition(t, collector.New(fixed(snap), opts)), "")
		if diff := cmp.Diff(want, dropped.ReplaceAllString(text(t, families), "")); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", opts, diff)
		}
	}
	col.Set(merged)
	again := samples(exposition(t, col), "mglru_series_dropped_total")
	col.Set(merged)
	if diff := cmp.Diff(again, samples(exposition(t, col), "mglru_series_dropped_total")); diff != "" {
		t.Errorf("the same options count the same snapshot again (-want +got):\n%s", diff)
	}
}

// TestMergedSeriesHaveNoPID: until its next window a memcg has the series that it
// had before a reload told to name pids.
func TestMergedSeriesHaveNoPID(t *testing.T) {
	snap := &heat.Snapshot{Memcgs: []*heat.MemcgSnapshot{{
		Path: "/a", WindowEnd: time.Unix(1, 0), WindowPasses: 4,
		Series: []heat.Series{{PID: heat.PIDOff, SwappedBytes: 4096}},
	}}}
	got := samples(exposition(t, collector.New(fixed(snap), all())), "mglru_swapped_bytes")
	if diff := cmp.Diff([]string{`mglru_swapped_bytes{comm="",memcg="/a",pid=""} 4096`}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
