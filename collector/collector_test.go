package collector_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"mglru_exporter/collector"
	"mglru_exporter/internal/heat"
)

var update = flag.Bool("update", false, "rewrite the golden files under testdata")

func all() collector.Options { return collector.Options{LabelPID: true, LabelComm: true} }

func fixed(s *heat.Snapshot) func() *heat.Snapshot { return func() *heat.Snapshot { return s } }

func gather(t testing.TB, cs ...prometheus.Collector) []*dto.MetricFamily {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(cs...)
	families, err := reg.Gather()
	if err != nil {
		t.Fatalf("gather: %v", err)
	}
	return families
}

func text(t testing.TB, families []*dto.MetricFamily) string {
	t.Helper()
	var b bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func exposition(t testing.TB, cs ...prometheus.Collector) string {
	t.Helper()
	return text(t, gather(t, cs...))
}

// samples returns the lines of an exposition that begin with prefix.
func samples(exposition, prefix string) []string {
	var out []string
	for l := range strings.SplitSeq(exposition, "\n") {
		if strings.HasPrefix(l, prefix) {
			out = append(out, l)
		}
	}
	return out
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; renew with -update):\n%s", file, diff)
	}
}

func reload() *collector.ConfigReload {
	r := collector.NewConfigReload()
	r.Succeeded(time.UnixMilli(1_763_770_000_250))
	return r
}

func heatmap() *collector.Heatmap {
	return collector.NewHeatmap(func() (bytes, omitted int) { return 12345, 6 })
}

func TestExposition(t *testing.T) {
	golden(t, "metrics.golden", exposition(t, collector.New(fixed(twoNodes()), all()), reload(), heatmap()))
}

