//go:build guest

package guest

import (
	"fmt"
	"os"
	"testing"

	"mglru_exporter/bpf"
)

// TestProbesOffBetweenPasses: what somebody switches off who switches it on again
// before we look has taken bits that nobody has seen.
func TestProbesOffBetweenPasses(t *testing.T) {
	for _, perPage := range []bool{false, true} {
		t.Run(fmt.Sprintf("per-page=%v", perPage), func(t *testing.T) {
			const memcgPath = "/test/probesbetween"
			w := StartWorkload(t, memcgPath)
			m := w.Map(t, Area{Name: "anon", Kind: Anon, Size: 8 * mib, Node: 0})
			r := newRig(t, bpf.HooksOptions{PerPage: perPage}, "aging: {passes_per_window: 2}", memcgPath)
			set := setEnabled(t)
			on, err := os.ReadFile(bpf.EnabledPath)
			if err != nil {
				t.Fatal(err)
			}
			window := func(name string, want tally) {
				t.Helper()
				r.window(t, w, memcgPath, func(int) {})
				if got := r.count(m); got != want {
					t.Errorf("%s: %v, want %v", name, got, want)
				}
			}
			r.mustPass(t, memcgPath)
			window("before", tally{cold: m.NumPages()})
			m.TouchAll(t)
			set("y")
			ageByDebugfs(t, memcgPath)
			set(string(on))
			window("off and on again", tally{unobserved: m.NumPages()})
			window("after that", tally{cold: m.NumPages()})
			if skips := r.memcg(t, memcgPath).Passes.Skips; skips[bpf.SkipSwitched] != 1 {
				t.Errorf("skips %v, want %s to be counted once", skips, bpf.SkipSwitched)
			}
		})
	}
}

// setEnabled returns what writes to MGLRU's switches. They are as they were when the
// test ends.
func setEnabled(t *testing.T) func(value string) {
	t.Helper()
	before, err := os.ReadFile(bpf.EnabledPath)
	if err != nil {
		t.Fatal(err)
	}
	set := func(value string) {
		t.Helper()
		if err := os.WriteFile(bpf.EnabledPath, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { set(string(before)) })
	return set
}
