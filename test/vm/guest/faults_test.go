//go:build guest

package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mglru_exporter/bpf"
	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/memcg"
	"mglru_exporter/internal/sampler"
	"mglru_exporter/internal/source"
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

// TestProcessKilledDuringPass kills processes at random moments of passes.
func TestProcessKilledDuringPass(t *testing.T) {
	const memcgPath = "/test/killed"
	stays := StartWorkload(t, memcgPath)
	m := stays.Map(t, Area{Name: "stays", Kind: Anon, Size: 8 * mib, Node: 0})
	r := newRig(t, bpf.HooksOptions{}, "aging: {passes_per_window: 2}", memcgPath)
	r.mustPass(t, memcgPath)
	stays.EndPass()
	for i := range 12 {
		w := StartWorkload(t, memcgPath)
		w.Map(t, Area{Name: "anon", Kind: Anon, Size: 32 * mib, Node: i % 2})
		r.window(t, stays, memcgPath, func(int) { m.TouchAll(t) })
		done := make(chan struct{})
		go func() {
			defer close(done)
			time.Sleep(time.Duration(i) * 500 * time.Microsecond) // any moment will do
			w.Kill()
		}()
		r.window(t, stays, memcgPath, func(int) { m.TouchEvery(t, 2) })
		<-done
		if got := r.count(m); got.cold != 0 && got.cold != m.NumPages()/2 || got.warm != 0 {
			t.Errorf("round %d: the process that stays reads %v", i, got)
		}
	}
	m2 := r.memcg(t, memcgPath)
	if n := m2.Passes.Resets[string(heat.ResetExit)]; n < 10 {
		t.Errorf("%d resets because of exits, want about 12", n)
	}
	for reason, n := range m2.Passes.Failures {
		if n != 0 {
			t.Errorf("%d passes failed: %s", n, reason)
		}
	}
}

// TestMemcgRemovedDuringPass removes memcgs under passes' feet.
func TestMemcgRemovedDuringPass(t *testing.T) {
	const parent = "/test/removed"
	MakeCgroup(t, parent+"/stays")
	r := newRig(t, bpf.HooksOptions{}, "", parent+"/*")
	for i := range 10 {
		path := fmt.Sprintf("%s/%d", parent, i)
		w := StartWorkload(t, path)
		w.Map(t, Area{Name: "anon", Kind: Anon, Size: 32 * mib, Node: i % 2})
		if err := r.Discover(time.Now()); err != nil {
			t.Fatal(err)
		}
		r.mustPass(t, path)
		done := make(chan struct{})
		go func() {
			defer close(done)
			time.Sleep(time.Duration(i) * 700 * time.Microsecond) // any moment will do
			w.Kill()
			RemoveCgroup(t, filepath.Join(cgroupRoot, path))
		}()
		var err error
		for range 3 {
			if _, err = r.Pass(context.Background(), path); err != nil {
				break
			}
		}
		<-done
		if err != nil && !errors.Is(err, memcg.ErrGone) && !errors.Is(err, sampler.ErrUnknownMemcg) && source.ReasonOf(err) != source.ReasonGone {
			t.Errorf("pass over a memcg that goes: %v", err)
		}
	}
	if err := r.Discover(time.Now()); err != nil {
		t.Fatal(err)
	}
	snap := r.Snapshot()
	if len(snap.Memcgs) != 1 {
		t.Errorf("%d memcgs left, want the one that stays", len(snap.Memcgs))
	}
	if snap.Self.MemcgsRemoved != 10 {
		t.Errorf("%d memcgs counted as removed, want 10", snap.Self.MemcgsRemoved)
	}
}

