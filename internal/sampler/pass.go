package sampler

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/memcg"
	"mglru_exporter/internal/process"
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

// next returns a group whose pass may begin now, or how long to wait. Passes
// wait for the budget; the one that has waited longest goes first.
func (s *Sampler) next(now time.Time) (*group, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var first *group
	for _, g := range s.groups {
		if !g.running && (first == nil || g.due.Before(first.due) || g.due.Equal(first.due) && g.path < first.path) {
			first = g
		}
	}
	if first == nil {
		return nil, time.Second
	}
	if wait := first.due.Sub(now); wait > 0 {
		return nil, min(wait, discoverEvery)
	}
	if wait := s.budget.wait(now, first.cost); wait > 0 {
		return nil, min(wait, discoverEvery)
	}
	first.running = true
	return first, 0
}

// pass runs one pass of a group and puts it back into the schedule.
func (s *Sampler) pass(ctx context.Context, g *group) {
	begin, first := time.Now(), !g.primed
	cost, err := s.passOf(ctx, g)
	now := time.Now()
	s.budget.spend(now, cost)
	interval := s.nextAfter(g, first)
	s.mu.Lock()
	g.mu.Lock()
	if delay := begin.Sub(g.due); delay > 0 {
		g.stats.Delay += delay.Seconds()
	}
	g.mu.Unlock()
	g.due = g.due.Add(interval)
	if g.due.Before(now) { // do not run passes in a row to catch up
		g.due = now.Add(interval)
	}
	g.cost = cost
	g.running = false
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
	return s.passOf(ctx, g)
}

func (s *Sampler) passOf(ctx context.Context, g *group) (used time.Duration, err error) {
	if !g.adopt(s.plan.Load()) {
		return 0, ErrUnknownMemcg
	}
	if s.deps.Ended != nil {
		defer func() { s.deps.Ended(g.path, err) }()
	}
	begin := s.deps.Now()
	used = cpuTime(func() { err = s.runPass(ctx, g, begin) })
	if errors.Is(err, errIdle) {
		if g.empty(s.deps.Now) {
			s.publish()
		}
		return used, nil
	}
	g.mu.Lock()
	g.stats.Passes++
	g.observeDuration(s.deps.Now().Sub(begin))
	if err != nil && ctx.Err() == nil {
		g.stats.Failures[reason(err)]++
	}
	g.mu.Unlock()
	if errors.Is(err, memcg.ErrGone) {
		s.remove(g)
	}
	s.publish()
	return used, err
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
	pids, err := s.deps.Cgroups.Procs(g.path)
	if err != nil {
		return err
	}
	procs, unknown := s.identify(g, pids)
	if len(procs) == 0 && len(unknown) == 0 && g.idle() {
		return errIdle
	}
	if err := s.begin(g, procs, unknown, begin); err != nil {
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
	s.cpu.add("age", out.CPU)
	s.verify(g, procs)
	g.blind = s.otherWalkers()
	blind = blind || g.blind

	start := threadTime()
	defer func() { s.cpu.add("window", threadTime()-start) }()
	limit := s.regionsLeft(g)
	s.lose(out, ageErr)
	g.mu.Lock()
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
			g.mu.Lock()
			g.tracker.Lose(tgid)
			g.mu.Unlock()
		}
	}
	whose := out.Lost == 0 || len(out.LostBy) > 0
	if whose && (ageErr == nil || source.ReasonOf(ageErr) != source.ReasonProbesOff) {
		return
	}
	for _, g := range s.groups {
		g.mu.Lock()
		g.tracker.LoseAll()
		g.mu.Unlock()
	}
}

