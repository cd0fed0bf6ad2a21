package collector_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"mglru_exporter/collector"
	"mglru_exporter/internal/heat"
)

// hostile is a snapshot of names that anybody may choose.
func hostile() *heat.Snapshot {
	snap := &heat.Snapshot{}
	for i, path := range []string{"/a\x80", "/a\x81", "/a\ufffd", "/a\ufffd80", "/q\"\\\n{}", "/same", "/same", ""} {
		snap.Memcgs = append(snap.Memcgs, &heat.MemcgSnapshot{
			Path: path, WindowEnd: time.Unix(int64(i), 12345),
			Series: []heat.Series{
				{PID: heat.PIDOther, Comm: "\xff"}, {PID: 7, Comm: `"} 1`, SwappedBytes: 1 << 63},
				{PID: 8, Comm: "a\nb", Areas: []heat.Area{{HeatRatio: 1e-300, HeatKnown: true, Accesses: histogram(1<<63, 1<<62)}}},
			},
			Passes: heat.PassStats{Delay: 1.5e21, DurationSum: 0.1, DurationBounds: []float64{1e-9, 2.5, 1e6, 1e7}, DurationCounts: []uint64{1, 2, 3, 4, 5},
				Failures: map[string]uint64{"z": 1, "a": 999_999, "m": 1_000_000, "n": 1_234_567}},
		})
	}
	return snap
}

// TestTextIsThatOfTheLibrary: the text is what package expfmt writes of what a registry
// gathers, which checks much that we do not; but for the order within a family.
func TestTextIsThatOfTheLibrary(t *testing.T) {
	for name, snap := range map[string]*heat.Snapshot{"two nodes": twoNodes(), "hostile": hostile(), "many": manySeries(1000), "none": nil} {
		for _, opts := range []collector.Options{all(), {}, {LabelPID: true, ExposeAddresses: true}} {
			c := collector.New(fixed(snap), opts)
			for _, format := range []expfmt.Format{expfmt.NewFormat(expfmt.TypeTextPlain), expfmt.NewFormat(expfmt.TypeOpenMetrics)} {
				var want bytes.Buffer
				enc := expfmt.NewEncoder(&want, format, expfmt.WithCreatedLines())
				for _, f := range gather(t, c) {
					if err := enc.Encode(f); err != nil {
						t.Fatal(err)
					}
				}
				got := pageText(c, format.FormatType() == expfmt.TypeOpenMetrics)
				if diff := cmp.Diff(byFamily(want.String()), byFamily(got)); diff != "" {
					t.Fatalf("%s, %+v, %s (-want +got):\n%s", name, opts, format, diff)
				}
			}
		}
	}
}

// byFamily sorts families, and the lines of each, metadata first. Those of a
// histogram's metric stay together through their labels.
func byFamily(text string) []string {
	parts := strings.Split(text, "# HELP ")
	for i, p := range parts {
		lines := strings.Split(p, "\n")
		n := 0
		for n < len(lines) && (n == 0 || strings.HasPrefix(lines[n], "#")) {
			n++
		}
		slices.Sort(lines[n:])
		parts[i] = strings.Join(lines, "\n")
	}
	slices.Sort(parts)
	return parts
}

// TestOpenMetricsHasUnitsAndStarts of what counts.
func TestOpenMetricsHasUnitsAndStarts(t *testing.T) {
	got := pageText(collector.New(fixed(twoNodes()), all()), true)
	for _, want := range []string{
		"# TYPE mglru_hot_bytes gauge\n# UNIT mglru_hot_bytes bytes\n",
		"# TYPE mglru_reaccessed_bytes counter\n# UNIT mglru_reaccessed_bytes bytes\n",
		"# UNIT mglru_pass_duration_seconds seconds\n", "# UNIT mglru_heat_ratio ratio\n",
		`mglru_reaccessed_bytes_created{comm="memcached",memcg="/system.slice/memcached.service",min_idle_seconds="60",node="0",pid="4711",type="anon"} 1.76376e+09` + "\n",
		`mglru_region_accesses_created{comm="memcached",memcg="/system.slice/memcached.service",node="0",pid="4711",type="anon"} 1.76376e+09` + "\n",
		`mglru_passes_created{memcg="/system.slice/memcached.service"} 1.76375e+09` + "\n",
		"mglru_memcgs_removed_created 1.76374e+09\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("there is no %q", want)
		}
	}
	if strings.Contains(pageText(collector.New(fixed(twoNodes()), all()), false), "_created") {
		t.Error("the text format has starts, which it has no room for")
	}
}

// TestScrapesOfOneSnapshotAreTheSame to the byte, also after all that was made of it
// is made again.
func TestScrapesOfOneSnapshotAreTheSame(t *testing.T) {
	snap := twoNodes()
	c := collector.New(fixed(snap), all())
	if first := c.Page(); first != c.Page() {
		t.Error("two pages of one snapshot are not the same")
	}
	want := pageText(c, true)
	for range 20 { // maps would come in another order
		if got := pageText(collector.New(fixed(snap), all()), true); want != got {
			t.Fatalf("-want +got:\n%s", cmp.Diff(want, got))
		}
	}
}

// TestPageGathers what the collector collects.
func TestPageGathers(t *testing.T) {
	c := collector.New(fixed(twoNodes()), all())
	got, err := c.Page().Gather()
	if err != nil {
		t.Fatal(err)
	}
	var units int
	for _, f := range got {
		if f.GetUnit() != "" {
			units++
		}
	}
	if diff := cmp.Diff(names(gather(t, c)), names(got)); diff != "" || units == 0 {
		t.Errorf("%d units; families (-want +got):\n%s", units, diff)
	}
}

func names(families []*dto.MetricFamily) []string {
	var out []string
	for _, f := range families {
		out = append(out, f.GetName())
	}
	return out
}
