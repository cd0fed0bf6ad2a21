//go:build guest

package guest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mglru_exporter/bpf"
	"mglru_exporter/internal/process"
	"mglru_exporter/internal/source"
)

// TestHooksAndStockAgree has both sources watch the same process at the same
// time, each with passes of its own, in turn the first: what the one's pass
// clears is for the other what another walker has cleared. Both must
// agree with the ledger, and so with each other, page by page.
func TestHooksAndStockAgree(t *testing.T) {
	const memcg = "/test/agree"
	w := StartWorkload(t, memcg)
	for _, a := range exactAreas() {
		w.Map(t, a)
	}
	log := testLog(t)
	hooks := newRigOf(t, source.NewHooks(bpf.HooksOptions{Log: log}, process.NewFS("/proc"), lruGen, "/sys"), "", memcg)
	stock := newRigOf(t, newStock(t, bpf.StockOptions{Log: log}), "", memcg)
	rigs := []*rig{hooks, stock}
	for _, r := range rigs {
		r.mustPass(t, memcg)
	}
	w.EndPass()
	for window := range 6 {
		for pass := range hooks.cfg.Aging.PassesPerWindow {
			for i, m := range w.Mappings {
				if m.Kind == FilePrivate && !m.Write {
					m.TouchEvery(t, 1+(window+pass+i)%4)
					continue
				}
				touches[(window*3+pass*(1+i%3)+i)%len(touches)].do(t, m)
			}
			rigs[0].mustPass(t, memcg)
			rigs[1].mustPass(t, memcg)
			rigs[0], rigs[1] = rigs[1], rigs[0]
			w.EndPass()
		}
		for _, r := range rigs {
			checkWindow(t, r, w, memcg, fmt.Sprintf("window %d, %s", window+1, r.src.Info().Name))
		}
	}
	for _, r := range rigs {
		r.report(t, r.src.Info().Name+",both")
	}
}

// TestClearRefsMakesNothingCold has somebody clear all accessed bits of the
// process, over and over, while it is watched.
func TestClearRefsMakesNothingCold(t *testing.T) {
	const memcg = "/test/clearrefs"
	w := StartWorkload(t, memcg)
	busy := w.Map(t, Area{Name: "busy", Kind: Anon, Size: 8 * mib, Node: 0})
	huge := w.Map(t, Area{Name: "huge", Kind: THP, Size: 4 * mib, Node: 0})
	file := w.Map(t, Area{Name: "file", Kind: File, Size: 4 * mib, Node: 1, Skew: 7})
	idle := w.Map(t, Area{Name: "idle", Kind: Shmem, Size: 4 * mib, Node: 1, Skew: 7})
	r := newRig(t, bpf.HooksOptions{}, "", memcg)
	r.mustPass(t, memcg)
	w.EndPass()

	var clearing sync.WaitGroup
	stop := make(chan struct{})
	clearing.Go(func() {
		file := fmt.Sprintf("/proc/%d/clear_refs", w.PID)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := os.WriteFile(file, []byte("1"), 0); err != nil {
				t.Errorf("clear_refs: %v", err)
				return
			}
			time.Sleep(2 * time.Millisecond) // it need not take a whole CPU
		}
	})
	sure := 0
	for range 6 {
		r.window(t, w, memcg, func(int) {
			busy.TouchAll(t)
			huge.TouchAll(t)
			file.TouchEvery(t, 2)
		})
		for _, m := range []*Mapping{busy, huge, file, idle} {
			got := r.count(m)
			t.Logf("%s: %v", m.Name, got)
			touched := m.NumPages()
			switch m {
			case file:
				touched /= 2
			case idle:
				touched = 0
			}
			// Where a bit was cleared between two windows the whole one is unobserved.
			if got.cold > m.NumPages()-touched {
				t.Errorf("%s: %v, though %d pages were touched before every pass", m.Name, got, touched)
			}
			if got.hot+got.warm > touched {
				t.Errorf("%s: %v, though %d pages were touched", m.Name, got, touched)
			}
			if got.hot == touched && got.cold == m.NumPages()-touched {
				sure++
			}
		}
	}
	close(stop)
	clearing.Wait()
	t.Logf("exact in %d of 24 cases", sure)
	// The hooks see that all is cleared, but not what was young: they have only
	// windows of which nothing can be said.
	if sure == 0 && sourceName() == "stock" {
		t.Error("nothing was ever observed")
	}
}