func TestLint(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(collector.New(fixed(twoNodes()), all()), reload(), heatmap())
	problems, err := testutil.GatherAndLint(reg)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// findPromtool looks on PATH and in the cache of the project's tools.
func findPromtool() (string, error) {
	cache := os.Getenv("MGLRU_CACHE")
	if dir, err := os.UserCacheDir(); cache == "" && err == nil {
		cache = filepath.Join(dir, "mglru_exporter")
	}
	for _, name := range []string{"promtool", filepath.Join(cache, "promtool"), filepath.Join(cache, "bin", "promtool")} {
		if file, err := exec.LookPath(name); err == nil {
			return file, nil
		}
	}
	return "", fmt.Errorf("promtool is neither on PATH nor in %s or its bin", cache)
}

func TestPromtoolAcceptsTheExposition(t *testing.T) {
	promtool, err := findPromtool()
	if err != nil {
		t.Skipf("SKIPPED: %v; on Debian promtool is in the package prometheus", err)
	}
	cmd := exec.Command(promtool, "check", "metrics")
	cmd.Stdin = strings.NewReader(exposition(t, collector.New(fixed(twoNodes()), all()), reload()))
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

func TestHistogramBucketsAreCumulative(t *testing.T) {
	got := samples(exposition(t, collector.New(fixed(twoNodes()), all())),
		`mglru_region_accesses_bucket{comm="memcached",memcg="/system.slice/memcached.service",node="0",pid="4711",type="anon"`)
	prefix := `mglru_region_accesses_bucket{comm="memcached",memcg="/system.slice/memcached.service",node="0",pid="4711",type="anon",le=`
	want := []string{prefix + `"0"} 40`, prefix + `"64"} 47`, prefix + `"512"} 50`, prefix + `"2048"} 64`, prefix + `"+Inf"} 64`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("buckets (-want +got):\n%s", diff)
	}
}

// TestNativeHistogram decodes the buckets that Prometheus gets in protobuf.
func TestNativeHistogram(t *testing.T) {
	snap := twoNodes()
	h := &snap.Memcgs[0].Series[1].Areas[0].Accesses // 64 observations
	h.Native = make([]uint64, 50)
	want := map[int]int64{-1: 40, 0: 1, 1: 6, 20: 3, 48: 14} // -1 for the bucket of 0
	for i, n := range want {
		h.Native[i+1] = uint64(n)
	}
	for _, f := range gather(t, collector.New(fixed(snap), all())) {
		if f.GetName() != "mglru_region_accesses" {
			continue
		}
		for _, m := range f.GetMetric() {
			h := m.GetHistogram()
			if h.GetSampleCount() != 64 {
				continue
			}
			got := map[int]int64{-1: int64(h.GetZeroCount())}
			i, n, k := 0, int64(0), 0
			for _, span := range h.GetPositiveSpan() {
				i += int(span.GetOffset())
				for range span.GetLength() {
					n += h.GetPositiveDelta()[k]
					if n > 0 {
						got[i] = n
					}
					i++
					k++
				}
			}
			if diff := cmp.Diff(want, got); diff != "" || h.GetSchema() != heat.NativeSchema || len(h.GetBucket()) != len(bounds()) {
				t.Errorf("schema %d, %d classic buckets, native ones (-want +got):\n%s", h.GetSchema(), len(h.GetBucket()), diff)
			}
			return
		}
	}
	t.Error("no such histogram")
}

func TestBeforeTheFirstWindowOnlySelfMetrics(t *testing.T) {
	snap := twoNodes()
	for i := range snap.Memcgs {
		snap.Memcgs[i].WindowEnd = time.Time{}
	}
	got := exposition(t, collector.New(fixed(snap), all()))
	for _, name := range []string{"hot_bytes", "cold_bytes", "resident_bytes", "swapped_bytes", "region_accesses", "last_window_timestamp_seconds", "window_passes"} {
		if l := samples(got, "mglru_"+name); len(l) > 0 {
			t.Errorf("there is %q before the first window", l[0])
		}
	}
	for _, name := range []string{"passes_total", "pass_failures_total", "records_lost_total", "tracked_processes", "source_info"} {
		if len(samples(got, "mglru_"+name)) == 0 {
			t.Errorf("there is no mglru_%s before the first window", name)
		}
	}
}

func TestWithoutASnapshot(t *testing.T) {
	got := exposition(t, collector.New(fixed(nil), all()), collector.NewConfigReload())
	want := []string{
		"mglru_bpf_memory_bytes 0", "mglru_config_last_reload_successful 0",
		"mglru_memcgs_removed_total 0", "mglru_series_dropped_total 0",
	}
	if diff := cmp.Diff(want, samples(got, "mglru_")); diff != "" {
		t.Errorf("samples (-want +got):\n%s", diff)
	}
}

func TestReloadFailureKeepsTheTimeOfTheLastSuccess(t *testing.T) {
	r := reload()
	r.Failed()
	want := []string{
		"mglru_config_last_reload_success_timestamp_seconds 1.76377000025e+09",
		"mglru_config_last_reload_successful 0",
	}
	if diff := cmp.Diff(want, samples(exposition(t, r), "mglru_")); diff != "" {
		t.Errorf("samples (-want +got):\n%s", diff)
	}
}

func TestLabelsThatAreOffAreNotThereAndTheirSeriesMerge(t *testing.T) {
	area := func(resident uint64) heat.Area {
		return heat.Area{Type: heat.Anon, Hot: resident, Resident: resident, Accesses: histogram(1, 0, 1)}
	}
	snap := &heat.Snapshot{Memcgs: []heat.MemcgSnapshot{{
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

func TestHostileNamesDoNotBreakTheScrape(t *testing.T) {
	series := func(pid int, comm string) heat.Series {
		return heat.Series{PID: pid, Comm: comm, SwappedBytes: 1, Areas: []heat.Area{{Resident: 1, Unobserved: 1}}}
	}
	var snap heat.Snapshot
	for _, path := range []string{"/a\x80", "/a\x81", "/a\ufffd", "/a\ufffd80", "/q\"\\\n{}", "/same", "/same"} {
		snap.Memcgs = append(snap.Memcgs, heat.MemcgSnapshot{
			Path: path, WindowEnd: time.Unix(1, 0),
			Series: []heat.Series{
				series(heat.PIDOther, "\xff"), series(heat.PIDOther, "\xfe"), series(heat.PIDOther, "\ufffd"),
				series(7, `"} 1`), series(8, "a\nb"), series(9, "\x00\\"), series(10, strings.Repeat("プ", 5)[:14]),
			},
		})
	}
	got := exposition(t, collector.New(fixed(&snap), all()))
	if n, want := len(samples(got, "mglru_swapped_bytes{")), 7*(len(snap.Memcgs)-1); n != want {
		t.Errorf("%d swapped_bytes series, want %d:\n%s", n, want, got)
	}
	parser := expfmt.NewTextParser(2) // model.UTF8Validation
	if _, err := parser.TextToMetricFamilies(strings.NewReader(got)); err != nil {
		t.Errorf("parse: %v", err)
	}
}

func TestTwoEntriesForOnePathLeaveTheOneWithMorePasses(t *testing.T) {
	snap := &heat.Snapshot{Memcgs: []heat.MemcgSnapshot{
		{Path: "/a", Passes: heat.PassStats{Failures: map[string]uint64{"memcg_missing": 1}}},
		{Path: "/a", Passes: heat.PassStats{Passes: 7}},
		{Path: "/a"},
	}}
	want := []string{`mglru_passes_total{memcg="/a"} 7`}
	got := exposition(t, collector.New(fixed(snap), all()))
	if l := samples(got, "mglru_pass_failures_total"); len(l) > 0 {
		t.Errorf("failures of the other entry: %q", l)
	}
	if diff := cmp.Diff(want, samples(got, "mglru_passes_total")); diff != "" {
		t.Errorf("passes (-want +got):\n%s", diff)
	}
}

func TestMaxSeriesDropsTheSmallestProcessesWhole(t *testing.T) {
	process := func(pid int, resident uint64) heat.Series {
		return heat.Series{PID: pid, Areas: []heat.Area{{Cold: resident, Resident: resident, Accesses: histogram(1)}}}
	}
	const each = 1 + 5 + 4 + 3 // swapped, gauges, bounds, +Inf with sum and count
	snap := &heat.Snapshot{Memcgs: []heat.MemcgSnapshot{
		{Path: "/a", WindowEnd: time.Unix(1, 0), Series: []heat.Series{process(1, 100), process(2, 300)}},
		{Path: "/b", WindowEnd: time.Unix(1, 0), Series: []heat.Series{process(3, 200), process(4, 100)}},
	}}
	for _, c := range []struct {
		most    int
		pids    []string
		dropped int
	}{
		{0, []string{"1", "2", "3", "4"}, 0},
		{4 * each, []string{"1", "2", "3", "4"}, 0},
		{4*each - 1, []string{"1", "2", "3"}, each},
		{2 * each, []string{"2", "3"}, 2 * each},
		{1, nil, 4 * each},
	} {
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
							series += len(h.GetBucket()) + 2
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
	snap := &heat.Snapshot{Memcgs: []heat.MemcgSnapshot{{
		Path: "/a", WindowEnd: time.Unix(1, 0), WindowPasses: 4,
		Series: []heat.Series{{PID: heat.PIDOff, SwappedBytes: 4096}},
	}}}
	got := samples(exposition(t, collector.New(fixed(snap), all())), "mglru_swapped_bytes")
	if diff := cmp.Diff([]string{`mglru_swapped_bytes{comm="",memcg="/a",pid=""} 4096`}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestScrapesRaceWithNewSnapshots(t *testing.T) {
	var current atomic.Pointer[heat.Snapshot]
	current.Store(twoNodes())
	reg := prometheus.NewRegistry()
	col := collector.New(current.Load, collector.Options{LabelPID: true, MaxSeries: 40})
	reg.MustRegister(col)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				if _, err := reg.Gather(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range 200 {
		current.Store(twoNodes())
		col.Set(collector.Options{LabelPID: i%2 == 0, MaxSeries: 40})
	}
	wg.Wait()
}
