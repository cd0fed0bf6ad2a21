// Package sampler runs passes on a schedule and within a CPU budget, and turns
// what they harvest into snapshots.
package sampler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mglru_exporter/internal/config"
	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/memcg"
	"mglru_exporter/internal/source"
)

// Cgroups is the memory controller's cgroup tree.
type Cgroups interface {
	// Walk lists all cgroups that there are.
	Walk() ([]memcg.Group, error)
	// Procs lists the processes of one cgroup; memcg.ErrGone if it was removed.
	Procs(path string) ([]int, error)
}

// Processes reads /proc.
type Processes interface {
	// Identify returns process.ErrGone or process.ErrNoMemory where there is
	// nothing to watch.
	Identify(pid int) (heat.Process, error)
	// Residency replaces what is in res by what the process has in memory.
	Residency(ctx context.Context, pid int, res *heat.Residency) error
}

// Deps are what a Sampler works with.
type Deps struct {
	Cgroups   Cgroups
	Processes Processes
	// SkipReasons are the skip reasons whose counters exist from the start.
	SkipReasons []string
	// Generations lists the kernel's generations of all memcgs; nil for none.
	Generations func() ([]memcg.LRUGen, error)
	// Visit is shown each part that is classified as a window ends; nil for
	// nobody.
	Visit heat.Visitor
	// Now is the clock that snapshots tell the time by; nil for time.Now.
	Now func() time.Time
	// Ended is called after each pass, once its snapshot is there, with what
	// Pass returns; nil for nobody.
	Ended func(memcg string, err error)
	// Script says what to do when; nil for the schedule.
	Script Script
	// Log must not be nil.
	Log *slog.Logger
}

// A Sampler ages memcgs and keeps the last snapshot.
type Sampler struct {
	cfg  *config.Config
	deps Deps
	src  source.Source

	patterns []pattern
	budget   budget
	cpu      cpuParts
	snapshot atomic.Pointer[heat.Snapshot]
	walkers  atomic.Pointer[[]string]
	// generations are by path, as they were last looked at; generationsDue is
	// when that will be done again.
	generations    atomic.Pointer[map[string][]heat.NodeGenerations]
	generationsDue time.Time

	mu      sync.RWMutex // guards owner, groups and their being published
	owner   map[int]*group
	groups  map[string]*group
	missing map[string]uint64
	removed uint64
}

// pattern is one entry of the config's memcgs.
type pattern struct {
	memcg.Pattern
	entry *config.Memcg
}

// New returns a Sampler that does nothing before Run.
func New(cfg *config.Config, src source.Source, deps Deps) (*Sampler, error) {
	s := &Sampler{
		cfg:     cfg,
		deps:    deps,
		src:     src,
		budget:  newBudget(cfg.Aging.CPUBudget),
		cpu:     newCPUParts(),
		owner:   map[int]*group{},
		groups:  map[string]*group{},
		missing: map[string]uint64{},
	}
	if s.deps.Now == nil {
		s.deps.Now = time.Now
	}
	for i := range cfg.Memcgs {
		p, err := memcg.CompilePattern(cfg.Memcgs[i].Path)
		if err != nil {
			return nil, fmt.Errorf("memcg %q: %w", cfg.Memcgs[i].Path, err)
		}
		s.patterns = append(s.patterns, pattern{p, &cfg.Memcgs[i]})
	}
	// The most specific first: then the first that matches wins.
	slices.SortStableFunc(s.patterns, func(a, b pattern) int {
		switch {
		case b.Less(a.Pattern):
			return -1
		case a.Less(b.Pattern):
			return 1
		}
		return 0
	})
	if src, ok := src.(source.MappingSource); ok {
		s.deps.SkipReasons = src.SkipReasons()
	}
	s.publish()
	return s, nil
}

// Snapshot returns the last snapshot, which is never nil and never changes.
func (s *Sampler) Snapshot() *heat.Snapshot { return s.snapshot.Load() }

// Ready returns why there is nothing to scrape yet, or nil: it is ready once
// any memcg has had its first window.
func (s *Sampler) Ready() error {
	snap := s.Snapshot()
	for i := range snap.Memcgs {
		if !snap.Memcgs[i].WindowEnd.IsZero() {
			return nil
		}
	}
	if len(snap.Memcgs) == 0 {
		return errors.New("no memcg matches the config")
	}
	return errors.New("no pass has ended yet")
}

// discoverEvery is how often the cgroup tree is looked through.
const discoverEvery = 10 * time.Second

// Start starts the source. Run calls it; who calls Pass must.
func (s *Sampler) Start() error {
	if err := s.src.Start(s.take); err != nil {
		return fmt.Errorf("start source %s: %w", s.src.Info().Name, err)
	}
	return nil
}

