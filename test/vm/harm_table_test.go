package vm

import (
	"fmt"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/google/go-cmp/cmp"

	"mglru_exporter/test/vm/bench"
)

// The goals at the default interval, with hooks and stock.
const (
	goalThroughput = 0.98
	goalP999       = 1.05
)

// harmTable is the comparison, in Markdown.
func harmTable(results []bench.Harm) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 1, ' ', 0)
	row := func(cells ...string) { fmt.Fprintf(w, "| %s\t|\n", strings.Join(cells, "\t| ")) }
	row("", "throughput", "p50", "p99", "p99.9", "max", "goals", "max, ms", "CPU, %", "CPU of a pass, ms")
	row("---", "--:", "--:", "--:", "--:", "--:", "---", "--:", "--:", "--:")
	base := map[string]bench.Harm{}
	for _, h := range results {
		if h.Watch == bench.Unwatched.String() {
			base[h.Load] = h
			row(h.Load+", unwatched", fmt.Sprintf("%.0f/s", h.Closed), us(h.Open.P50), us(h.Open.P99), us(h.Open.P999), us(h.Open.Max), "",
				fmt.Sprintf("%.2f", float64(h.Open.Max)/1e6), "", "")
			continue
		}
		of, ok := base[h.Load]
		if !ok {
			continue // -run left it out
		}
		throughput, measured := h.Closed/of.Closed, ""
		switch {
		case h.Closed == 0 && h.Exporter.Over == 0:
			throughput = 1
		case h.Closed == 0: // what the exporter uses of the only CPU nobody else can
			throughput, measured = 1-h.Exporter.CPU/h.Exporter.Over, "≈ "
		}
		p999 := float64(h.Open.P999) / float64(of.Open.P999)
		cells := []string{
			h.Load + ", " + h.Watch, fmt.Sprintf("%s%.3f", measured, throughput), share(h.Open.P50, of.Open.P50), share(h.Open.P99, of.Open.P99),
			fmt.Sprintf("%.3f", p999), share(h.Open.Max, of.Open.Max), "", fmt.Sprintf("%.2f", float64(h.Open.Max)/1e6), "", "",
		}
		if strings.HasSuffix(h.Watch, bench.DefaultInterval.String()) && !strings.HasPrefix(h.Watch, "referenced") {
			cells[6] = verdict(throughput >= goalThroughput && p999 <= goalP999)
		}
		if e := h.Exporter; e.Passes > 0 {
			cells[8] = fmt.Sprintf("%.2f", 100*e.CPU/e.Over)
			cells[9] = fmt.Sprintf("%.1f", 1000*e.CPU/float64(e.Passes))
		}
		row(cells...)
	}
	_ = w.Flush() // a strings.Builder takes everything
	return b.String()
}

// locksTable says how long the reader waited for locks, in Markdown.
func locksTable(results []bench.Harm) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 1, ' ', 0)
	row := func(cells ...string) { fmt.Fprintf(w, "| %s\t|\n", strings.Join(cells, "\t| ")) }
	row("reader", "passes", "requests that waited for a lock", "all waits, ms", "longest, ms")
	row("---", "--:", "--:", "--:", "--:")
	for _, h := range results {
		row(h.Watch, fmt.Sprint(h.Exporter.Passes), fmt.Sprint(h.Open.Blocked), fmt.Sprintf("%.1f", float64(h.Open.BlockedNS)/1e6),
			fmt.Sprintf("%.1f", float64(h.Open.BlockedMax)/1e6))
	}
	_ = w.Flush() // a strings.Builder takes everything
	return b.String()
}

func us(ns int64) string { return fmt.Sprintf("%.0f µs", float64(ns)/1000) }

func share(a, b int64) string { return fmt.Sprintf("%.3f", float64(a)/float64(b)) }

func verdict(met bool) string {
	if met {
		return "ok"
	}
	return "**MISSED**"
}

func TestHarmTable(t *testing.T) {
	base := bench.Harm{Load: "reader", Watch: "unwatched", Closed: 1000, Open: bench.Latency{P50: 1000, P99: 2000, P999: 4000, Max: 8000}}
	watched := func(watch string, closed, cpu float64, p999 int64) bench.Harm {
		return bench.Harm{
			Load: "reader", Watch: watch, Closed: closed, Open: bench.Latency{P50: 1000, P99: 3000, P999: p999, Max: 16000},
			Exporter: bench.Effort{Over: 100, CPU: cpu, Passes: 4},
		}
	}
	for _, test := range []struct {
		name    string
		results []bench.Harm
		want    []string // of the last row, without blanks
	}{
		{"goals met", []bench.Harm{base, watched("stock-30s", 980, 1, 4200)}, []string{"reader, stock-30s", "0.980", "1.000", "1.500", "1.050", "2.000", "ok", "0.02", "1.00", "250.0"}},
		{"slow requests", []bench.Harm{base, watched("hooks-30s", 990, 1, 4300)}, []string{"reader, hooks-30s", "0.990", "1.000", "1.500", "1.075", "2.000", "**MISSED**", "0.02", "1.00", "250.0"}},
		{"little throughput", []bench.Harm{base, watched("hooks-30s", 970, 1, 4000)}, []string{"reader, hooks-30s", "0.970", "1.000", "1.500", "1.000", "2.000", "**MISSED**", "0.02", "1.00", "250.0"}},
		{"throughput from the CPU time", []bench.Harm{base, watched("stock-30s", 0, 3, 4000)}, []string{"reader, stock-30s", "≈ 0.970", "1.000", "1.500", "1.000", "2.000", "**MISSED**", "0.02", "3.00", "750.0"}},
		{"no goal at the short interval", []bench.Harm{base, watched("stock-3s", 900, 1, 9000)}, []string{"reader, stock-3s", "0.900", "1.000", "1.500", "2.250", "2.000", "", "0.02", "1.00", "250.0"}},
		{"nothing to compare with", []bench.Harm{base, {Load: "memcached", Watch: "stock-30s"}}, []string{"reader, unwatched", "1000/s", "1 µs", "2 µs", "4 µs", "8 µs", "", "0.01", "", ""}},
	} {
		t.Run(test.name, func(t *testing.T) {
			lines := strings.Split(strings.TrimSpace(harmTable(test.results)), "\n")
			cells := strings.Split(strings.Trim(lines[len(lines)-1], "|"), "|")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			if diff := cmp.Diff(test.want, cells); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}
