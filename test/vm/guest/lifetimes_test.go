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

	"mglru_exporter/bpf"
	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/memcg"
	"mglru_exporter/internal/sampler"
	"mglru_exporter/internal/source"
)

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

// TestPagesOfADyingChildAreNeverCold: a memcg that was removed, or that is none any
// more, leaves its pages behind. The kernel says that they are charged to its
// parent, whose walks pass over them.
func TestPagesOfADyingChildAreNeverCold(t *testing.T) {
	for _, remove := range []bool{false, true} {
		t.Run("removed="+strconv.FormatBool(remove), func(t *testing.T) {
			const parent, child = "/test/dying", "/test/dying/child"
			w := StartWorkload(t, child)
			left := w.Map(t, Area{Name: "left", Kind: Anon, Size: 8 * mib, Node: 0})
			idle := w.Map(t, Area{Name: "idle", Kind: Anon, Size: 4 * mib, Node: 1})
			write := func(file, text string) {
				t.Helper()
				if err := os.WriteFile(filepath.Join(cgroupRoot, parent, file), []byte(text), 0); err != nil {
					t.Fatal(err)
				}
			}
			write("cgroup.subtree_control", "-memory")
			if remove {
				write("cgroup.procs", strconv.Itoa(w.PID))
				RemoveCgroup(t, filepath.Join(cgroupRoot, child))
			}
			t.Cleanup(w.Kill)
			own := w.Map(t, Area{Name: "own", Kind: Anon, Size: 4 * mib, Node: 1})
			r := newRig(t, bpf.HooksOptions{}, "aging: {passes_per_window: 2}", parent)
			r.mustPass(t, parent)
			w.EndPass()
			for range 3 {
				r.window(t, w, parent, func(int) {
					left.TouchAll(t)
					own.TouchEvery(t, 2)
				})
				got := r.count(left)
				t.Logf("charged to the child: %v", got)
				if got.cold+got.warm != 0 {
					t.Errorf("charged to the child, and touched before every pass: %v", got)
				}
				if idle := r.count(idle); got.unobserved > 0 && idle.cold > 0 {
					t.Errorf("charged to the child, and never touched: %v, though no walk looks at it", idle)
				}
				if got, want := r.count(own), (tally{hot: own.NumPages() / 2, cold: own.NumPages() / 2}); got != want {
					t.Errorf("charged to the parent: %v, want %v", got, want)
				}
			}
		})
	}
}

// TestMergedPagesAreNeverCold: ksmd replaces pages that were the memcg's by equal ones
// of another memcg, which walks pass over from then on.
func TestMergedPagesAreNeverCold(t *testing.T) {
	const ksm = "/sys/kernel/mm/ksm/"
	if _, err := os.Stat(ksm); err != nil {
		t.Logf("this kernel has no ksmd: %v", err)
		return
	}
	write := func(file, text string) {
		t.Helper()
		if err := os.WriteFile(ksm+file, []byte(text), 0); err != nil {
			t.Fatal(err)
		}
	}
	fullScans := func() int {
		t.Helper()
		b, err := os.ReadFile(ksm + "full_scans")
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(strings.TrimSpace(string(b)))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	merge := func(w *Workload) {
		t.Helper()
		w.Do(t, "madvise equal mergeable")
		write("run", "1")
		for from, deadline := fullScans(), time.Now().Add(answerTimeout); fullScans() < from+4; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("ksmd does not get along")
			}
		}
		write("run", "0")
	}
	const memcg = "/test/merged"
	other, w := StartWorkload(t, "/test/merged-first"), StartWorkload(t, memcg)
	area := Area{Name: "equal", Kind: Anon, Size: 4 * mib, Node: 0}
	other.Map(t, area)
	m := w.Map(t, area)
	write("pages_to_scan", "100000")
	write("max_page_sharing", "100000") // one page is enough for all
	t.Cleanup(func() { write("run", "2") })
	merge(other)
	r := newRig(t, bpf.HooksOptions{}, "aging: {passes_per_window: 2}", memcg)
	r.mustPass(t, memcg)
	w.EndPass()
	window := func() tally {
		r.window(t, w, memcg, func(int) { m.TouchAll(t) })
		return r.count(m)
	}
	if got, want := window(), (tally{hot: m.NumPages()}); got != want {
		t.Errorf("before: %v, want %v", got, want)
	}
	merge(w)
	unobserved := 0
	for range 3 {
		got := window()
		t.Log(got)
		if got.cold+got.warm != 0 {
			t.Errorf("merged, and touched before every pass: %v", got)
		}
		unobserved += got.unobserved
	}
	if unobserved == 0 {
		t.Error("no page is charged to the other memcg: the test tests nothing")
	}
}