// Run starts the source and runs passes until the context ends.
func (s *Sampler) Run(ctx context.Context) error {
	if err := s.Start(); err != nil {
		return err
	}
	defer func() {
		if err := s.src.Close(); err != nil {
			s.deps.Log.Warn("Detaching was not clean", "err", err)
		}
	}()
	if s.deps.Script != nil {
		s.follow(ctx)
		return nil
	}
	var running sync.WaitGroup
	defer running.Wait()
	slots := max(1, s.cfg.Aging.Concurrency)
	ended := make(chan struct{}, slots) // has room for all: no pass waits to tell
	var discovered time.Time
	for {
		now := time.Now()
		if every := min(discoverEvery, s.shortestInterval()); now.Sub(discovered) >= every {
			s.lookAtGenerations(now)
			if err := s.Discover(now); err != nil {
				s.deps.Log.Warn("Listing cgroups", "err", err)
			}
			discovered = now
		}
		wait := discoverEvery
		if slots > 0 {
			var g *group
			if g, wait = s.next(now); g != nil {
				slots--
				running.Go(func() {
					s.pass(ctx, g)
					ended <- struct{}{}
				})
				continue
			}
		}
		timer := time.NewTimer(max(wait, time.Millisecond))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-ended:
			slots++
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (s *Sampler) shortestInterval() time.Duration {
	d := s.cfg.Aging.Interval
	for i := range s.cfg.Memcgs {
		d = min(d, s.cfg.Memcgs[i].Interval)
	}
	return d
}

// Discover brings the groups in line with the cgroups that there are. A cgroup
// that was made anew under the path of a removed one is another group.
func (s *Sampler) Discover(now time.Time) error {
	list, walkErr := s.deps.Cgroups.Walk()
	type wanted struct {
		memcg.Group
		entry *config.Memcg
	}
	want := map[string]wanted{}
	matched := map[*config.Memcg]bool{}
	for _, c := range list {
		for _, p := range s.patterns {
			if p.Match(c.Path) {
				matched[p.entry] = true
				want[c.Path] = wanted{c, p.entry}
				break
			}
		}
	}
	s.mu.Lock()
	var gone []*group
	for path, g := range s.groups {
		// What a walk that met an error did not list may be there all the same.
		if w, ok := want[path]; !ok && walkErr == nil || ok && w.Inode != g.inode {
			gone = append(gone, g)
		}
	}
	for _, p := range s.patterns {
		if matched[p.entry] || !p.Literal() {
			delete(s.missing, p.entry.Path)
			continue
		}
		if s.missing[p.entry.Path]++; s.missing[p.entry.Path] == 1 {
			s.deps.Log.Warn("Memcg in the config does not exist (yet)", "memcg", p.entry.Path)
		}
	}
	s.mu.Unlock()
	for _, g := range gone {
		s.remove(g)
	}
	for _, w := range want {
		if err := s.ensure(w.Group, w.entry, now); err != nil {
			return err
		}
	}
	s.publish()
	return walkErr
}

// ensure makes the group of a cgroup if there is none at its path.
func (s *Sampler) ensure(c memcg.Group, entry *config.Memcg, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.groups[c.Path] != nil {
		return nil
	}
	g, err := newGroup(c, entry, s.cfg, s.deps.SkipReasons)
	if err != nil {
		return err
	}
	g.due = now
	s.groups[c.Path] = g
	return nil
}

// remove forgets a group whose cgroup is gone.
func (s *Sampler) remove(g *group) {
	s.mu.Lock()
	var tgids []int
	if s.groups[g.path] == g {
		delete(s.groups, g.path)
		s.removed++
	}
	for tgid, o := range s.owner {
		if o == g {
			delete(s.owner, tgid)
			tgids = append(tgids, tgid)
		}
	}
	s.mu.Unlock()
	if _, err := s.src.Watch(nil, tgids); err != nil {
		s.deps.Log.Warn("Forgetting the processes of a removed memcg", "memcg", g.path, "err", err)
	}
}

// take is the source's sink: it hands each record to the group that owns the
// process.
func (s *Sampler) take(records []heat.Record) {
	start := threadTime()
	s.mu.RLock()
	for i := 0; i < len(records); {
		g := s.owner[records[i].TGID]
		j := i + 1
		for j < len(records) && s.sameOwner(&records[j], &records[i], g) {
			j++
		}
		if g != nil {
			g.take(records[i:j])
		}
		i = j
	}
	s.mu.RUnlock()
	used := threadTime() - start
	s.cpu.add("fold", used)
	s.budget.spend(time.Now(), used)
}

func (s *Sampler) sameOwner(r, before *heat.Record, g *group) bool {
	return r.TGID == before.TGID || s.owner[r.TGID] == g
}

// publish makes a new snapshot of all groups.
func (s *Sampler) publish() {
	s.mu.RLock()
	defer s.mu.RUnlock()
	snap := &heat.Snapshot{Source: s.src.Info(), Self: heat.SelfStats{
		BPFMemoryBytes: s.src.MemoryBytes(),
		CPUSeconds:     s.cpu.seconds(),
		MemcgsRemoved:  s.removed,
	}}
	if w := s.walkers.Load(); w != nil {
		snap.Self.OtherWalkers = *w
	}
	var generations map[string][]heat.NodeGenerations
	if all := s.generations.Load(); all != nil {
		generations = *all
	}
	for _, g := range s.groups {
		m := g.snapshot()
		m.Generations = generations[m.Path]
		snap.Memcgs = append(snap.Memcgs, m)
	}
	for path, n := range s.missing {
		snap.Memcgs = append(snap.Memcgs, heat.MemcgSnapshot{Path: path, Passes: heat.PassStats{
			Failures: map[string]uint64{"memcg_missing": n},
		}})
	}
	slices.SortFunc(snap.Memcgs, func(a, b heat.MemcgSnapshot) int {
		if a.Path < b.Path {
			return -1
		}
		if a.Path > b.Path {
			return 1
		}
		return 0
	})
	s.snapshot.Store(snap)
}
