package sampler

import (
	"errors"
	"io/fs"
	"time"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/memcg"
)

// generationsEvery is how often the kernel's generations are looked at, at most.
const generationsEvery = 30 * time.Second

// generationsRest is how many times as long as it takes nobody looks at them: the
// kernel lists all memcgs at once, which takes a tenth of a second and more
// where there are a thousand.
const generationsRest = 100

// lookAtGenerations reads the generations of all memcgs, unless it was done not
// long ago. They show in the next snapshot.
func (s *Sampler) lookAtGenerations(now time.Time) {
	if s.deps.Generations == nil || now.Before(s.generationsDue) {
		return
	}
	begin := time.Now()
	used := cpuTime(func() {
		list, err := s.deps.Generations()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.deps.Log.Debug("Reading the kernel's generations", "err", err)
		}
		all := generationsOf(list)
		s.generations.Store(&all)
	})
	s.cpu.add("generations", used)
	s.budget.spend(now, used)
	s.generationsDue = now.Add(max(generationsEvery, generationsRest*time.Since(begin)))
}

// generationsOf sorts generations by the path of their memcg.
func generationsOf(list []memcg.LRUGen) map[string][]heat.NodeGenerations {
	all := make(map[string][]heat.NodeGenerations, len(list))
	for i := range list {
		nodes := make([]heat.NodeGenerations, len(list[i].Nodes))
		for j, n := range list[i].Nodes {
			gens := make([]heat.Generation, len(n.Gens))
			for k, g := range n.Gens {
				gens[k] = heat.Generation{Age: g.Age, AnonBytes: g.AnonPages * heat.PageSize, FileBytes: g.FilePages * heat.PageSize}
			}
			nodes[j] = heat.NodeGenerations{Node: n.Node, Generations: gens}
		}
		all[list[i].Path] = nodes
	}
	return all
}
