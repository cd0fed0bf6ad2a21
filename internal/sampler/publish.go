package sampler

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"mglru_exporter/internal/heat"
)

// changes lists the groups that have changed since the last snapshot. Its mutex may
// be taken while a group's is held.
type changes struct {
	mu     sync.Mutex
	groups []*group
}

func (c *changes) add(g *group) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.groups = append(c.groups, g)
}

func (c *changes) any() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.groups) > 0
}

func (c *changes) take() []*group {
	c.mu.Lock()
	defer c.mu.Unlock()
	groups := c.groups
	c.groups = nil
	return groups
}

// endings lists the memcg of each pass that has ended since the last snapshot.
type endings struct {
	mu     sync.Mutex
	memcgs []string
}

func (e *endings) add(memcg string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.memcgs = append(e.memcgs, memcg)
}

func (e *endings) take() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	memcgs := e.memcgs
	e.memcgs = nil
	return memcgs
}

// flush publishes what has changed, and then tells of the passes that have ended.
func (s *Sampler) flush() {
	memcgs := s.ended.take()
	used := cpuTime(func() {
		if s.changes.any() { // memcgs without a process have passes that change nothing
			s.publish()
		}
		s.tried(memcgs)
		if s.deps.Published != nil {
			for _, memcg := range memcgs {
				s.deps.Published(memcg)
			}
		}
	})
	s.cpu.add("publish", used)
	s.budget.spend(time.Now(), used)
}

// publish makes a new snapshot. It looks only at the groups that have changed since
// the last one; of the others the new snapshot has the old one's memcgs. Passes of
// several groups end at the same time: publishing keeps an older snapshot from
// replacing a newer one.
func (s *Sampler) publish() {
	s.publishing.Lock()
	defer s.publishing.Unlock()
	s.mu.RLock()
	defer s.mu.RUnlock()
	snap := &heat.Snapshot{Source: s.src.Info(), MemcgSet: s.memcgSet, Self: heat.SelfStats{
		Since:          s.since,
		BPFMemoryBytes: s.src.MemoryBytes(),
		CPUSeconds:     s.cpu.seconds(),
		MemcgsMatched:  len(s.groups) + s.omitted,
		MemcgsRemoved:  s.removed,
		Blocked:        s.blocked(),
		MemcgsOmitted:  s.omitted,
	}}
	if w := s.walkers.Load(); w != nil {
		snap.Self.OtherWalkers = *w
	}
	generations := s.generations.Load()
	changed := s.changes.take()
	before := s.snapshot.Load()
	if before == nil || before.MemcgSet != s.memcgSet || generations != s.shown {
		s.shown = generations
		snap.Memcgs = s.showAll(changed)
	} else {
		snap.Memcgs = slices.Clone(before.Memcgs)
		for _, g := range changed {
			if s.groups[g.path] == g {
				s.show(g)
				snap.Memcgs[g.at] = g.published
			}
		}
	}
	s.snapshot.Store(snap)
}

// show makes what the snapshots to come have of a group.
func (s *Sampler) show(g *group) {
	m := g.snapshot()
	if s.shown != nil {
		m.Generations = (*s.shown)[g.path]
	}
	g.published = m
}

// showAll returns all memcgs, sorted by path, and notes where each group is. It
// copies the counters of the changed groups only.
func (s *Sampler) showAll(changed []*group) []*heat.MemcgSnapshot {
	for _, g := range changed {
		s.show(g)
	}
	groups := slices.SortedFunc(maps.Values(s.groups), func(a, b *group) int { return cmp.Compare(a.path, b.path) })
	missing := slices.Sorted(maps.Keys(s.missing))
	all := make([]*heat.MemcgSnapshot, 0, len(groups)+len(missing))
	for _, g := range groups {
		for len(missing) > 0 && missing[0] < g.path {
			all = append(all, s.missingMemcg(missing[0]))
			missing = missing[1:]
		}
		m := *g.published
		m.Generations = nil
		if s.shown != nil {
			m.Generations = (*s.shown)[g.path]
		}
		g.published, g.at = &m, len(all)
		all = append(all, &m)
	}
	for _, path := range missing {
		all = append(all, s.missingMemcg(path))
	}
	return all
}

// missingMemcg is a memcg that the config names and that does not exist.
func (s *Sampler) missingMemcg(path string) *heat.MemcgSnapshot {
	return &heat.MemcgSnapshot{Path: path, Passes: heat.PassStats{
		Failures: map[string]uint64{"memcg_missing": s.missing[path]},
	}}
}
