package sampler

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"mglru_exporter/internal/config"
	"mglru_exporter/internal/memcg"
)

// TestOldListingTakesNoProcess has a process move after one memcg's pass has listed
// it, and another memcg's pass list it before the first one goes on.
func TestOldListingTakesNoProcess(t *testing.T) {
	m := newMachine()
	p := m.add(1, "/a", 100, 10)
	m.add(2, "/a", 100, 10)
	m.add(3, "/b", 100, 10)
	s := started(t, m, "aging: {passes_per_window: 1}\n"+entries("/a", "/b"))
	pass(t, s, "/a", 2)
	pass(t, s, "/b", 2)
	m.onIdentify = func(pid int) {
		if pid != 2 {
			return
		}
		m.onIdentify, p.cgroup = nil, "/b"
		pass(t, s, "/b", 1)
	}
	pass(t, s, "/a", 1)
	pass(t, s, "/b", 1)
	a, b := group1(t, s, "/a"), group1(t, s, "/b")
	if a.TrackedProcesses != 1 || b.TrackedProcesses != 2 || a.Passes.Resets["moved"] != 1 || b.Passes.Resets["moved"] != 0 {
		t.Errorf("%d and %d processes tracked, resets %v and %v; want 1 and 2, and one moved from the first",
			a.TrackedProcesses, b.TrackedProcesses, a.Passes.Resets, b.Passes.Resets)
	}
	if got, want := pages(t, b, 1), ([4]uint64{10, 0, 90, 0}); got != want {
		t.Errorf("where it went it reads %v, want %v", got, want)
	}
	for _, s := range a.Series {
		if s.PID == 1 {
			t.Errorf("it still has a series where it was: %+v", s)
		}
	}
	p.cgroup = "/a"
	pass(t, s, "/a", 1)
	if got, want := pages(t, group1(t, s, "/a"), 1), ([4]uint64{0, 0, 0, 100}); got != want {
		t.Errorf("back again it reads %v, want %v", got, want)
	}
}

// TestSourceIsToldOfMoves: what it knows of a process is void in another memcg.
func TestSourceIsToldOfMoves(t *testing.T) {
	m := newMachine()
	p := m.add(1, "/a", 100, 10)
	m.add(2, "/b", 100, 10)
	s := started(t, m, entries("/a", "/b"))
	pass(t, s, "/a", 1)
	pass(t, s, "/b", 1)
	var added, removed []int
	m.onWatch = func(add, remove []int) { added, removed = append(added, add...), append(removed, remove...) }
	p.cgroup = "/b"
	pass(t, s, "/b", 1)
	if !slices.Equal(added, []int{1}) || !slices.Equal(removed, []int{1}) {
		t.Errorf("the source is told to add %v and to remove %v, want both 1", added, removed)
	}
	if !m.watched[1] || !m.watched[2] {
		t.Errorf("watched %v, want both", m.watched)
	}
}

// doubled lists processes as a cgroup tree of files does.
type doubled struct {
	*machine
	tree *memcg.Hierarchy
}

func (d doubled) Walk() ([]memcg.Group, error)     { return d.tree.Walk() }
func (d doubled) Procs(path string) ([]int, error) { return d.tree.Procs(path) }

// TestProcessThatTwoMemcgsList is in both as far as cgroup.procs goes, as a process
// with threads in two memcgs is in cgroup v1.
func TestProcessThatTwoMemcgsList(t *testing.T) {
	m := newMachine()
	m.add(1, "/leader", 100, 10)
	root, proc := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{
		root + "/cgroup.procs":         "",
		root + "/leader/cgroup.procs":  "1\n",
		root + "/another/cgroup.procs": "1\n",
		proc + "/1/cgroup":             "4:memory:/leader\n3:cpu:/another\n",
		proc + "/self/mountinfo":       fmt.Sprintf("1 2 0:3 / %s rw - cgroup none rw,memory\n", root),
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := memcg.Open(proc)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Parse("test", []byte("aging: {passes_per_window: 2}\n"+entries("/leader", "/another")))
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(cfg, m, Deps{Cgroups: doubled{m, tree}, Processes: m, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	discover(t, s)
	for range 6 {
		pass(t, s, "/leader", 1)
		pass(t, s, "/another", 1)
	}
	leader, another := group1(t, s, "/leader"), group1(t, s, "/another")
	if got, want := pages(t, leader, 1), ([4]uint64{10, 0, 90, 0}); got != want {
		t.Errorf("in its leader's memcg it reads %v, want %v", got, want)
	}
	if another.TrackedProcesses != 0 || len(another.Series) != 0 || leader.Passes.Resets["moved"] != 0 {
		t.Errorf("the other memcg tracks it (%d), or took it away: %v", another.TrackedProcesses, leader.Passes.Resets)
	}
}
