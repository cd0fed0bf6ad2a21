package collector_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"

	"mglru_exporter/collector"
	"mglru_exporter/internal/heat"
)

func TestExposition(t *testing.T) {
	golden(t, "metrics.golden", exposition(t, collector.New(fixed(twoNodes()), all()), reload(), heatmap(), rejections()))
}

func TestLint(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(collector.New(fixed(twoNodes()), all()), reload(), heatmap(), rejections())
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
		"mglru_memcgs_matched 0", "mglru_memcgs_omitted 0", "mglru_memcgs_removed_total 0", "mglru_series_dropped_total 0",
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

func TestHostileNamesDoNotBreakTheScrape(t *testing.T) {
	series := func(pid int, comm string) heat.Series {
		return heat.Series{PID: pid, Comm: comm, SwappedBytes: 1, Areas: []heat.Area{{Resident: 1, Unobserved: 1}}}
	}
	var snap heat.Snapshot
	for _, path := range []string{"/a\x80", "/a\x81", "/a\ufffd", "/a\ufffd80", "/q\"\\\n{}", "/same", "/same"} {
		snap.Memcgs = append(snap.Memcgs, &heat.MemcgSnapshot{
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
	snap := &heat.Snapshot{Memcgs: []*heat.MemcgSnapshot{
		{Path: "/a", Passes: heat.PassStats{Failures: map[string]uint64{"memcg_missing": 1}}},
		{Path: "/a", TrackedProcesses: 1, Passes: heat.PassStats{Passes: 7}},
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
