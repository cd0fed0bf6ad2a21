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
)

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
		wantBusy, wantIdle := tally{hot: busy.NumPages()}, tally{cold: idle.NumPages()}
		if !step.sure && sourceName() == "hooks" {
			// What was found young was so: nobody has taken those bits.
			wantBusy, wantIdle = tally{hot: r.count(busy).hot}, tally{unobserved: idle.NumPages()}
			wantBusy.unobserved = busy.NumPages() - wantBusy.hot
		}
		if got := r.count(busy); got != wantBusy {
			t.Errorf("%s: touched before every pass: %v, want %v", step.name, got, wantBusy)
		}
		if got := r.count(idle); got != wantIdle {
			t.Errorf("%s: never touched: %v, want %v", step.name, got, wantIdle)
		}
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
