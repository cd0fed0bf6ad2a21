package collector

import (
	"slices"
	"strconv"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/name"
)

// generations is what the kernel itself knows of a memcg's pages.
type generations struct {
	bytes, age *family
}

func newGenerations() generations {
	return generations{
		bytes: desc("generation_bytes",
			"Bytes of the memcg by the kernel's own generations, numbered from the oldest, 0, which it reclaims first. Each page that can be reclaimed counts once, in the memcg that it is charged to, even if no process maps it: this is what to sum over memcgs. Type anon includes shared memory here (shmem). Looked at every 30 seconds at most; absent where the kernel's lru_gen file cannot be read.", "memcg", "node", "type", "generation"),
		age: desc("generation_age_seconds",
			"Seconds since the kernel made the generation, when it was last looked at: pages of it have not been found in use since the next one was made. Every aging pass makes a new generation. Generations are numbered from the oldest, 0.", "memcg", "node", "generation"),
	}
}

// charged reports whether anything of a node is charged to the memcg.
func charged(n heat.NodeGenerations) bool {
	return slices.ContainsFunc(n.Generations, func(g heat.Generation) bool { return g.AnonBytes+g.FileBytes > 0 })
}

func (g generations) descs() []*family { return []*family{g.bytes, g.age} }

func (g generations) emit(e *emitter, m *heat.MemcgSnapshot) {
	path := name.Escape(m.Path)
	for i := range m.Generations {
		n := &m.Generations[i]
		node := nodeLabel(n.Node)
		if !charged(*n) {
			continue
		}
		for rank, gen := range n.Generations {
			label := strconv.Itoa(rank)
			e.gauge(g.bytes, float64(gen.AnonBytes), path, node, heat.Anon.String(), label)
			e.gauge(g.bytes, float64(gen.FileBytes), path, node, heat.File.String(), label)
			e.gauge(g.age, gen.Age.Seconds(), path, node, label)
		}
	}
}
