package sampler

import (
	"context"
	"errors"
	"slices"
	"time"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/memcg"
	"mglru_exporter/internal/source"
)

const (
	// notWalked is the skip reason for processes that no walk took up.
	notWalked = "not_walked"
	// otherWalker is the skip reason for passes during which a walker was
	// active that the source does not see.
	otherWalker = "other_walker"
	// identifyFailed is the failure reason where a process could not be identified
	// that may be there.
	identifyFailed = "identify"
	// residencyFailed is the failure reason where /proc/PID/pagemap could not
	// be read of a process that is there.
	residencyFailed = "residency"
	// watchFailed is the failure reason where a process could not be watched.
	watchFailed = "watch"
	// internalError is the failure reason for a window whose numbers did not
	// add up: a bug.
	internalError = "internal"
)

// pass runs one pass of a group and puts it back into the schedule. What it found
// shows with the next flush.
func (s *Sampler) pass(ctx context.Context, g *group) {
	begin, first := time.Now(), !g.primed
	cost, err := s.passOf(ctx, g)
	now := time.Now()
	s.budget.spend(now, cost)
	interval := s.nextAfter(g, first)
	g.lock()
	if delay := begin.Sub(g.due); delay > 0 {
		g.stats.Delay += delay.Seconds()
	}
	g.mu.Unlock()
	s.mu.Lock()
	g.due = g.due.Add(interval)
	if g.due.Before(now) { // do not run passes in a row to catch up
		g.due = now.Add(interval)
	}
	g.cost = cost
	delete(s.running, g)
	if s.groups[g.path] == g {
		s.queue.put(g)
	}
	s.mu.Unlock()
	if err != nil && ctx.Err() == nil {
		s.deps.Log.Debug("Pass failed", "memcg", g.path, "err", err)
	}
}

// ErrUnknownMemcg is returned by Pass for a path that Discover has not found, or
// that is not in the config any more.
var ErrUnknownMemcg = errors.New("memcg is not sampled")

// Pass runs one pass of a memcg now, whatever the schedule says, and returns
// the CPU time it used. Run calls it; tests may, if Run does not run.
func (s *Sampler) Pass(ctx context.Context, path string) (used time.Duration, err error) {
	s.mu.RLock()
	g := s.groups[path]
	s.mu.RUnlock()
	if g == nil {
		return 0, ErrUnknownMemcg
	}
	used, err = s.passOf(ctx, g)
	s.flush()
	return used, err
}

func (s *Sampler) passOf(ctx context.Context, g *group) (used time.Duration, err error) {
	if !g.adopt(s.plan.Load()) {
		return 0, ErrUnknownMemcg
	}
	defer func() {
		if s.deps.Ended != nil {
			s.deps.Ended(g.path, err)
		}
		s.ended.add(g.path)
	}()
	begin := s.deps.Now()
	g.parts, g.reads = 0, 0
	used = cpuTime(func() { err = s.runPass(ctx, g, begin) })
	s.countRegions(g)
	s.cpu.add("processes", used-(g.parts-g.reads))
	used += g.reads
	if errors.Is(err, errIdle) {
		g.empty(s.deps.Now)
		return used, nil
	}
	g.lock()
	g.stats.Passes++
	g.observeDuration(s.deps.Now().Sub(begin))
	if err != nil && ctx.Err() == nil {
		g.stats.Failures[reason(err)]++
	}
	g.mu.Unlock()
	if errors.Is(err, memcg.ErrGone) {
		s.remove(g)
	}
	return used, err
}

// part adds to the CPU time of a part of a pass.
func (s *Sampler) part(g *group, part string, d time.Duration) {
	g.parts += max(d, 0)
	s.cpu.add(part, d)
}

// errIdle is a pass with nothing to do: the memcg has no process.
var errIdle = errors.New("memcg has no process")

func reason(err error) string {
	switch {
	case errors.Is(err, memcg.ErrGone):
		return source.ReasonGone
	case errors.Is(err, errInternal):
		return internalError
	}
	return source.ReasonOf(err)
}

func (s *Sampler) runPass(ctx context.Context, g *group, begin time.Time) error {
	listing := s.listings.Add(1)
	pids, err := s.deps.Cgroups.Procs(g.path)
	if err != nil {
		return err
	}
	procs, unknown := s.identify(g, pids)
	if len(procs) == 0 && len(unknown) == 0 && g.idle() {
		return errIdle
	}
	if procs, err = s.begin(g, listing, procs, unknown, begin); err != nil {
		return err
	}
	if src, ok := s.src.(source.MappingSource); ok {
		return s.runMappings(ctx, g, src, procs)
	}

	// The first pass only wipes the slate, and makes a window of its own: then
	// what is resident shows at once, all of it unobserved.
	windowEnds := !g.primed || g.passes+1 >= g.cfg.Aging.PassesPerWindow
	var residency map[int]*heat.Residency
	if windowEnds {
		residency = s.readResidency(ctx, g, procs)
	}
	blind := s.otherWalkers() || g.blind
	out, ageErr := s.src.Age(ctx, source.Request{
		Path: g.path, Inode: g.inode, CanSwap: g.cfg.Aging.CanSwap, OnlyWatched: g.restricts(),
		Processes: procs, Residency: residency,
	})
	s.part(g, "age", out.CPU)
	s.verify(g, procs)
	g.blind = s.otherWalkers()
	blind = blind || g.blind

	start := threadTime()
	defer func() { s.part(g, "window", threadTime()-start) }()
	limit := s.regionsLeft(g)
	s.lose(out, ageErr)
	g.lock()
	defer g.mu.Unlock()
	g.stats.Lost += out.Lost
	if blind {
		g.tracker.LoseAll()
		g.stats.Skips[otherWalker]++
	}
	now := s.deps.Now()
	unwalked := g.tracker.EndPass(now, out.Nodes, ageErr != nil)
	g.stats.Skips[notWalked] += uint64(unwalked)
	g.passes++
	if !windowEnds {
		return ageErr
	}
	if err := s.endWindow(g, now, residency, limit); err != nil {
		return errors.Join(ageErr, err)
	}
	return ageErr
}

