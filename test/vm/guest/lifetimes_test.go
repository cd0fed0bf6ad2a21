//go:build guest

package guest

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"mglru_exporter/bpf"
)

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