// TestMappingsThatWalksLeaveOut changes, between passes, what decides whether a
// walk visits a mapping. Most of it does not show in /proc/PID/maps.
func TestMappingsThatWalksLeaveOut(t *testing.T) {
	const memcg = "/test/leftout"
	w := StartWorkload(t, memcg)
	always := w.Map(t, Area{Name: "always", Kind: Anon, Size: 4 * mib, Node: 0})
	changes := []struct{ name, off, on string }{
		{"locked", "mlock locked", "munlock locked"},
		{"random", "madvise random random", "madvise random normal"},
		{"sequential", "madvise sequential sequential", "madvise sequential normal"},
		{"none", "mprotect none none", "mprotect none rw"},
	}
	var mappings []*Mapping
	for _, c := range changes {
		mappings = append(mappings, w.Map(t, Area{Name: c.name, Kind: Anon, Size: 4 * mib, Node: 1}))
	}
	r := newRig(t, bpf.HooksOptions{}, "aging: {passes_per_window: 3}", memcg)
	r.mustPass(t, memcg)
	w.EndPass()
	window := func() {
		r.window(t, w, memcg, func(int) { always.TouchAll(t) })
		if got, want := r.count(always), (tally{hot: always.NumPages()}); got != want {
			t.Errorf("always: %v, want %v", got, want)
		}
	}
	check := func(when string, want tally) {
		t.Helper()
		for _, m := range mappings {
			if got := r.count(m); got != want {
				t.Errorf("%s, %s: %v, want %v", when, m.Name, got, want)
			}
		}
	}
	n := mappings[0].NumPages()
	window()
	check("visited", tally{cold: n})
	for _, c := range changes {
		w.Do(t, "%s", c.off)
	}
	window()
	check("left out", tally{unobserved: n})
	window()
	check("left out still", tally{unobserved: n})
	for _, c := range changes {
		w.Do(t, "%s", c.on)
	}
	window()
	check("visited again, of unknown past", tally{unobserved: n})
	window()
	check("visited for a window", tally{cold: n})
}

// TestWithoutSwapOnlyFilesAreObserved: where aging is to leave out what could only
// be swapped, no such page is judged.
func TestWithoutSwapOnlyFilesAreObserved(t *testing.T) {
	const memcg = "/test/noswap"
	w := StartWorkload(t, memcg)
	file := w.Map(t, Area{Name: "file", Kind: File, Size: 4 * mib, Node: 0, Skew: 5})
	var others []*Mapping
	for _, a := range []Area{
		{Name: "anon", Kind: Anon, Size: 4 * mib, Node: 1},
		{Name: "thp", Kind: THP, Size: 4 * mib, Node: 0},
		{Name: "cow", Kind: FilePrivate, Size: 4 * mib, Node: 0, Write: true},
		{Name: "shmem", Kind: Shmem, Size: 4 * mib, Node: 1, Skew: 5},
	} {
		others = append(others, w.Map(t, a))
	}
	r := newRig(t, bpf.HooksOptions{}, "aging: {can_swap: false}", memcg)
	r.mustPass(t, memcg)
	w.EndPass()
	for range 3 {
		r.window(t, w, memcg, func(int) {
			file.TouchEvery(t, 2)
			for _, m := range others {
				m.TouchEvery(t, 3)
			}
		})
		if got, want := r.count(file), (tally{hot: file.NumPages() / 2, cold: file.NumPages() / 2}); got != want {
			t.Errorf("file: %v, want %v", got, want)
		}
		for _, m := range others {
			if got := r.count(m); got.cold+got.warm != 0 {
				t.Errorf("%s: %v, want none of it cold", m.Name, got)
			}
		}
	}
}

// TestFilesOfAnotherMemcgAreUnobserved: the page cache is charged to who first
// reads a file, and no walk of another memcg looks at it.
func TestFilesOfAnotherMemcgAreUnobserved(t *testing.T) {
	first := StartWorkload(t, "/test/reader")
	const file = "/data/shared"
	area := Area{Name: "file", Kind: File, Size: 4 * mib, Node: 0, Path: file, Skew: 5}
	first.Map(t, area)
	const memcg = "/test/second-reader"
	w := StartWorkload(t, memcg)
	area.Exists = true
	theirs := w.Map(t, area)
	own := w.Map(t, Area{Name: "own", Kind: File, Size: 4 * mib, Node: 0, Skew: 5})
	r := newRig(t, bpf.HooksOptions{}, "", memcg)
	r.mustPass(t, memcg)
	w.EndPass()
	for range 3 {
		r.window(t, w, memcg, func(int) {
			theirs.TouchAll(t)
			own.TouchEvery(t, 2)
		})
		if got, want := r.count(theirs), (tally{unobserved: theirs.NumPages()}); got != want {
			t.Errorf("file that another memcg has read: %v, want %v", got, want)
		}
		if got, want := r.count(own), (tally{hot: own.NumPages() / 2, cold: own.NumPages() / 2}); got != want {
			t.Errorf("file of its own: %v, want %v", got, want)
		}
	}
}