// lose tells the trackers what a pass knows to be lost. That may be of processes in
// any memcg: other walkers, such as kswapd, find their pages young meanwhile.
func (s *Sampler) lose(out source.Outcome, ageErr error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, tgid := range out.LostBy {
		if g := s.owner[tgid]; g != nil {
			g.lock()
			g.tracker.Lose(tgid)
			g.mu.Unlock()
		}
	}
	whose := out.Lost == 0 || len(out.LostBy) > 0
	if whose && (ageErr == nil || source.ReasonOf(ageErr) != source.ReasonProbesOff) {
		return
	}
	for _, g := range s.groups {
		g.lock()
		g.tracker.LoseAll()
		g.mu.Unlock()
	}
}

// otherWalkers asks for other walkers, and reports whether one of them leaves all
// memory unobserved.
func (s *Sampler) otherWalkers() (blind bool) {
	active := s.src.OtherWalkers()
	s.walkers.Store(&active)
	return slices.ContainsFunc(active, func(w heat.Walker) bool { return w.Unobserved == heat.UnobservedAll })
}

// errInternal is a bug of ours that showed before it could be published.
var errInternal = errors.New("internal error")

func (s *Sampler) endWindow(g *group, now time.Time, residency map[int]*heat.Residency, limit int) error {
	if err := g.tracker.SetParams(g.params(limit)); err != nil {
		return errors.Join(errInternal, err)
	}
	observers := heat.Observers{Part: s.deps.Visit}
	if s.deps.Window != nil {
		observers.Process = func(w *heat.ProcessWindow) { s.deps.Window(g.path, w) }
	}
	series, err := g.tracker.EndWindow(residency, observers)
	return s.publishWindow(g, now, series, err)
}

// publishWindow keeps a window that has ended for the snapshots to come, unless
// its numbers do not add up. The caller holds the group's mutex.
func (s *Sampler) publishWindow(g *group, now time.Time, series []heat.Series, err error) error {
	passes := g.passes
	g.passes, g.primed = 0, true
	if err != nil {
		s.deps.Log.Error("A window is not published, because its numbers do not add up", "memcg", g.path, "err", err)
		return errors.Join(errInternal, err)
	}
	g.last = heat.MemcgSnapshot{
		Path: g.path, WindowEnd: now, WindowPasses: passes, IdleAges: g.entry.IdleAges, Series: series,
		UntrackedRegions: g.tracker.Untracked(),
	}
	return nil
}

// readResidency reads what the processes have in memory, as far as the config
// wants it looked at: for the source, too, there is nothing else. It comes before
// the pass that ends a window; see heat.Tracker.
func (s *Sampler) readResidency(ctx context.Context, g *group, procs []heat.Process) map[int]*heat.Residency {
	start := threadTime()
	defer func() { s.part(g, "residency", threadTime()-start) }()
	all := make(map[int]*heat.Residency, len(procs))
	reads := s.reads(g)
	defer reads.end()
	for _, p := range procs {
		res := g.residency[p.TGID]
		if res == nil {
			res = &heat.Residency{}
		}
		err := reads.do(ctx, p, func() error { return s.deps.Processes.Residency(ctx, p.TGID, res) })
		if err != nil {
			res = s.unread(p.TGID, err)
		}
		if res != nil {
			res.Select(&g.entry.Regions)
			all[p.TGID] = res
		}
	}
	g.residency = all
	s.chargeReads(g, "residency", procs)
	return all
}

// regionsLeft is how many regions a group may watch within max_tracked_bytes, given
// how many the others watched as their last windows ended.
func (s *Sampler) regionsLeft(g *group) int {
	limit := int64(g.cfg.Limits.MaxTrackedBytes / heat.RegionSize)
	return int(max(limit-s.regions.Load()+g.counted.Load(), 1))
}

// countRegions brings the number of regions that all groups watch up to date with
// what one of them watches.
func (s *Sampler) countRegions(g *group) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.groups[g.path] != g {
		return // remove has taken away what was counted
	}
	g.mu.Lock()
	_, n := g.tracker.Size()
	g.mu.Unlock()
	s.regions.Add(int64(n) - g.counted.Swap(int64(n)))
}