// otherWalkers looks for walkers that the source does not see, and tells
// whether there are any.
func (s *Sampler) otherWalkers() bool {
	b, ok := s.src.(source.Blind)
	if !ok {
		return false
	}
	active := b.OtherWalkers()
	s.walkers.Store(&active)
	return len(active) > 0
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

// identify returns which of the pids are to be watched. What is gone by now, or
// has no memory, is left out; of what is unknown nobody can tell.
func (s *Sampler) identify(g *group, pids []int) (procs []heat.Process, unknown map[int]bool) {
	procs, unknown = make([]heat.Process, 0, len(pids)), map[int]bool{}
	for _, pid := range pids {
		p, err := s.deps.Processes.Identify(pid)
		switch re := g.entry.Processes.Comm; {
		case unsure(err):
			s.deps.Log.Debug("Identifying a process", "memcg", g.path, "pid", pid, "err", err)
			unknown[pid] = true
		case err == nil && (re == nil || re.MatchString(p.Comm)):
			procs = append(procs, p)
		}
	}
	return procs, unknown
}

// unsure tells whether an error leaves it open if there is a process with memory.
func unsure(err error) bool {
	return err != nil && !errors.Is(err, process.ErrGone) && !errors.Is(err, process.ErrNoMemory)
}

// begin starts the pass in the tracker. Those that are unknown are dropped, as are
// all that are not listed, for want of anything that could be said of them.
func (s *Sampler) begin(g *group, procs []heat.Process, unknown map[int]bool, at time.Time) error {
	refused, err := s.own(g, procs)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stats.Failures[watchFailed] += uint64(refused)
	doubtful := 0 // of those that the tracker takes for gone
	resets := g.tracker.Begin(at, procs, func(id heat.ProcessID) bool {
		if !unknown[id.TGID] {
			p, err := s.deps.Processes.Identify(id.TGID)
			if !unsure(err) {
				return err != nil || p.Start != id.Start
			}
			unknown[id.TGID] = true
		}
		doubtful++
		return true
	})
	resets[heat.ResetExit] -= doubtful
	g.stats.Failures[identifyFailed] += uint64(len(unknown))
	for r, n := range resets {
		g.stats.Resets[string(r)] += uint64(n)
	}
	return nil
}

// own gives a group these processes and no others, and tells the source whom to
// watch. It returns how many of them the source cannot.
func (s *Sampler) own(g *group, procs []heat.Process) (refused int, err error) {
	s.watching.Lock()
	defer s.watching.Unlock()
	s.mu.Lock()
	if s.groups[g.path] != g {
		s.mu.Unlock()
		return 0, memcg.ErrGone
	}
	var add, remove []int
	listed := make(map[int]bool, len(procs))
	var movedFrom []*group
	var movedPIDs []int
	for _, p := range procs {
		listed[p.TGID] = true
		switch o := s.owner[p.TGID]; o {
		case g:
		case nil:
			add = append(add, p.TGID)
		default:
			movedFrom = append(movedFrom, o)
			movedPIDs = append(movedPIDs, p.TGID)
		}
		s.owner[p.TGID] = g
	}
	for tgid, o := range s.owner {
		if o == g && !listed[tgid] {
			delete(s.owner, tgid)
			remove = append(remove, tgid)
		}
	}
	s.mu.Unlock()
	for i, o := range movedFrom {
		o.mu.Lock()
		o.tracker.Forget(movedPIDs[i])
		o.stats.Resets[string(heat.ResetMoved)]++
		o.mu.Unlock()
	}
	unwatched, err := s.src.Watch(add, remove)
	if err != nil {
		unwatched = add
	}
	if len(unwatched) > 0 {
		// What is not watched gets no record of its walk, and so reads
		// unobserved until another pass has better luck.
		s.mu.Lock()
		for _, tgid := range unwatched {
			if s.owner[tgid] == g {
				delete(s.owner, tgid)
			}
		}
		s.mu.Unlock()
		s.deps.Log.Debug("Watching processes", "memcg", g.path, "refused", len(unwatched), "err", err)
	}
	return len(unwatched), nil
}

// verify drops processes that are no longer what they were before the pass, or of
// which nobody can tell.
func (s *Sampler) verify(g *group, procs []heat.Process) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range procs {
		now, err := s.deps.Processes.Identify(p.TGID)
		if unsure(err) {
			s.deps.Log.Debug("Identifying a process", "memcg", g.path, "pid", p.TGID, "err", err)
			g.stats.Failures[identifyFailed]++
			g.tracker.Forget(p.TGID)
			continue
		}
		if r := g.tracker.Verify(p.TGID, now.ProcessID, err == nil); r != "" {
			g.stats.Resets[string(r)]++
		}
	}
}

// readResidency reads what the processes have in memory, as far as the config
// wants it looked at: for the source, too, there is nothing else. It comes before
// the pass that ends a window; see heat.Tracker.
func (s *Sampler) readResidency(ctx context.Context, g *group, procs []heat.Process) map[int]*heat.Residency {
	start := threadTime()
	defer func() { s.cpu.add("residency", threadTime()-start) }()
	all := make(map[int]*heat.Residency, len(procs))
	for _, p := range procs {
		res := g.residency[p.TGID]
		if res == nil {
			res = &heat.Residency{}
		}
		err := s.deps.Processes.Residency(ctx, p.TGID, res)
		switch {
		case err == nil:
			res.Select(&g.entry.Regions)
			all[p.TGID] = res
		case errors.Is(err, process.ErrGone), errors.Is(err, process.ErrNoMemory), ctx.Err() != nil:
		default:
			g.mu.Lock()
			g.stats.Failures[residencyFailed]++
			g.mu.Unlock()
			s.deps.Log.Debug("Reading residency", "memcg", g.path, "pid", p.TGID, "err", err)
		}
	}
	g.residency = all
	return all
}

// regionsLeft is how many regions a group may watch within max_tracked_bytes,
// given what the others do.
func (s *Sampler) regionsLeft(g *group) int {
	limit := int(g.cfg.Limits.MaxTrackedBytes / heat.RegionSize)
	s.mu.RLock()
	others := slices.Collect(maps.Values(s.groups))
	s.mu.RUnlock()
	for _, o := range others {
		if o != g {
			o.mu.Lock()
			_, n := o.tracker.Size()
			o.mu.Unlock()
			limit -= n
		}
	}
	return max(limit, 1)
}
