//go:build guest

package guest

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"mglru_exporter/bpf"
	"mglru_exporter/internal/heat"
)

// window runs the passes of one window, touching before each.
func (r *rig) window(t testing.TB, w *Workload, memcg string, touch func(pass int)) {
	t.Helper()
	for pass := range r.cfg.Aging.PassesPerWindow {
		touch(pass)
		r.mustPass(t, memcg)
		w.EndPass()
	}
}

// count returns the classes of a mapping in the last window.
func (r *rig) count(m *Mapping) (got tally) {
	m.Regions(allPages(m), func(region uint64, inside heat.Bitmap) {
		for _, p := range r.parts[m.w.PID] {
			if p.Region == region {
				pages, h, w, c := and(&p.Pages, &inside), and(&p.Hot, &inside), and(&p.Warm, &inside), and(&p.Cold, &inside)
				got.add(&pages, &h, &w, &c)
			}
		}
	})
	return got
}

// TestReclaimNeverMakesTouchedPagesCold has the memcg reclaimed from, again and
// again, while pages are touched.
func TestReclaimNeverMakesTouchedPagesCold(t *testing.T) {
	const memcgPath = "/test/reclaim"
	w := StartWorkload(t, memcgPath)
	busy := w.Map(t, Area{Name: "busy", Kind: File, Size: 16 * mib, Node: 0})
	anon := w.Map(t, Area{Name: "anon", Kind: Anon, Size: 16 * mib, Node: 1})
	w.Map(t, Area{Name: "idle", Kind: File, Size: 16 * mib, Node: 1})
	r := newRig(t, bpf.HooksOptions{}, "", memcgPath)
	r.mustPass(t, memcgPath)
	w.EndPass()
	for range 5 {
		r.window(t, w, memcgPath, func(int) {
			busy.TouchAll(t)
			anon.TouchAll(t)
			// EAGAIN says that less than asked for was reclaimed.
			err := os.WriteFile(filepath.Join(cgroupRoot, memcgPath, "memory.reclaim"), []byte("2M"), 0)
			if err != nil && !errors.Is(err, unix.EAGAIN) {
				t.Fatalf("reclaim: %v", err)
			}
		})
		for _, m := range []*Mapping{busy, anon} {
			got := r.count(m)
			t.Logf("%s: %v", m.Name, got)
			if got.cold != 0 {
				t.Errorf("%s: %v, though every page was touched before every pass", m.Name, got)
			}
		}
	}
}

// TestLostRecordsAreUnobserved uses a ring that is far too small, and keeps its
// reader off the CPU while the walk runs.
func TestLostRecordsAreUnobserved(t *testing.T) {
	pinToOneCPU(t)
	const memcgPath = "/test/lost"
	w := StartWorkload(t, memcgPath)
	m := w.Map(t, Area{Name: "anon", Kind: Anon, Size: 256 * mib, Node: 0})
	r := newRig(t, bpf.HooksOptions{RingBytes: 4096}, "", memcgPath)
	r.mustPass(t, memcgPath)
	w.EndPass()
	for range 3 {
		r.window(t, w, memcgPath, func(int) { m.TouchEvery(t, 64) })
		got := r.count(m)
		t.Log(got)
		touched := m.NumPages() / 64
		if got.cold != 0 || got.hot > touched || got.warm != 0 {
			t.Errorf("%v; with records lost at most %d pages can be hot, and nothing cold or warm", got, touched)
		}
	}
	if n := r.memcg(t, memcgPath).Passes.Lost; n == 0 {
		t.Error("no record was lost: the test tests nothing")
	} else {
		t.Logf("%d records lost", n)
	}
}

func pinToOneCPU(t *testing.T) {
	t.Helper()
	set := func(cpus ...int) {
		var mask unix.CPUSet
		for _, c := range cpus {
			mask.Set(c)
		}
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range tasks {
			tid, err := strconv.Atoi(task.Name())
			if err != nil {
				t.Fatal(err)
			}
			if err := unix.SchedSetaffinity(tid, &mask); err != nil && !errors.Is(err, unix.ESRCH) {
				t.Fatal(err)
			}
		}
	}
	set(1)
	t.Cleanup(func() { set(0, 1) })
}

// TestOnlyMatchingProcessesAreWalked: with a restriction in the config the
// kernel passes over the others.
func TestOnlyMatchingProcessesAreWalked(t *testing.T) {
	const memcgPath = "/test/filter"
	in, out := StartWorkload(t, memcgPath), StartWorkload(t, memcgPath)
	in.Do(t, "comm wanted")
	a := in.Map(t, Area{Name: "in", Kind: Anon, Size: 8 * mib, Node: 0})
	out.Map(t, Area{Name: "out", Kind: Anon, Size: 8 * mib, Node: 0})
	r := newRig(t, bpf.HooksOptions{}, "comm=wanted", memcgPath)
	for range 5 {
		a.TouchAll(t)
		r.mustPass(t, memcgPath)
	}
	if got, want := r.count(a), (tally{hot: a.NumPages()}); got != want {
		t.Errorf("the process that matches: %v, want %v", got, want)
	}
	m := r.memcg(t, memcgPath)
	if len(m.Series) != 1 || m.TrackedProcesses != 1 {
		t.Errorf("%d series of %d processes, want 1 of 1", len(m.Series), m.TrackedProcesses)
	}
}
