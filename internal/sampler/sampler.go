// Package sampler runs passes on a schedule and within a CPU budget, and turns
// what they harvest into snapshots.
package sampler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"mglru_exporter/internal/config"
	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/memcg"
	"mglru_exporter/internal/process"
	"mglru_exporter/internal/source"
)

// Deps are what a Sampler works with.
type Deps struct {
	Cgroups   source.Cgroups
	Processes source.Processes
	// Reads is what the reads of processes go through, those of the source too; nil if
	// none can hang.
	Reads *process.Guard
	// Unread returns what a process has in memory, where its pages cannot be read; nil
	// if that cannot be asked.
	Unread func(tgid int) (*heat.Residency, error)
	// FailReasons are the failure reasons of the source; nil for those of the source by
	// its name. A replay has the recorded source's.
	FailReasons []string
	// SkipReasons are the skip reasons whose counters exist from the start.
	SkipReasons []string
	// Generations lists the kernel's generations of all memcgs; nil for none.
	Generations func() ([]memcg.LRUGen, error)
	// Visit is shown each part that is classified as a window ends; nil for
	// nobody.
	Visit heat.Visitor
	// Window is shown each process region by region as a window of its memcg
	// ends, if the source sees pages; nil for nobody. It must not call the
	// Sampler.
	Window func(memcg string, w *heat.ProcessWindow)
	// Now is the clock that snapshots tell the time by; nil for time.Now.
	Now func() time.Time
	// Ended is called as each pass ends, before another one of its memcg begins, with
	// the error that Pass returns; it may be nil.
	Ended func(memcg string, err error)
	// Published is called once for each pass of a memcg, as soon as a snapshot shows
	// the pass; it may be nil.
	Published func(memcg string)
	// Script says what to do when; nil for the schedule.
	Script Script
	// Log must not be nil.
	Log *slog.Logger
}

// A Sampler ages memcgs and keeps the last snapshot.
type Sampler struct {
	deps Deps
	src  source.Source

	since time.Time
	plan  atomic.Pointer[plan]
	// reloaded has room for one word that the plan is another one.
	reloaded chan struct{}
	budget   budget
	garbage  garbage
	// ended are the passes that Deps.Published is yet to be told of.
	ended endings
	// regions is how many regions all groups watched as their last windows ended.
	regions  atomic.Int64
	cpu      cpuParts
	snapshot atomic.Pointer[heat.Snapshot]
	// changes are the groups that the snapshot no longer shows as they are.
	changes changes
	walkers atomic.Pointer[[]heat.Walker]
	// shown are the generations in the last snapshot, guarded by publishing.
	shown *map[string][]heat.NodeGenerations
	// generations are by path, as they were last looked at; generationsDue is
	// when that will be done again.
	generations    atomic.Pointer[map[string][]heat.NodeGenerations]
	generationsDue time.Time
	// unlisted is the last error of listing the cgroups; only the schedule uses it.
	unlisted string
	started  atomic.Bool

	// Each comes before mu. Watching is held from a change of owner until the source
	// knows of it: else who takes a process over may lose it to who let it go.
	publishing, watching sync.Mutex

	// listings counts the listings of memcgs' processes.
	listings atomic.Uint64

	hanging hanging
	// alive is when the schedule last showed a sign of life; nil before.
	alive atomic.Pointer[time.Time]

	mu      sync.RWMutex // guards owner, groups and their being published
	owner   map[int]*group
	groups  map[string]*group
	queue   queue
	running map[*group]time.Time // when its pass began
	missing map[string]uint64
	// omitted is how many memcgs limits.max_memcgs leaves out.
	omitted int
	// unmatched are the paths in the config that match no memcg.
	unmatched map[string]bool
	// untried are the memcgs of the first look at the cgroups that no pass is
	// published of; nil before.
	untried map[string]bool
	removed uint64
	// memcgSet is Snapshot.MemcgSet of groups and missing.
	memcgSet uint64
}

