//go:build guest

package guest

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mglru_exporter/bpf"
	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/source"
)

const (
	kdamonds      = "/sys/kernel/mm/damon/admin/kdamonds"
	damonStatFile = "/sys/module/damon_stat/parameters/enabled"
)

// TestDAMON has DAMON clear accessed bits all the time, of the process or of all
// memory, at the intervals that DAMON_STAT begins with. What it finds accessed
// counts, so each page's class is what the ledger says.
func TestDAMON(t *testing.T) {
	if _, err := os.Stat(kdamonds); err != nil {
		t.Logf("this kernel has no DAMON: %v", err)
		return
	}
	for _, operations := range []string{"vaddr", "paddr"} {
		t.Run(operations, func(t *testing.T) {
			underDAMON(t, heat.Walker{Name: "damon", Unobserved: heat.UnobservedNone}, func(t *testing.T, w *Workload) func() {
				return startDAMON(t, operations, w.PID)
			})
		})
	}
}

// TestDAMONStat is TestDAMON with what Debian's kernels have on from 7.2, at its
// defaults.
func TestDAMONStat(t *testing.T) {
	if _, err := os.Stat(damonStatFile); err != nil {
		t.Logf("this kernel has no DAMON_STAT: %v", err)
		return
	}
	underDAMON(t, heat.Walker{Name: "damon_stat", Unobserved: heat.UnobservedNone}, func(t *testing.T, _ *Workload) func() {
		set := func(on string) {
			if err := os.WriteFile(damonStatFile, []byte(on), 0); err != nil {
				t.Fatal(err)
			}
		}
		set("Y")
		return func() { set("N") }
	})
}

// underDAMON compares windows with the ledger in which DAMON, under the given name,
// looks at memory between each touch and its pass. It is started anew for each pass,
// as its intervals grow where they are tuned.
func underDAMON(t *testing.T, name heat.Walker, start func(*testing.T, *Workload) (stop func())) {
	const memcg = "/test/damon"
	w := StartWorkload(t, memcg)
	for _, a := range exactAreas() {
		w.Map(t, a)
	}
	r := newRig(t, bpf.HooksOptions{}, "", memcg)
	r.mustPass(t, memcg)
	w.EndPass()
	passes := r.cfg.Aging.PassesPerWindow
	for window := range 3 {
		for pass := range passes {
			stop := start(t, w)
			for i, m := range w.Mappings {
				if m.Kind == FilePrivate && !m.Write { // writing would change its type
					m.TouchEvery(t, 1+(window*passes+pass+i)%4)
					continue
				}
				touches[(window*passes+pass*(1+i%3)+i)%len(touches)].do(t, m)
			}
			awaitDAMON(t)
			if window == 0 && pass == 0 {
				checkNames(t, name)
			}
			r.mustPass(t, memcg) // with DAMON still on
			w.EndPass()
			stop()
		}
		checkWindow(t, r, w, memcg, fmt.Sprintf("window %d", window+1))
		r.checkObserved(t, w, memcg, 0.9)
	}
	if diff := cmp.Diff([]heat.Walker{name}, r.Snapshot().Self.OtherWalkers); diff != "" {
		t.Errorf("other walkers (-want +got):\n%s", diff)
	}
	if n := r.memcg(t, memcg).Passes.Skips["other_walker"]; n != 0 {
		t.Errorf("%d passes are unobserved because of DAMON", n)
	}
}

// checkNames wants check to name the walker that is on, for each source, and the
// suite's source to work.
func checkNames(t *testing.T, on heat.Walker) {
	t.Helper()
	for _, report := range source.Preflight("auto") {
		named := false
		for _, q := range report.Requirements {
			named = named || strings.Contains(q.Detail, "on here: "+on.Name+" (")
		}
		if !named {
			t.Errorf("check does not name %s for source %s: %+v", on.Name, report.Source, report)
		}
		if report.Source == sourceName() && !report.OK() {
			t.Errorf("source %s lacks %+v", report.Source, report.Missing())
		}
	}
}

// checkObserved wants at least that share of a process to be hot, warm or cold, in
// the mappings that a walk visits.
func (r *rig) checkObserved(t *testing.T, w *Workload, memcg string, share float64) {
	t.Helper()
	var all tally
	for _, m := range w.Mappings {
		if m.Watchable() {
			got := r.count(m)
			all = tally{all.hot + got.hot, all.warm + got.warm, all.cold + got.cold, all.unobserved + got.unobserved}
		}
	}
	observed := float64(all.hot+all.warm+all.cold) / float64(max(all.hot+all.warm+all.cold+all.unobserved, 1))
	t.Logf("%v: %.2f %% observed", all, 100*observed)
	if observed < share {
		t.Errorf("%.2f %% of the process is observed, want %.0f %%", 100*observed, 100*share)
	}
}

// TestDAMONBetweenPasses has DAMON run only while nobody asks whether it does.
func TestDAMONBetweenPasses(t *testing.T) {
	if _, err := os.Stat(kdamonds); err != nil {
		t.Logf("this kernel has no DAMON: %v", err)
		return
	}
	const memcg = "/test/damonbetween"
	w := StartWorkload(t, memcg)
	busy := w.Map(t, Area{Name: "busy", Kind: Anon, Size: 8 * mib, Node: 0})
	idle := w.Map(t, Area{Name: "idle", Kind: Shmem, Size: 4 * mib, Node: 1})
	r := newRig(t, bpf.HooksOptions{}, "aging: {passes_per_window: 2}", memcg)
	r.mustPass(t, memcg)
	w.EndPass()
	for _, step := range []struct {
		name  string
		damon bool
	}{{"before", false}, {"DAMON", true}, {"after that", false}} {
		r.window(t, w, memcg, func(int) {
			busy.TouchAll(t)
			if step.damon {
				stop := startDAMON(t, "vaddr", w.PID)
				awaitDAMON(t)
				stop()
			}
		})
		r.expectBusyAndIdle(t, step.name, busy, idle, true)
	}
}

// startDAMON has DAMON watch a process ("vaddr"), or all memory ("paddr"), at its
// default intervals until stop is called.
func startDAMON(t *testing.T, operations string, pid int) (stop func()) {
	t.Helper()
	write := func(file, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(kdamonds, file), []byte(text), 0); err != nil {
			t.Fatal(err)
		}
	}
	const target = "0/contexts/0/targets/0/"
	write("nr_kdamonds", "1")
	write("0/contexts/nr_contexts", "1")
	write("0/contexts/0/operations", operations)
	write("0/contexts/0/targets/nr_targets", "1")
	if operations == "vaddr" {
		write(target+"pid_target", strconv.Itoa(pid))
	} else {
		start, end := systemRAM(t)
		write(target+"regions/nr_regions", "1")
		write(target+"regions/0/start", strconv.FormatUint(start, 10))
		write(target+"regions/0/end", strconv.FormatUint(end, 10))
	}
	write("0/state", "on")
	stop = func() {
		_ = os.WriteFile(filepath.Join(kdamonds, "0/state"), []byte("off"), 0) // off already, the second time
		_ = os.WriteFile(filepath.Join(kdamonds, "nr_kdamonds"), []byte("0"), 0)
	}
	t.Cleanup(stop)
	return stop
}

// systemRAM returns where physical memory begins and ends.
func systemRAM(t *testing.T) (start, end uint64) {
	t.Helper()
	b, err := os.ReadFile("/proc/iomem")
	if err != nil {
		t.Fatal(err)
	}
	start = math.MaxUint64
	for line := range strings.Lines(string(b)) {
		var from, to uint64
		if _, err := fmt.Sscanf(line, "%x-%x : System RAM", &from, &to); err == nil {
			start, end = min(start, from), max(end, to+1)
		}
	}
	if end == 0 {
		t.Fatalf("no System RAM in /proc/iomem:\n%s", b)
	}
	return start, end
}

// awaitDAMON waits until a kdamond has looked at memory some times: before each time
// that it sleeps it clears bits.
func awaitDAMON(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(answerTimeout); ; time.Sleep(5 * time.Millisecond) {
		slept := 0
		comms, err := filepath.Glob("/proc/[0-9]*/comm")
		if err != nil {
			t.Fatal(err)
		}
		for _, comm := range comms {
			name, err := os.ReadFile(comm)
			if err != nil || !strings.HasPrefix(string(name), "kdamond.") {
				continue
			}
			slept = max(slept, sleptTimes(filepath.Dir(comm)))
		}
		if slept >= 20 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("DAMON has slept only %d times", slept)
		}
	}
}

// sleptTimes returns how often a thread has gone to sleep, 0 if it is gone.
func sleptTimes(proc string) int {
	status, err := os.ReadFile(filepath.Join(proc, "status"))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(status), "\nvoluntary_ctxt_switches:")
	line, _, _ := strings.Cut(after, "\n")
	n, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		return 0
	}
	return n
}
