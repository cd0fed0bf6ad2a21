//go:build guest

package guest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"mglru_exporter/bpf"
	"mglru_exporter/internal/source"
)

// TestDisabled: MGLRU switched off under a running exporter is a counted failure
// and unobserved memory; switched on again, all is well a window later.
func TestDisabled(t *testing.T) {
	const memcgPath = "/test/disabled"
	w := StartWorkload(t, memcgPath)
	m := w.Map(t, Area{Name: "anon", Kind: Anon, Size: 8 * mib, Node: 0})
	r := newRig(t, bpf.HooksOptions{}, "aging: {passes_per_window: 2}", memcgPath)
	r.mustPass(t, memcgPath)
	set, _ := setEnabled(t)
	set("0")
	for range 2 {
		clear(r.parts)
		if _, err := r.Pass(context.Background(), memcgPath); source.ReasonOf(err) != source.ReasonDisabled {
			t.Fatalf("pass with MGLRU disabled: %v", err)
		}
	}
	if got, want := r.count(m), (tally{unobserved: m.NumPages()}); got != want {
		t.Errorf("disabled: %v, want %v", got, want)
	}
	if n := r.memcg(t, memcgPath).Passes.Failures[source.ReasonDisabled]; n != 2 {
		t.Errorf("%d passes failed as disabled, want 2", n)
	}
	repairDisabled(t)
	// The hooks' first pass fails: it finds the probes off, and switches them on.
	if _, err := r.Pass(context.Background(), memcgPath); err != nil && source.ReasonOf(err) != source.ReasonProbesOff {
		t.Fatal(err)
	}
	for range 5 {
		r.mustPass(t, memcgPath)
	}
	if got, want := r.count(m), (tally{cold: m.NumPages()}); got != want {
		t.Errorf("enabled again: %v, want %v", got, want)
	}
}

// repairDisabled runs what docs/RUNBOOK.md says to do about passes that fail for the
// reason "disabled".
func repairDisabled(t *testing.T) {
	t.Helper()
	repair := bpf.EnableRepair
	if sourceName() == "stock" {
		repair = bpf.EnableLeavesRepair
	}
	if out, err := exec.Command("/bin/sh", "-c", repair).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", repair, err, out)
	}
}

// TestProbesSwitchedOff: whoever writes to lru_gen/enabled may switch our probes
// off, and then no access is seen. None of it may read as cold.
func TestProbesSwitchedOff(t *testing.T) {
	for _, perPage := range []bool{false, true} {
		t.Run(fmt.Sprintf("per-page=%v", perPage), func(t *testing.T) {
			const memcgPath = "/test/probes"
			w := StartWorkload(t, memcgPath)
			m := w.Map(t, Area{Name: "anon", Kind: Anon, Size: 8 * mib, Node: 0})
			r := newRig(t, bpf.HooksOptions{PerPage: perPage}, "aging: {passes_per_window: 2}", memcgPath)
			r.mustPass(t, memcgPath)
			m.TouchAll(t)
			set, _ := setEnabled(t)
			set("y")
			ageByDebugfs(t, memcgPath) // nobody sees it take the bits
			if _, err := r.Pass(context.Background(), memcgPath); source.ReasonOf(err) != source.ReasonProbesOff {
				t.Fatalf("pass with the probes switched off: %v", err)
			}
			r.mustPass(t, memcgPath)
			if got, want := r.count(m), (tally{unobserved: m.NumPages()}); got != want {
				t.Errorf("touched while the probes were off: %v, want %v", got, want)
			}
			for range 4 { // that we have switched them on is one more reason for doubt
				m.TouchAll(t)
				r.mustPass(t, memcgPath)
			}
			if got, want := r.count(m), (tally{hot: m.NumPages()}); got != want {
				t.Errorf("two windows later: %v, want %v", got, want)
			}
		})
	}
}

// TestPreflight: on this kernel the hooks have all they need, and what they lack
// otherwise is named with a repair that works.
func TestPreflight(t *testing.T) {
	for _, r := range source.Preflight(sourceName()) {
		for _, m := range r.Missing() {
			t.Errorf("%s: missing %s: %s", r.Source, m.Name, m.Detail)
		}
	}
	set, _ := setEnabled(t)
	set("0")
	missing := source.Preflight(sourceName())[0].Missing()
	if len(missing) != 1 || missing[0].Name != "MGLRU enabled" {
		t.Fatalf("with MGLRU disabled the preflight lacks %+v, want just that", missing)
	}
	if out, err := exec.Command("/bin/sh", "-c", missing[0].Repair).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", missing[0].Repair, err, out)
	}
	if missing := source.Preflight(sourceName())[0].Missing(); len(missing) != 0 {
		t.Errorf("after its repair the preflight lacks %+v", missing)
	}
}

// TestProbesOffBetweenPasses: what somebody switches off who switches it on again
// before we look has taken bits that nobody has seen.
func TestProbesOffBetweenPasses(t *testing.T) {
	for _, perPage := range []bool{false, true} {
		t.Run(fmt.Sprintf("per-page=%v", perPage), func(t *testing.T) {
			const memcgPath = "/test/probesbetween"
			w := StartWorkload(t, memcgPath)
			m := w.Map(t, Area{Name: "anon", Kind: Anon, Size: 8 * mib, Node: 0})
			r := newRig(t, bpf.HooksOptions{PerPage: perPage}, "aging: {passes_per_window: 2}", memcgPath)
			set, on := setEnabled(t)
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
			set(on)
			window("off and on again", tally{unobserved: m.NumPages()})
			window("after that", tally{cold: m.NumPages()})
			if skips := r.memcg(t, memcgPath).Passes.Skips; skips[bpf.SkipSwitched] != 1 {
				t.Errorf("skips %v, want %s to be counted once", skips, bpf.SkipSwitched)
			}
		})
	}
}

// setEnabled returns what writes to MGLRU's switches, and what they are now. That they
// are again when the test ends.
func setEnabled(t *testing.T) (set func(value string), before string) {
	t.Helper()
	b, err := os.ReadFile(bpf.EnabledPath)
	if err != nil {
		t.Fatal(err)
	}
	before = strings.TrimSpace(string(b))
	set = func(value string) {
		t.Helper()
		if err := os.WriteFile(bpf.EnabledPath, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { set(before) })
	return set, before
}
