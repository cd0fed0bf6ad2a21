//go:build guest

package guest

import (
	"fmt"
	"os"
	"testing"

	"mglru_exporter/bpf"
	"mglru_exporter/internal/memcg"
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
