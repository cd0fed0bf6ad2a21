//go:build vm

package vm

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"mglru_exporter/test/vm/bench"
)

// A measured is a Result with what the pass took by the host's clock.
type measured struct {
	bench.Result
	wall time.Duration
}

// TestBench compares the cost of aging 1 GiB of young pages with and without
// watching, on kernels with and without our patches. A bar that is missed is
// printed, and no failure: that is for those who read it.
func TestBench(t *testing.T) {
	results := map[string][]measured{}
	image := testImage(t.Context(), t, []Suite{BenchSuite}, t.TempDir())
	for _, kernel := range []string{"plain", "patched", "debian-6.1"} {
		t.Run(kernel, func(t *testing.T) { results[kernel] = runBench(t, kernel, image) })
	}
	if !t.Failed() && len(results) > 0 {
		t.Logf("aging %d young pages\n%s", bench.Pages, table(results))
	}
}

// runBench boots one kernel and returns what TestCost measured. MGLRU_PATCHED, or
// MGLRU_PLAIN, is the path of a bzImage to boot instead of what is built here.
func runBench(t *testing.T, kernel string, image *Image) (results []measured) {
	k, err := FindKernel(t.Context(), cmp.Or(os.Getenv("MGLRU_"+strings.ToUpper(kernel)), kernel), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	name := BenchSuite.Name()
	guest := &Guest{
		Kernel: k, Image: image, Machine: CountingMachine(), Timeout: BenchSuite.Timeout,
		ConsoleLog: filepath.Join(CacheDir(), "log", strings.ReplaceAll(t.Name(), "/", "-")+".console"),
		Jobs: []Job{{Name: name, Dir: "/src/" + BenchSuite.Package, Args: []string{
			"env", "MGLRU_KERNEL=" + kernel, "./" + name + ".test", "-test.v", "-test.run=^TestCost$", "-test.timeout=" + BenchSuite.Timeout.String(),
		}}},
	}
	var start time.Time
	var wall time.Duration
	err = guest.Run(t.Context(), Handlers{
		Output: func(_, line string) {
			text, timed := strings.CutPrefix(line, bench.Mark)
			switch {
			case !timed:
				t.Log(line)
			case text == bench.Go:
				start = time.Now()
			case text == bench.Stop:
				wall = time.Since(start)
			default:
				r := measured{wall: wall}
				if err := json.Unmarshal([]byte(text), &r.Result); err != nil {
					t.Errorf("%q: %v", line, err)
				}
				results = append(results, r)
			}
		},
		End: func(job string, status int) {
			if status != 0 {
				t.Errorf("%s exited with status %d", job, status)
			}
		},
	})
	if err != nil {
		t.Errorf("%v\nthe whole console is in %s", err, guest.ConsoleLog)
	}
	if len(results) == 0 {
		t.Error("nothing was measured")
	}
	return results
}

// A cost is what passes of one kind took: the medians by the guest's clock, and
// the shortest by the host's, of the usual passes and of those that cost more.
type cost struct {
	guest, wall [2]time.Duration // usual, third
	spread      float64          // of the guest's, around their medians
}

const (
	usual = iota
	third // every third one, which moves all the folios to another list
)

func costOf(results []measured, variant string, whole bool) (c cost, ok bool) {
	var phases [bench.Phases][]measured
	for _, r := range results {
		if r.Variant == variant && r.Whole == whole {
			phases[r.Seq%bench.Phases] = append(phases[r.Seq%bench.Phases], r)
		}
	}
	slices.SortFunc(phases[:], func(a, b []measured) int { return cmp.Compare(median(a), median(b)) })
	kinds := [...][]measured{usual: slices.Concat(phases[:bench.Phases-1]...), third: phases[bench.Phases-1]}
	for i, passes := range kinds {
		if len(passes) == 0 {
			return c, false
		}
		c.guest[i] = median(passes)
		least, most := passes[0].NS, passes[0].NS
		c.wall[i] = passes[0].wall
		for _, p := range passes {
			least, most = min(least, p.NS), max(most, p.NS)
			c.wall[i] = min(c.wall[i], p.wall)
		}
		c.spread = max(c.spread, float64(most-least)/2/float64(c.guest[i]))
	}
	return c, true
}

// median is that of the guest's clock, 0 if there is none.
func median(passes []measured) time.Duration {
	if len(passes) == 0 {
		return 0
	}
	ns := make([]int64, len(passes))
	for i, p := range passes {
		ns[i] = p.NS
	}
	slices.Sort(ns)
	return time.Duration(ns[len(ns)/2])
}

// table is the comparison, in Markdown.
func table(results map[string][]measured) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 1, ' ', 0)
	row := func(cells ...string) { fmt.Fprintf(w, "| %s\t|\n", strings.Join(cells, "\t| ")) }
	row("", "usual, ms", "third, ms", "±", "usual", "third", "by the clock, noisy", "bar")
	row("---", "--:", "--:", "--:", "--:", "--:", "--:", "---")
	for _, l := range []struct {
		name, kernel, variant string
		whole                 bool
		ofKernel, of          string // what it is a ratio to
		bar                   float64
	}{
		{name: "unpatched, by debugfs", kernel: "plain", variant: bench.Debugfs},
		{"patched, by debugfs, nothing attached", "patched", bench.Debugfs, false, "plain", bench.Debugfs, 1.02},
		{name: "patched, by BPF, nothing attached: base", kernel: "patched", variant: bench.Base},
		{"the same again, last of all", "patched", bench.BaseAgain, false, "patched", bench.Base, 0},
		{"regions gathered, nothing attached", "patched", bench.RegionBit, false, "patched", bench.Base, 0},
		{"hooks, region probe", "patched", bench.Region, false, "patched", bench.Base, 1.03},
		{"the same, to regions gathered", "patched", bench.Region, false, "patched", bench.RegionBit, 0},
		{"per-page probes called, nothing attached", "patched", bench.PageBit, false, "patched", bench.Base, 0},
		{"hooks, per-page probes", "patched", bench.PerPage, false, "patched", bench.Base, 2.0},
		{"RFC: lookup and update per page", "patched", bench.RFC, false, "patched", bench.Base, 0},
		{"RFC, counting in place", "patched", bench.InPlace, false, "patched", bench.Base, 0},
		{"hooks, region probe, whole pass", "patched", bench.Region, true, "patched", bench.Base, 0},
		{"hooks, per-page probes, whole pass", "patched", bench.PerPage, true, "patched", bench.Base, 0},
		{"RFC, whole pass", "patched", bench.RFC, true, "patched", bench.Base, 0},
		{"RFC, counting in place, whole pass", "patched", bench.InPlace, true, "patched", bench.Base, 0},
		{"unpatched, stock", "plain", bench.Stock, false, "plain", bench.Debugfs, 2.3},
		{"unpatched, stock, whole pass", "plain", bench.Stock, true, "plain", bench.Debugfs, 0},
		{name: "unpatched, private file mapping, by debugfs", kernel: "plain", variant: bench.FileDebugfs},
		{"the same, stock", "plain", bench.FileStock, false, "plain", bench.FileDebugfs, 3.2},
		{"the same, stock, whole pass", "plain", bench.FileStock, true, "plain", bench.FileDebugfs, 0},
		{name: "Debian's own kernel, by debugfs", kernel: "debian-6.1", variant: bench.Debugfs},
		{"the same, stock", "debian-6.1", bench.Stock, false, "debian-6.1", bench.Debugfs, 2.3},
		{name: "Debian's own, private file mapping, by debugfs", kernel: "debian-6.1", variant: bench.FileDebugfs},
		{"the same, stock", "debian-6.1", bench.FileStock, false, "debian-6.1", bench.FileDebugfs, 3.2},
	} {
		c, ok := costOf(results[l.kernel], l.variant, l.whole)
		if !ok {
			continue // -run left its kernel out
		}
		cells := []string{
			l.name, fmt.Sprintf("%.2f", ms(c.guest[usual])), fmt.Sprintf("%.2f", ms(c.guest[third])),
			fmt.Sprintf("%.1f %%", 100*c.spread), "", "", "", "",
		}
		if of, ok := costOf(results[l.ofKernel], l.of, false); ok {
			usually, thirds := ratio(c.guest[usual], of.guest[usual]), ratio(c.guest[third], of.guest[third])
			cells[4], cells[5] = fmt.Sprintf("%.3f", usually), fmt.Sprintf("%.3f", thirds)
			cells[6] = fmt.Sprintf("%.1f, %.1f", ratio(c.wall[usual], of.wall[usual]), ratio(c.wall[third], of.wall[third]))
			switch {
			case l.bar == 0:
			case max(usually, thirds) <= l.bar:
				cells[7] = fmt.Sprintf("≤ %.2f ok", l.bar)
			default:
				cells[7] = fmt.Sprintf("≤ %.2f **MISSED**", l.bar)
			}
		}
		row(cells...)
	}
	_ = w.Flush() // a strings.Builder takes everything
	return b.String()
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }
