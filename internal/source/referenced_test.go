package source

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/process"
)

// A fakeProc is a /proc of our own, of processes with one mapping each, and the
// /sys beside it.
type fakeProc struct {
	t        *testing.T
	dir, sys string
}

func newFakeProc(t *testing.T) *fakeProc {
	f := &fakeProc{t, t.TempDir(), t.TempDir()}
	f.write("vmstat", "pgscan_anon 0\npgscan_file 0\n")
	return f
}

// nodes says which nodes have memory.
func (f *fakeProc) nodes(list string) {
	f.t.Helper()
	f.writeTo(filepath.Join(f.sys, "devices/system/node/has_memory"), list)
}

func (f *fakeProc) write(name, text string) {
	f.t.Helper()
	f.writeTo(filepath.Join(f.dir, name), text)
}

func (f *fakeProc) writeTo(path, text string) {
	f.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// process makes a process, which has been cleared never.
func (f *fakeProc) process(tgid, rss, referenced int) {
	f.write(fmt.Sprint(tgid, "/smaps"), fmt.Sprintf("00010000-00090000 rw-p 00000000 00:00 0\nRss: %d kB\nReferenced: %d kB\nAnonymous: %d kB\n", rss, referenced, rss))
	f.write(fmt.Sprint(tgid, "/clear_refs"), "")
	f.write(fmt.Sprint(tgid, "/stat"), fmt.Sprintf("%d (fake) S 1%s 1 0 1 4096%s\n", tgid, strings.Repeat(" 0", 15), strings.Repeat(" 0", 29)))
}

// cleared tells whether a process has been cleared since it was made.
func (f *fakeProc) cleared(tgid int) bool {
	b, err := os.ReadFile(filepath.Join(f.dir, fmt.Sprint(tgid, "/clear_refs")))
	return err == nil && string(b) == "1"
}

func (f *fakeProc) source() *Referenced {
	r := NewReferenced(f.dir, f.sys)
	r.compareMemory = func(tgid, other int) (int, error) { return tgid - other, nil }
	return r
}

func proc(tgid int, image uint64) heat.Process {
	return heat.Process{ProcessID: heat.ProcessID{TGID: tgid, Start: uint64(tgid), Image: image}}
}

// observe returns hot, cold and unobserved kB.
func observe(t *testing.T, r *Referenced, p heat.Process) [3]uint64 {
	t.Helper()
	w, err := r.Observe(p, &heat.Selection{})
	if err != nil {
		t.Fatal(err)
	}
	if len(w.Areas) != 1 {
		t.Fatalf("%d areas", len(w.Areas))
	}
	a := w.Areas[0]
	return [3]uint64{a.Hot / 1024, a.Cold / 1024, a.Unobserved / 1024}
}

func TestObserve(t *testing.T) {
	f := newFakeProc(t)
	r := f.source()
	p := proc(7, 1)
	expect := func(what string, referenced int, want [3]uint64) {
		t.Helper()
		f.process(7, 100, referenced)
		if got := observe(t, r, p); got != want {
			t.Errorf("%s: hot, cold, unobserved are %v, want %v", what, got, want)
		}
		if !f.cleared(7) {
			t.Errorf("%s: was not cleared", what)
		}
	}
	expect("first", 100, [3]uint64{0, 0, 100})
	expect("second", 20, [3]uint64{20, 80, 0})
	f.write("vmstat", "pgscan_anon 2\npgscan_file 1\n")
	expect("while reclaim looks at 3 pages", 20, [3]uint64{20, 68, 12})
	expect("after it", 20, [3]uint64{20, 80, 0})
	p.Image = 2
	expect("after exec", 20, [3]uint64{0, 0, 100})
	p.Start = 8
	expect("after its pid was reused", 20, [3]uint64{0, 0, 100})
	expect("again", 20, [3]uint64{20, 80, 0})
	if _, err := r.Watch(nil, []int{7}); err != nil {
		t.Fatal(err)
	}
	expect("after it was not watched", 20, [3]uint64{0, 0, 100})
	if err := os.RemoveAll(filepath.Join(f.dir, "7")); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Observe(p, &heat.Selection{}); !errors.Is(err, process.ErrGone) {
		t.Errorf("after its end: %v", err)
	}
	if len(r.procs) != 0 || len(r.owners) != 0 {
		t.Errorf("a process that is gone is still known")
	}
}

// TestObserveAProcessThatMoves: the window of before was another memcg's. It may
// have begun a moment ago, so that little was accessed since.
func TestObserveAProcessThatMoves(t *testing.T) {
	f := newFakeProc(t)
	r := f.source()
	p := proc(7, 1)
	for i, tc := range []struct {
		memcg, want uint64 // unobserved kB
	}{{1, 100}, {1, 0}, {2, 100}, {2, 0}, {1, 100}, {1, 0}} {
		f.process(7, 100, 0)
		p.Memcg = tc.memcg
		w, err := r.Observe(p, &heat.Selection{})
		if err != nil {
			t.Fatal(err)
		}
		if got := w.Areas[0].Unobserved / 1024; got != tc.want || !f.cleared(7) {
			t.Errorf("pass %d, in memcg %d: %d kB are unobserved, want %d; cleared: %v", i, tc.memcg, got, tc.want, f.cleared(7))
		}
	}
}

// TestNodesThatComeOnline: once there is a second node, the first one has not all
// memory any more.
func TestNodesThatComeOnline(t *testing.T) {
	f := newFakeProc(t)
	r := f.source()
	expect := func(want int) {
		t.Helper()
		f.process(7, 100, 0)
		f.write("7/numa_maps", "00010000 default anon=25 N1=25 kernelpagesize_kB=4\n")
		w, err := r.Observe(proc(7, 1), &heat.Selection{})
		if err != nil {
			t.Fatal(err)
		}
		if len(w.Areas) != 1 || w.Areas[0].Node != want {
			t.Errorf("areas are %+v, want one on node %d", w.Areas, want)
		}
	}
	f.nodes("0\n")
	expect(0)
	f.nodes("0-1\n")
	expect(1)
	f.nodes("junk\n")
	if _, err := r.Observe(proc(7, 1), &heat.Selection{}); err == nil || !strings.Contains(err.Error(), "has_memory") {
		t.Errorf("a list of nodes that is none: %v", err)
	}
}

func TestAnAddressSpaceIsClearedForOneProcessOnly(t *testing.T) {
	f := newFakeProc(t)
	r := f.source()
	same := true
	r.compareMemory = func(a, b int) (int, error) {
		if a == 9 || b == 9 || !same {
			return a - b, nil
		}
		return 0, nil
	}
	for _, tgid := range []int{7, 8, 9} {
		f.process(tgid, 100, 20)
	}
	observe(t, r, proc(7, 1))
	observe(t, r, proc(9, 1))
	if !f.cleared(9) {
		t.Error("a process with a copy of the address space was not cleared")
	}
	w, err := r.Observe(proc(8, 1), &heat.Selection{})
	if err != nil {
		t.Fatal(err)
	}
	if f.cleared(8) || w.Areas[0].Unobserved != 100<<10 {
		t.Errorf("cleared %v, %+v", f.cleared(8), w)
	}
	if diff := cmp.Diff([]string{skipShared}, w.Skips); diff != "" {
		t.Errorf("skips (-want +got):\n%s", diff)
	}
	if got := observe(t, r, proc(7, 1)); got != [3]uint64{20, 80, 0} {
		t.Errorf("the owner has %v", got)
	}
	if got := observe(t, r, proc(8, 1)); got != [3]uint64{0, 0, 100} || f.cleared(8) {
		t.Errorf("the other has %v", got)
	}
	if _, err := r.Watch(nil, []int{7}); err != nil {
		t.Fatal(err)
	}
	observe(t, r, proc(8, 1))
	if !f.cleared(8) {
		t.Error("it was not cleared after the owner's end")
	}
	// exec makes an address space of its own.
	same = false
	f.process(8, 100, 20)
	observe(t, r, proc(8, 5))
	if !f.cleared(8) {
		t.Error("it was not cleared after exec")
	}
}

func TestWithoutKcmpAForkWaitsForAPass(t *testing.T) {
	f := newFakeProc(t)
	r := f.source()
	r.compareMemory = func(int, int) (int, error) { return 0, unix.ENOSYS }
	f.process(7, 100, 20)
	f.process(8, 100, 20)
	observe(t, r, proc(7, 1))
	observe(t, r, proc(8, 1))
	if f.cleared(8) {
		t.Error("cleared, although it may be a child of vfork")
	}
	observe(t, r, proc(8, 1))
	if !f.cleared(8) {
		t.Error("not cleared, although it has had a pass to execute a program")
	}
}

func TestReferencedRequirements(t *testing.T) {
	f := newFakeProc(t)
	met := func() (out []bool) {
		for _, r := range referencedRequirements(f.dir, f.sys) {
			out = append(out, r.Met)
			if !r.Met && (r.Repair == "" || r.Detail == "") || r.Met && (r.Repair != "" || r.Detail == "") {
				t.Errorf("requirement %+v", r)
			}
		}
		return out
	}
	f.nodes("")
	if diff := cmp.Diff([]bool{false, false, false, true, false, false, true}, met()); diff != "" {
		t.Errorf("nothing is there (-want +got):\n%s", diff)
	}
	f.write("self/clear_refs", "")
	f.write("self/smaps", "")
	f.write("self/status", "Name:\tx\nCapEff:\t0000000000080002\n")
	f.write("7/smaps", "")
	f.write("7/clear_refs", "")
	f.write("self/mountinfo", fmt.Sprintf("35 31 0:32 / %s rw,relatime - cgroup cgroup rw,memory\n", f.dir))
	f.nodes("0\n")
	if diff := cmp.Diff([]bool{true, true, true, true, true, true, true}, met()); diff != "" {
		t.Errorf("all is there (-want +got):\n%s", diff)
	}
	f.write("vmstat", "nr_free_pages 1\n")
	if r := reclaimRequirement(f.dir, f.sys); r.Met || !strings.Contains(r.Repair, "CONFIG_VM_EVENT_COUNTERS") {
		t.Errorf("without counters of reclaim: %+v", r)
	}
	f.nodes("0-1\n")
	if r := nodesRequirement(f.dir, f.sys); r.Met {
		t.Errorf("two nodes and no numa_maps: %+v", r)
	}
	f.write("self/numa_maps", "")
	if r := nodesRequirement(f.dir, f.sys); !r.Met {
		t.Errorf("two nodes and numa_maps: %+v", r)
	}
}
