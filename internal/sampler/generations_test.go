package sampler

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/memcg"
)

func TestGenerations(t *testing.T) {
	m := newMachine()
	m.add(1, "/a", 100, 10)
	s := started(t, m, twoPasses)
	reads := 0
	list := []memcg.LRUGen{
		{ID: 1, Path: "/", Nodes: []memcg.LRUGenNode{{Node: 0, Gens: []memcg.Generation{{AnonPages: 9}}}}},
		{ID: 2, Path: "/a", Nodes: []memcg.LRUGenNode{
			{Node: 0, Gens: []memcg.Generation{{Seq: 4, Age: 3 * time.Second, AnonPages: 1, FilePages: 2}, {Seq: 5, Age: time.Second, FilePages: 3}}},
			{Node: 1},
		}},
	}
	var readErr error
	s.deps.Generations = func() ([]memcg.LRUGen, error) {
		reads++
		return list, readErr
	}
	now := time.Now()
	look := func(after time.Duration) []heat.NodeGenerations {
		t.Helper()
		now = now.Add(after)
		s.lookAtGenerations(now)
		discover(t, s)
		return group1(t, s, "/a").Generations
	}
	want := []heat.NodeGenerations{
		{Node: 0, Generations: []heat.Generation{{Age: 3 * time.Second, AnonBytes: 4096, FileBytes: 8192}, {Age: time.Second, FileBytes: 12288}}},
		{Node: 1, Generations: []heat.Generation{}},
	}
	if diff := cmp.Diff(want, look(0)); diff != "" {
		t.Errorf("generations (-want +got):\n%s", diff)
	}
	pass(t, s, "/a", 1)
	if diff := cmp.Diff(want, group1(t, s, "/a").Generations); diff != "" {
		t.Errorf("after a pass (-want +got):\n%s", diff)
	}
	list = list[:1]
	if got := look(generationsEvery / 2); reads != 1 || len(got) != 2 {
		t.Errorf("they were read again too soon: %v", got)
	}
	if got := look(generationsEvery * 4); reads != 2 || len(got) != 0 {
		t.Errorf("%d reads; a memcg that is not listed has %v", reads, got)
	}
	list, readErr = nil, errors.New("permission denied")
	if got := look(generationsEvery * 4); reads != 3 || len(got) != 0 {
		t.Errorf("%d reads; what cannot be read is %v", reads, got)
	}
}