// TestExecStartsAnew: after exec, nothing of the old image counts.
func TestExecStartsAnew(t *testing.T) {
	const memcgPath = "/test/exec"
	w := StartWorkload(t, memcgPath)
	w.Map(t, Area{Name: "before", Kind: Anon, Size: 8 * mib, Node: 0})
	r := newRig(t, bpf.HooksOptions{}, "aging: {passes_per_window: 2}", memcgPath)
	r.mustPass(t, memcgPath)
	w.EndPass()
	r.window(t, w, memcgPath, func(int) {})
	w.Exec(t)
	m := w.Map(t, Area{Name: "after", Kind: Anon, Size: 8 * mib, Node: 0})
	r.window(t, w, memcgPath, func(int) {})
	if got, want := r.count(m), (tally{unobserved: m.NumPages()}); got != want {
		t.Errorf("first window after exec: %v, want %v", got, want)
	}
	r.window(t, w, memcgPath, func(int) {})
	if got, want := r.count(m), (tally{cold: m.NumPages()}); got != want {
		t.Errorf("second window after exec: %v, want %v", got, want)
	}
	if n := r.memcg(t, memcgPath).Passes.Resets[string(heat.ResetExec)]; n != 1 {
		t.Errorf("%d resets because of exec, want 1", n)
	}
}

// TestForkedChildIsUnobservedFirst: a child has touched nothing, and that proves
// nothing before it was watched for a window.
func TestForkedChildIsUnobservedFirst(t *testing.T) {
	const memcgPath = "/test/fork"
	w := StartWorkload(t, memcgPath)
	m := w.Map(t, Area{Name: "anon", Kind: Anon, Size: 8 * mib, Node: 0})
	r := newRig(t, bpf.HooksOptions{}, "aging: {passes_per_window: 3}", memcgPath)
	r.mustPass(t, memcgPath)
	w.EndPass()
	var child int
	r.window(t, w, memcgPath, func(pass int) {
		m.TouchAll(t)
		if pass == 1 {
			child = w.Fork(t)
		}
	})
	for _, a := range areas(t, r.memcg(t, memcgPath), child) {
		if a.Hot+a.Warm+a.Cold != 0 {
			t.Errorf("child, node %d %v: hot %d warm %d cold %d before it was watched", a.Node, a.Type, a.Hot, a.Warm, a.Cold)
		}
	}
	if got, want := r.count(m), (tally{hot: m.NumPages()}); got != want {
		t.Errorf("parent: %v, want %v", got, want)
	}
}

// TestLeaderExits: a process whose first thread has exited is still watched, by
// its tgid.
func TestLeaderExits(t *testing.T) {
	const memcgPath = "/test/leader"
	w := StartWorkload(t, memcgPath)
	m := w.Map(t, Area{Name: "anon", Kind: Anon, Size: 8 * mib, Node: 0})
	w.ExitLeader(t)
	r := newRig(t, bpf.HooksOptions{}, "aging: {passes_per_window: 2}", memcgPath)
	for range 3 {
		r.mustPass(t, memcgPath)
	}
	got := r.count(m)
	t.Logf("a process without its leader reads %v", got)
	if got.cold != 0 && got.cold != m.NumPages() {
		t.Errorf("%v: neither seen as a whole nor unobserved as a whole", got)
	}
}

// TestPagesOfAnotherMemcgAreUnobserved: a process that moved leaves its charges
// behind, and the walk of its new memcg never looks at them.
func TestPagesOfAnotherMemcgAreUnobserved(t *testing.T) {
	w := StartWorkload(t, "/test/from")
	m := w.Map(t, Area{Name: "left", Kind: Anon, Size: 8 * mib, Node: 0})
	const to = "/test/to"
	MakeCgroup(t, to)
	t.Cleanup(w.Kill)
	if err := os.WriteFile(filepath.Join(cgroupRoot, to, "cgroup.procs"), []byte(strconv.Itoa(w.PID)), 0); err != nil {
		t.Fatal(err)
	}
	own := w.Map(t, Area{Name: "own", Kind: Anon, Size: 8 * mib, Node: 1})
	r := newRig(t, bpf.HooksOptions{}, "", to)
	r.mustPass(t, to)
	w.EndPass()
	for range 2 {
		r.window(t, w, to, func(int) {
			m.TouchAll(t)
			own.TouchAll(t)
		})
		if got, want := r.count(m), (tally{unobserved: m.NumPages()}); got != want {
			t.Errorf("pages charged to the old memcg: %v, want %v", got, want)
		}
		if got, want := r.count(own), (tally{hot: own.NumPages()}); got != want {
			t.Errorf("pages charged to the new memcg: %v, want %v", got, want)
		}
	}
	if n := r.memcg(t, to).Passes.Skips["foreign"]; n == 0 {
		t.Error("no walk was counted as skipping foreign pages")
	}
}

