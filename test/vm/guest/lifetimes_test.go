//go:build guest

package guest

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

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