// New returns a Sampler that does nothing before Run.
func New(cfg *config.Config, src source.Source, deps Deps) (*Sampler, error) {
	p, err := newPlan(cfg)
	if err != nil {
		return nil, err
	}
	s := &Sampler{
		deps:      deps,
		src:       src,
		reloaded:  make(chan struct{}, 1),
		budget:    newBudget(cfg.Aging.CPUBudget),
		cpu:       newCPUParts(),
		owner:     map[int]*group{},
		groups:    map[string]*group{},
		running:   map[*group]time.Time{},
		missing:   map[string]uint64{},
		unmatched: map[string]bool{},
		memcgSet:  1,
		since:     time.Now(),
	}
	s.plan.Store(p)
	if s.deps.FailReasons == nil {
		s.deps.FailReasons = source.Reasons(src.Info().Name)
	}
	if s.deps.Now == nil {
		s.deps.Now = time.Now
	}
	if src, ok := src.(source.MappingSource); ok {
		s.deps.SkipReasons = src.SkipReasons()
	}
	s.limit(cfg)
	s.publish()
	return s, nil
}

// limit tells the source which processes are too large for it.
func (s *Sampler) limit(cfg *config.Config) {
	if l, ok := s.src.(source.Limiter); ok {
		l.SetMaxProcess(cfg.Referenced.MaxProcess)
	}
}

// Snapshot returns the last snapshot, which is never nil and never changes.
func (s *Sampler) Snapshot() *heat.Snapshot { return s.snapshot.Load() }

const (
	// discoverEvery is how often the cgroup tree is looked through, at most.
	discoverEvery = 10 * time.Second
	// discoverShare is the share of the CPU budget that looking through the tree may
	// use. A tree so large that it needs more is looked through less often.
	discoverShare = 0.25
	// publishEvery is how often passes make a new snapshot, at most.
	publishEvery = 250 * time.Millisecond
)

// Start starts the source, once. A source that does not start is closed.
func (s *Sampler) Start() error {
	if err := s.src.Start(s.take); err != nil {
		return errors.Join(fmt.Errorf("start source %s: %w", s.src.Info().Name, err), s.src.Close())
	}
	s.started.Store(true)
	return nil
}

// Run starts the source and runs passes until the context ends.
func (s *Sampler) Run(ctx context.Context) error {
	if err := s.Start(); err != nil {
		return err
	}
	return s.RunStarted(ctx)
}

// RunStarted is Run after Start.
func (s *Sampler) RunStarted(ctx context.Context) error {
	defer func() {
		if err := s.src.Close(); err != nil {
			s.deps.Log.Warn("Detaching was not clean", "err", err)
		}
	}()
	if s.deps.Script != nil {
		s.follow(ctx)
		return nil
	}
	if s.deps.Reads != nil {
		// No pass waits for a process that hangs.
		defer context.AfterFunc(ctx, s.deps.Reads.Close)()
	}
	var running sync.WaitGroup
	defer running.Wait()
	active := 0
	ended := make(chan struct{}, config.MaxConcurrency) // has room for all: no pass waits to tell
	var discover, published time.Time                   // when to look through the tree; the last flush
	unpublished := false
	defer s.flush()
	for {
		now, p := time.Now(), s.plan.Load()
		s.alive.Store(&now)
		if !now.Before(discover) {
			s.lookAtGenerations(now)
			rest := s.discover(now)
			discover = now.Add(max(min(discoverEvery, p.shortestInterval()), rest))
		}
		if unpublished && now.Sub(published) >= publishEvery {
			s.chargeGarbage(now)
			s.flush()
			unpublished, published = false, now
		}
		wait := discoverEvery
		if active < max(1, p.cfg.Aging.Concurrency) {
			var g *group
			if g, wait = s.next(now); g != nil {
				active++
				running.Go(func() {
					s.pass(ctx, g)
					ended <- struct{}{}
				})
				continue
			}
		}
		wait = min(wait, discover.Sub(now))
		if unpublished {
			wait = min(wait, published.Add(publishEvery).Sub(now))
		}
		timer := time.NewTimer(max(wait, time.Millisecond))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-ended:
			active--
			unpublished = true
		case <-s.reloaded:
			discover = time.Time{}
		case <-timer.C:
		}
		timer.Stop()
	}
}

// take is the source's sink: it hands each record to the group that owns the
// process.
func (s *Sampler) take(records []heat.Record) {
	used := cpuTime(func() { s.fold(records) })
	s.cpu.add("fold", used)
	s.budget.spend(time.Now(), used)
}

func (s *Sampler) fold(records []heat.Record) {
	s.mu.RLock()
	defer s.mu.RUnlock()
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
}

func (s *Sampler) sameOwner(r, before *heat.Record, g *group) bool {
	return r.TGID == before.TGID || s.owner[r.TGID] == g
}
