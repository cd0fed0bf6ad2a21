//go:build guest

package guest

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"mglru_exporter/bpf"
	"mglru_exporter/internal/heat"
)

// TestV1HierarchyBelow has a cgroup v1 hierarchy mounted below a memcg, as VPN
// clients have one below the root. It lists all processes of the machine, which
// are that memcg's for all that.
func TestV1HierarchyBelow(t *testing.T) {
	const vpn, memcg = "/test/vpn", "/test/owned"
	dir := filepath.Join(MakeCgroup(t, vpn), "net_cls")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { RemoveCgroup(t, dir) })
	if err := unix.Mount("vpn", dir, "cgroup", 0, "none,name=vpn"); err != nil {
		t.Fatalf("mount a v1 hierarchy: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	w := StartWorkload(t, memcg)
	m := w.Map(t, Area{Name: "anon", Kind: Anon, Size: 8 * mib, Node: 0})
	r := newRig(t, bpf.HooksOptions{}, "aging: {passes_per_window: 2}", vpn, memcg)
	r.mustPass(t, memcg)
	w.EndPass()
	for range 3 {
		r.window(t, w, memcg, func(int) {
			m.TouchEvery(t, 2)
			r.mustPass(t, vpn)
		})
		if got, want := r.count(m), (tally{hot: m.NumPages() / 2, cold: m.NumPages() / 2}); got != want {
			t.Errorf("half of the pages are touched before each pass: %v, want %v", got, want)
		}
	}
	m.Check(t)
	if n := r.memcg(t, vpn).TrackedProcesses; n != 0 {
		t.Errorf("%d processes tracked in a memcg that has none", n)
	}
	if resets := r.memcg(t, memcg).Passes.Resets; resets[string(heat.ResetMoved)] != 0 {
		t.Errorf("resets %v, though no process has moved", resets)
	}
}

// TestMovedProcessIsNeverCold moves a process to and fro, just after a pass of the
// memcg that it leaves and just before one of the memcg that it joins.
func TestMovedProcessIsNeverCold(t *testing.T) {
	memcgs := []string{"/test/to", "/test/fro"}
	w := StartWorkload(t, memcgs[0])
	MakeCgroup(t, memcgs[1])
	t.Cleanup(w.Kill)
	w.Map(t, Area{Name: "file", Kind: File, Size: 4 * mib, Node: 0})
	r := newRig(t, bpf.HooksOptions{}, "aging: {passes_per_window: 2}", memcgs...)
	pass := func(memcg string) {
		t.Helper()
		r.mustPass(t, memcg)
		w.EndPass()
		for _, m := range w.Mappings {
			r.touchedIsNotCold(t, m)
		}
	}
	for stay := range 6 {
		memcg := memcgs[stay%2]
		if err := os.WriteFile(filepath.Join(cgroupRoot, memcg, "cgroup.procs"), []byte(strconv.Itoa(w.PID)), 0); err != nil {
			t.Fatal(err)
		}
		pass(memcg)
		own := w.Map(t, Area{Name: "anon" + strconv.Itoa(stay), Kind: Anon, Size: 4 * mib, Node: stay / 2 % 2})
		for range 5 + stay%3 { // leave in the middle of a window, too
			for _, m := range w.Mappings {
				m.TouchEvery(t, 2)
			}
			pass(memcg)
		}
		for len(r.parts) == 0 { // until a window ends
			own.TouchEvery(t, 2)
			pass(memcg)
		}
		if got, want := r.count(own), (tally{hot: own.NumPages() / 2, cold: own.NumPages() / 2}); got != want {
			t.Errorf("stay %d: of memory that is charged to the memcg it is in %v, want %v", stay, got, want)
		}
		if stay%2 == 0 {
			own.TouchAll(t)
			pass(memcg)
		}
	}
	for _, m := range w.Mappings {
		m.Check(t)
	}
	for _, memcg := range memcgs {
		if n := r.memcg(t, memcg).Passes.Resets[string(heat.ResetMoved)]; n == 0 {
			t.Errorf("no process was counted as moved from %s", memcg)
		}
	}
}

// touchedIsNotCold checks that no page of a mapping is cold that was touched
// before one of the last passes, as many as a window has.
func (r *rig) touchedIsNotCold(t testing.TB, m *Mapping) {
	t.Helper()
	for _, touched := range m.passes[max(0, len(m.passes)-r.cfg.Aging.PassesPerWindow):] {
		m.Regions(touched, func(region uint64, pages heat.Bitmap) {
			for _, p := range r.parts[m.w.PID] {
				if cold := and(&p.Cold, &pages); p.Region == region && cold.Count() > 0 {
					t.Errorf("%s: %d pages are cold that were touched in the window", m.Name, cold.Count())
				}
			}
		})
	}
}
