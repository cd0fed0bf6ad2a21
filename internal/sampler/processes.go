package sampler

import (
	"errors"
	"slices"
	"time"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/memcg"
	"mglru_exporter/internal/process"
)

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
			p.Memcg = g.inode
			procs = append(procs, p)
		}
	}
	return procs, unknown
}

// unsure tells whether an error leaves it open if there is a process with memory.
func unsure(err error) bool {
	return err != nil && !errors.Is(err, process.ErrGone) && !errors.Is(err, process.ErrNoMemory)
}

// begin starts the pass in the tracker, and returns the processes that are the
// group's. Those that are unknown are dropped, as are all that are not listed, for
// want of anything that could be said of them. Listing is as for own.
func (s *Sampler) begin(g *group, listing uint64, procs []heat.Process, unknown map[int]bool, at time.Time) ([]heat.Process, error) {
	procs, refused, err := s.own(g, listing, procs)
	if err != nil {
		return nil, err
	}
	g.lock()
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
	return procs, nil
}

// own gives a group these processes and no others, and tells the source whom to
// watch. It returns the processes less the ones that another group has had from a
// later listing of its memcg, and how many of them the source cannot watch. A
// process of another group is removed from the source and then added: what the
// source knows of it holds for the memcg that it was in.
func (s *Sampler) own(g *group, listing uint64, procs []heat.Process) (owned []heat.Process, refused int, err error) {
	s.watching.Lock()
	defer s.watching.Unlock()
	s.mu.Lock()
	if s.groups[g.path] != g {
		s.mu.Unlock()
		return nil, 0, memcg.ErrGone
	}
	g.listing = listing
	procs = slices.DeleteFunc(procs, func(p heat.Process) bool {
		o := s.owner[p.TGID]
		return o != nil && o.listing > listing
	})
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
			add, remove = append(add, p.TGID), append(remove, p.TGID)
		}
		s.setOwner(p.TGID, g)
	}
	for tgid := range g.owns {
		if !listed[tgid] {
			s.setOwner(tgid, nil)
			remove = append(remove, tgid)
		}
	}
	s.mu.Unlock()
	for i, o := range movedFrom {
		o.lock()
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
				s.setOwner(tgid, nil)
			}
		}
		s.mu.Unlock()
		s.deps.Log.Debug("Watching processes", "memcg", g.path, "refused", len(unwatched), "err", err)
	}
	return procs, len(unwatched), nil
}

// setOwner makes a group the owner of a process; nil leaves it without one. The
// caller holds mu.
func (s *Sampler) setOwner(tgid int, g *group) {
	if o := s.owner[tgid]; o != nil {
		delete(o.owns, tgid)
	}
	if g == nil {
		delete(s.owner, tgid)
		return
	}
	s.owner[tgid] = g
	g.owns[tgid] = struct{}{}
}

// verify drops processes that are no longer what they were before the pass, or of
// which nobody can tell.
func (s *Sampler) verify(g *group, procs []heat.Process) {
	g.lock()
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