// TestMovedProcessIsFollowed: a process that moves between two sampled memcgs
// starts anew in the second.
func TestMovedProcessIsFollowed(t *testing.T) {
	w := StartWorkload(t, "/test/first")
	w.Map(t, Area{Name: "anon", Kind: Anon, Size: 8 * mib, Node: 0})
	MakeCgroup(t, "/test/second")
	t.Cleanup(w.Kill)
	r := newRig(t, bpf.HooksOptions{}, "", "/test/first", "/test/second")
	r.mustPass(t, "/test/first")
	if err := os.WriteFile(filepath.Join(cgroupRoot, "/test/second/cgroup.procs"), []byte(strconv.Itoa(w.PID)), 0); err != nil {
		t.Fatal(err)
	}
	r.mustPass(t, "/test/second")
	r.mustPass(t, "/test/first")
	r.mustPass(t, "/test/second")
	if m := r.memcg(t, "/test/second"); m.TrackedProcesses != 1 {
		t.Errorf("%d processes tracked where it went, want 1", m.TrackedProcesses)
	}
	m := r.memcg(t, "/test/first")
	if m.TrackedProcesses != 0 || m.Passes.Resets[string(heat.ResetMoved)] != 1 {
		t.Errorf("%d processes tracked where it was, resets %v; want none, and one moved", m.TrackedProcesses, m.Passes.Resets)
	}
}

// TestDisabled: MGLRU switched off under a running exporter is a counted failure
// and unobserved memory; switched on again, all is well a window later.
func TestDisabled(t *testing.T) {
	const memcgPath = "/test/disabled"
	w := StartWorkload(t, memcgPath)
	m := w.Map(t, Area{Name: "anon", Kind: Anon, Size: 8 * mib, Node: 0})
	r := newRig(t, bpf.HooksOptions{}, "aging: {passes_per_window: 2}", memcgPath)
	r.mustPass(t, memcgPath)
	before, err := os.ReadFile(bpf.EnabledPath)
	if err != nil {
		t.Fatal(err)
	}
	set := func(v string) {
		t.Helper()
		if err := os.WriteFile(bpf.EnabledPath, []byte(strings.TrimSpace(v)), 0); err != nil {
			t.Fatal(err)
		}
	}
	set("0")
	t.Cleanup(func() { set(string(before)) })
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
	set(string(before))
	for range 4 {
		r.mustPass(t, memcgPath)
	}
	if got, want := r.count(m), (tally{cold: m.NumPages()}); got != want {
		t.Errorf("enabled again: %v, want %v", got, want)
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
			if err := os.WriteFile(bpf.EnabledPath, []byte("y"), 0); err != nil {
				t.Fatal(err)
			}
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

// TestPreflight: on this kernel the hooks have all they need, and what they lack
// otherwise is named with a repair that works.
func TestPreflight(t *testing.T) {
	for _, r := range source.Preflight(sourceName()) {
		for _, m := range r.Missing() {
			t.Errorf("%s: missing %s: %s", r.Source, m.Name, m.Detail)
		}
	}
	before, err := os.ReadFile(bpf.EnabledPath)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(bpf.EnabledPath, []byte("0"), 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.WriteFile(bpf.EnabledPath, before, 0) })
	missing := source.Preflight(sourceName())[0].Missing()
	if len(missing) != 1 || missing[0].Name != "MGLRU enabled" || missing[0].Repair == "" {
		t.Errorf("with MGLRU disabled the preflight lacks %+v, want just that", missing)
	}
}

// TestDAMONMakesNothingCold: DAMON clears accessed bits that the hooks do not
// see cleared. While it runs, nothing reads as cold.
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
	if got := r.Snapshot().Self.OtherWalkers; len(got) != 1 || got[0] != "damon" {
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
