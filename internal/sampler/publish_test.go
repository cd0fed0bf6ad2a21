package sampler

import (
	"fmt"
	"log/slog"
	"testing"

	"mglru_exporter/internal/config"
	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/memcg"
)

// TestSnapshotsShareWhatHasNotChanged lets one memcg of three have a pass: the next
// snapshot has a new part for that one alone.
func TestSnapshotsShareWhatHasNotChanged(t *testing.T) {
	m := newMachine()
	for pid, path := range []string{"/a", "/b", "/c"} {
		m.add(pid+1, path, 100, 10)
	}
	s := started(t, m, entries("/a", "/b", "/c", "/missing"))
	before := s.Snapshot()
	pass(t, s, "/b", 1)
	after := s.Snapshot()
	for _, path := range []string{"/a", "/c", "/missing"} {
		if after.Memcg(path) == nil || after.Memcg(path) != before.Memcg(path) {
			t.Errorf("%s had no pass, and is copied", path)
		}
	}
	if b := after.Memcg("/b"); b == before.Memcg("/b") || b.Passes.Passes != 1 || len(b.Series) != 1 {
		t.Errorf("the snapshot does not show the pass of /b: %+v", b)
	}
	if n := before.Memcg("/b").Passes.Passes; n != 0 {
		t.Errorf("the snapshot before now shows %d passes of /b, want 0", n)
	}
	if before.MemcgSet != after.MemcgSet {
		t.Error("the set of memcgs is another one, want the same")
	}
	delete(m.cgroups, "/a")
	discover(t, s)
	if got := s.Snapshot(); got.Memcg("/a").Passes.Failures["memcg_missing"] != 1 || got.MemcgSet == after.MemcgSet {
		t.Errorf("a removed memcg shows as %+v, in the same set: %v", got.Memcg("/a"), got.MemcgSet == after.MemcgSet)
	}
	pass(t, s, "/c", 1)
	if c := s.Snapshot().Memcg("/c"); c.Passes.Passes != 1 {
		t.Errorf("after another one was removed, /c shows %d passes, want 1", c.Passes.Passes)
	}
}

// TestGenerationsShowWithoutAPass: they change for all memcgs at once.
func TestGenerationsShowWithoutAPass(t *testing.T) {
	m := newMachine()
	m.add(1, "/a", 100, 10)
	m.add(2, "/b", 100, 10)
	s := started(t, m, entries("/a", "/b"))
	pass(t, s, "/a", 1)
	all := map[string][]heat.NodeGenerations{"/b": {{Node: 3}}}
	s.generations.Store(&all)
	s.publish()
	if b := s.Snapshot().Memcg("/b"); len(b.Generations) != 1 || b.Generations[0].Node != 3 {
		t.Errorf("generations of /b: %+v, want those of node 3", b.Generations)
	}
	pass(t, s, "/b", 1)
	if b := s.Snapshot().Memcg("/b"); len(b.Generations) != 1 || b.Passes.Passes != 1 {
		t.Errorf("after a pass: %d generations, %d passes; want 1 and 1", len(b.Generations), b.Passes.Passes)
	}
	if a := s.Snapshot().Memcg("/a"); len(a.Generations) != 0 || a.Passes.Passes != 1 {
		t.Errorf("/a: %d generations, %d passes; want 0 and 1", len(a.Generations), a.Passes.Passes)
	}
}

// BenchmarkPublish publishes after one memcg of many has changed.
func BenchmarkPublish(b *testing.B) {
	for _, n := range []int{10, 1000, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			cfg, err := config.Parse("bench", []byte("memcgs: [{path: /**}]\n"))
			if err != nil {
				b.Fatal(err)
			}
			tree := forest(n)
			s, err := New(cfg, newMachine(), Deps{Cgroups: tree, Processes: newMachine(), Log: slog.New(slog.DiscardHandler)})
			if err != nil {
				b.Fatal(err)
			}
			if err := s.Discover(s.deps.Now()); err != nil {
				b.Fatal(err)
			}
			if got := len(s.Snapshot().Memcgs); got != n {
				b.Fatalf("%d memcgs, want %d", got, n)
			}
			g := s.groups["/5"]
			b.ReportAllocs()
			for b.Loop() {
				g.lock()
				g.stats.Passes++
				g.mu.Unlock()
				s.publish()
			}
		})
	}
}

// forest is as many cgroups.
type forest int

func (f forest) Walk() (all []memcg.Group, err error) {
	for i := range int(f) {
		all = append(all, memcg.Group{Path: fmt.Sprintf("/%d", i), Inode: uint64(i + 1)})
	}
	return all, nil
}

func (f forest) Procs(string) ([]int, error) { return nil, nil }
