package collector_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
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

func rejections() *collector.Rejections {
	r := collector.NewRejections("body", "connections")
	r.Add("body")
	r.Add("never heard of")
	return r
}

func heatmap() *collector.Heatmap {
	return collector.NewHeatmap(func() (bytes, omitted int) { return 12345, 6 })
}

// pageText returns the text of the current page.
func pageText(c *collector.Collector, openMetrics bool) string {
	var b strings.Builder
	_ = c.Page().WriteText(&b, openMetrics) // to memory
	return b.String()
}