// TestColdSinceBefore: memory that nobody has touched since before the exporter
// started is cold all the same, once it has been watched for a window.
func TestColdSinceBefore(t *testing.T) {
	const memcg = "/test/before"
	w := StartWorkload(t, memcg)
	for _, a := range exactAreas() {
		if a.Watchable() {
			w.Map(t, a)
		}
	}
	before := newRig(t, bpf.HooksOptions{}, "aging: {passes_per_window: 2}", memcg)
	for range 3 {
		before.mustPass(t, memcg)
	}
	r := newRig(t, bpf.HooksOptions{}, "aging: {passes_per_window: 2}", memcg)
	r.mustPass(t, memcg)
	for range 2 {
		r.window(t, w, memcg, func(int) {})
		for _, m := range w.Mappings {
			if got, want := r.count(m), (tally{cold: m.NumPages()}); got != want {
				t.Errorf("%s: %v, want %v", m.Name, got, want)
			}
		}
	}
}

// TestNonleafBitIsRefused: before 6.12 a walk that clears the bits of page-table
// pages hides what is below them from all other walks.
func TestNonleafBitIsRefused(t *testing.T) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	release := unix.ByteSliceToString(u.Release[:])
	hides := os.Getenv("MGLRU_KERNEL") == "debian-6.1" // ours has it repaired
	set, _ := setEnabled(t)
	const memcg = "/test/nonleaf"
	w := StartWorkload(t, memcg)
	m := w.Map(t, Area{Name: "anon", Kind: Anon, Size: 4 * mib, Node: 1})
	r := newRig(t, bpf.HooksOptions{}, "aging: {passes_per_window: 2}", memcg)
	r.mustPass(t, memcg)
	w.EndPass()
	set("0x7")
	missing := source.Preflight("stock")[0].Missing()
	if !hides {
		if len(missing) != 0 {
			t.Errorf("%s: missing %+v, want nothing", release, missing)
		}
		r.window(t, w, memcg, func(int) { m.TouchAll(t) })
		if got, want := r.count(m), (tally{hot: m.NumPages()}); got != want {
			t.Errorf("%v, want %v", got, want)
		}
		return
	}
	if len(missing) != 1 || !strings.Contains(missing[0].Repair, "echo 0x3 > "+bpf.EnabledPath) {
		t.Errorf("%s: missing %+v, want the bit and its repair", release, missing)
	}
	m.TouchAll(t)
	if _, err := r.Pass(t.Context(), memcg); source.ReasonOf(err) != source.ReasonDisabled {
		t.Errorf("pass with the bit set: %v, want reason %s", err, source.ReasonDisabled)
	}
}

// TestManyMemcgs: a pass must not read lru_gen, which lists them all.
func TestManyMemcgs(t *testing.T) {
	MakeCgroup(t, "/test/many")
	const n = 300
	for i := range n {
		dir := filepath.Join(cgroupRoot, "/test/many", strconv.Itoa(i))
		if i == 0 {
			if err := os.WriteFile(filepath.Join(cgroupRoot, "/test/many/cgroup.subtree_control"), []byte("+memory"), 0); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { RemoveCgroup(t, dir) })
	}
	const memcg = "/test/many/busy"
	w := StartWorkload(t, memcg)
	m := w.Map(t, Area{Name: "anon", Kind: Anon, Size: 2 * mib, Node: 0})
	r := newRig(t, bpf.HooksOptions{}, "aging: {passes_per_window: 2}", memcg)
	took := func(f func()) time.Duration {
		start := time.Now()
		f()
		return time.Since(start)
	}
	first := took(func() { r.mustPass(t, memcg) })
	var later time.Duration
	for range 10 {
		m.TouchAll(t)
		later += took(func() { r.mustPass(t, memcg) }) / 10
	}
	read := took(func() {
		if _, err := os.ReadFile(lruGen); err != nil {
			t.Fatal(err)
		}
	})
	t.Logf("first pass %v, later ones %v, reading lru_gen %v", first, later, read)
	if got, want := r.count(m), (tally{hot: m.NumPages()}); got != want {
		t.Errorf("%v, want %v", got, want)
	}
}
