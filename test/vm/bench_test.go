//go:build vm

package vm

import (
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
	for _, kernel := range []string{"plain", "patched"} {
		t.Run(kernel, func(t *testing.T) { results[kernel] = runBench(t, kernel, image) })
	}
	if !t.Failed() && len(results["patched"]) > 0 {
		t.Logf("aging %d young pages\n%s", bench.Pages, table(results))
	}
}

// runBench boots one kernel and returns what TestCost measured.
func runBench(t *testing.T, kernel string, image *Image) (results []measured) {
	dir, err := BuildKernel(t.Context(), kernel, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	name := BenchSuite.Name()
	guest := &Guest{
		Kernel: filepath.Join(dir, "bzImage"), Image: image, Machine: CountingMachine(), Timeout: BenchSuite.Timeout,
		ConsoleLog: filepath.Join(CacheDir(), "log", strings.ReplaceAll(t.Name(), "/", "-")+".console"),
		Jobs: []Job{{Name: name, Dir: "/src/" + BenchSuite.Package, Args: []string{
			"env", "MGLRU_KERNEL=" + kernel, "./" + name + ".test", "-test.v", "-test.timeout=" + BenchSuite.Timeout.String(),
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

// A cost is what passes of one kind took: by the parity of the generation that
// they made, the medians by the guest's clock, and the shortest by the host's.
type cost struct {
	guest, wall [2]time.Duration
	spread      float64 // of the guest's, around their median
}

func costOf(results []measured, variant string, whole bool) (c cost, ok bool) {
	for parity := range c.guest {
		var guest, wall []time.Duration
		for _, r := range results {
			if r.Variant == variant && r.Whole == whole && r.Seq%2 == uint64(parity) {
				guest = append(guest, time.Duration(r.NS))
				wall = append(wall, r.wall)
			}
		}
		if len(guest) == 0 {
			return c, false
		}
		slices.Sort(guest)
		c.guest[parity] = guest[len(guest)/2]
		c.wall[parity] = slices.Min(wall)
		c.spread = max(c.spread, float64(guest[len(guest)-1]-guest[0])/2/float64(c.guest[parity]))
	}
	return c, true
}

// table is the comparison, in Markdown.
func table(results map[string][]measured) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 1, ' ', 0)
	row := func(cells ...string) { fmt.Fprintf(w, "| %s\t|\n", strings.Join(cells, "\t| ")) }
	row("passes", "even, ms", "odd, ms", "±", "even", "odd", "by the clock, noisy", "bar")
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
		{"hooks, region probe", "patched", bench.Region, false, "patched", bench.Base, 1.03},
		{"hooks, per-page probes", "patched", bench.PerPage, false, "patched", bench.Base, 2.0},
		{"RFC: lookup and update per page", "patched", bench.RFC, false, "patched", bench.Base, 0},
		{"RFC, counting in place", "patched", bench.InPlace, false, "patched", bench.Base, 0},
		{"hooks, region probe, whole pass", "patched", bench.Region, true, "patched", bench.Base, 0},
		{"hooks, per-page probes, whole pass", "patched", bench.PerPage, true, "patched", bench.Base, 0},
		{"RFC, whole pass", "patched", bench.RFC, true, "patched", bench.Base, 0},
		{"RFC, counting in place, whole pass", "patched", bench.InPlace, true, "patched", bench.Base, 0},
	} {
		c, ok := costOf(results[l.kernel], l.variant, l.whole)
		if !ok {
			continue // -run left its kernel out
		}
		cells := []string{
			l.name, fmt.Sprintf("%.2f", ms(c.guest[0])), fmt.Sprintf("%.2f", ms(c.guest[1])),
			fmt.Sprintf("%.1f %%", 100*c.spread), "", "", "", "",
		}
		if of, ok := costOf(results[l.ofKernel], l.of, false); ok {
			even, odd := ratio(c.guest[0], of.guest[0]), ratio(c.guest[1], of.guest[1])
			cells[4], cells[5] = fmt.Sprintf("%.3f", even), fmt.Sprintf("%.3f", odd)
			cells[6] = fmt.Sprintf("%.1f, %.1f", ratio(c.wall[0], of.wall[0]), ratio(c.wall[1], of.wall[1]))
			switch {
			case l.bar == 0:
			case max(even, odd) <= l.bar:
				cells[7] = fmt.Sprintf("≤ %.2f ok", l.bar)
			default:
				cells[7] = fmt.Sprintf("≤ %.2f **MISSED**", l.bar)
			}
		}
		row(cells...)
	}
	w.Flush()
	return b.String()
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }
