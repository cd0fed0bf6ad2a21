//go:build guest

package guest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"mglru_exporter/bpf"
	"mglru_exporter/internal/memcg"
	"mglru_exporter/internal/source"
)

// TestOtherWalkersCount lets others age the memcg between the touch and the
// pass. What they find is accessed all the same, and counted once a pass.
func TestOtherWalkersCount(t *testing.T) {
	for _, perPage := range []bool{false, true} {
		t.Run(fmt.Sprintf("per-page=%v", perPage), func(t *testing.T) {
			const memcgPath = "/test/others"
			w := StartWorkload(t, memcgPath)
			for _, a := range exactAreas() {
				if a.Watchable() {
					w.Map(t, a)
				}
			}
			r := newRig(t, bpf.HooksOptions{PerPage: perPage}, "", memcgPath)
			r.mustPass(t, memcgPath)
			w.EndPass()
			for window := range 3 {
				r.window(t, w, memcgPath, func(pass int) {
					for i, m := range w.Mappings {
						switch (pass + i + window) % 4 {
						case 0:
							m.TouchEvery(t, 3)
						case 1:
							m.TouchAll(t)
						}
					}
					ageByDebugfs(t, memcgPath)
					for i, m := range w.Mappings {
						if (pass+i+window)%4 == 1 { // found by both: still once
							m.TouchEvery(t, 2)
						}
					}
				})
				checkWindow(t, r, w, memcgPath, fmt.Sprintf("window %d", window+1))
			}
		})
	}
}

// ageByDebugfs ages a memcg as an administrator may.
func ageByDebugfs(t testing.TB, path string) {
	t.Helper()
	f, err := os.Open(lruGen)
	if err != nil {
		t.Fatal(err)
	}
	groups, err := memcg.ParseLRUGen(f)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range groups {
		if g.Path != path {
			continue
		}
		for _, n := range g.Nodes {
			seq := n.Gens[len(n.Gens)-1].Seq
			cmd := fmt.Sprintf("+ %d %d %d 200 1", g.ID, n.Node, seq)
			if err := os.WriteFile(lruGen, []byte(cmd), 0); err != nil {
				t.Fatalf("write %q to lru_gen: %v", cmd, err)
			}
		}
		return
	}
	t.Fatalf("lru_gen does not list %s", path)
}

// expectBusyAndIdle wants a mapping that was touched before every pass to be hot,
// and one that never was to be cold; but if it is not sure who took accessed bits,
// hooks are to say of both no more than what was found young.
func (r *rig) expectBusyAndIdle(t *testing.T, name string, busy, idle *Mapping, sure bool) {
	t.Helper()
	wantBusy, wantIdle := tally{hot: busy.NumPages()}, tally{cold: idle.NumPages()}
	if !sure && sourceName() == "hooks" {
		// What was found young was so: nobody has taken those bits.
		wantBusy, wantIdle = tally{hot: r.count(busy).hot}, tally{unobserved: idle.NumPages()}
		wantBusy.unobserved = busy.NumPages() - wantBusy.hot
	}
	if got := r.count(busy); got != wantBusy {
		t.Errorf("%s: touched before every pass: %v, want %v", name, got, wantBusy)
	}
	if got := r.count(idle); got != wantIdle {
		t.Errorf("%s: never touched: %v, want %v", name, got, wantIdle)
	}
}

// TestDAMONMakesNothingCold: DAMON clears accessed bits, and hooks do not see
// whose. While it runs, nothing reads as cold.
func TestDAMONMakesNothingCold(t *testing.T) {
	const memcgPath = "/test/damon"
	w := StartWorkload(t, memcgPath)
	m := w.Map(t, Area{Name: "anon", Kind: Anon, Size: 8 * mib, Node: 0})
	r := newRig(t, bpf.HooksOptions{}, "aging: {passes_per_window: 2}", memcgPath)
	r.mustPass(t, memcgPath)
	stop := startDAMON(t, w.PID)
	for range 2 {
		r.mustPass(t, memcgPath)
	}
	if got, want := r.count(m), (tally{unobserved: m.NumPages()}); got != want {
		t.Errorf("with DAMON running: %v, want %v", got, want)
	}
	if got := r.Snapshot().Self.OtherWalkers; len(got) != 1 || got[0].Name != "damon" {
		t.Errorf("other walkers %q, want damon", got)
	}
	if missing := source.Preflight("hooks")[0].Missing(); len(missing) != 1 {
		t.Errorf("preflight with DAMON running lacks %+v, want just its absence", missing)
	}
	stop()
	for range 4 {
		r.mustPass(t, memcgPath)
	}
	if got, want := r.count(m), (tally{cold: m.NumPages()}); got != want {
		t.Errorf("with DAMON stopped: %v, want %v", got, want)
	}
}

const kdamonds = "/sys/kernel/mm/damon/admin/kdamonds"

// startDAMON has DAMON watch a process until stop is called.
func startDAMON(t *testing.T, pid int) (stop func()) {
	t.Helper()
	write := func(file, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(kdamonds, file), []byte(text), 0); err != nil {
			t.Fatal(err)
		}
	}
	write("nr_kdamonds", "1")
	write("0/contexts/nr_contexts", "1")
	write("0/contexts/0/operations", "vaddr")
	write("0/contexts/0/targets/nr_targets", "1")
	write("0/contexts/0/targets/0/pid_target", strconv.Itoa(pid))
	write("0/state", "on")
	stop = func() {
		_ = os.WriteFile(filepath.Join(kdamonds, "0/state"), []byte("off"), 0) // off already, the second time
		write("nr_kdamonds", "0")
	}
	t.Cleanup(stop)
	return stop
}

// TestDAMONBetweenPasses has DAMON run only while nobody asks whether it does. The
// hooks see that it clears accessed bits, stock sees which.
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
		sure  bool // also with hooks
	}{
		{"before", false, true},
		{"DAMON", true, false},
		{"after that", false, false}, // its pages were not looked at by the last pass
		{"well after that", false, true},
	} {
		r.window(t, w, memcg, func(int) {
			busy.TouchAll(t)
			if step.damon {
				stop := startDAMON(t, w.PID)
				awaitDAMON(t)
				stop()
			}
		})
		r.expectBusyAndIdle(t, step.name, busy, idle, step.sure)
	}
	skips := r.memcg(t, memcg).Passes.Skips
	if n := skips[bpf.SkipOtherWalker]; sourceName() == "hooks" && n != 2 {
		t.Errorf("skips %v, want %s to be counted for each of 2 passes", skips, bpf.SkipOtherWalker)
	}
}

// TestClearRefsOfWhoSharesMemory: what is written to one process takes the accessed
// bits of all that share its memory, and it is the memory's owner whose pages are
// judged.
func TestClearRefsOfWhoSharesMemory(t *testing.T) {
	const memcg = "/test/sharedclear"
	w := StartWorkload(t, memcg)
	busy := w.Map(t, Area{Name: "busy", Kind: Anon, Size: 8 * mib, Node: 0})
	idle := w.Map(t, Area{Name: "idle", Kind: Shmem, Size: 4 * mib, Node: 1})
	clearRefs := fmt.Sprintf("/proc/%d/clear_refs", w.Share(t))
	r := newRig(t, bpf.HooksOptions{}, "aging: {passes_per_window: 2}", memcg)
	r.mustPass(t, memcg)
	w.EndPass()
	for window := range 3 {
		r.window(t, w, memcg, func(int) {
			busy.TouchAll(t)
			if window == 1 {
				if err := os.WriteFile(clearRefs, []byte("1"), 0); err != nil {
					t.Fatal(err)
				}
			}
		})
		wantBusy, wantIdle := tally{hot: busy.NumPages()}, tally{cold: idle.NumPages()}
		if window > 0 && sourceName() == "hooks" {
			wantIdle = tally{unobserved: idle.NumPages()}
			wantBusy = tally{unobserved: busy.NumPages()}
		}
		if got := r.count(busy); got != wantBusy {
			t.Errorf("window %d: touched before every pass: %v, want %v", window, got, wantBusy)
		}
		if got := r.count(idle); got != wantIdle {
			t.Errorf("window %d: never touched: %v, want %v", window, got, wantIdle)
		}
	}
}

// awaitDAMON waits until DAMON has looked at the process some times: before each
// time that it sleeps it clears bits.
func awaitDAMON(t *testing.T) {
	t.Helper()
	kdamond, err := os.ReadFile(filepath.Join(kdamonds, "0/pid"))
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(answerTimeout); ; time.Sleep(5 * time.Millisecond) {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%s/status", strings.TrimSpace(string(kdamond))))
		if err != nil {
			t.Fatal(err)
		}
		_, after, _ := strings.Cut(string(status), "\nvoluntary_ctxt_switches:")
		line, _, _ := strings.Cut(after, "\n")
		slept, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		if slept >= 20 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("DAMON has slept only %d times", slept)
		}
	}
}
