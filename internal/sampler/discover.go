package sampler

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"mglru_exporter/internal/config"
	"mglru_exporter/internal/memcg"
)

// discover is Discover for the schedule, which comes again and again: it logs an
// error when it is another one than the last time, and when it is over. It returns
// for how long not to come again, which depends on what it used.
func (s *Sampler) discover(now time.Time) (rest time.Duration) {
	text := ""
	used := cpuTime(func() {
		if err := s.Discover(now); err != nil {
			text = err.Error()
		}
	})
	s.cpu.add("discover", used)
	s.budget.spend(now, used)
	switch {
	case text == s.unlisted:
	case text == "":
		s.deps.Log.Info("All cgroups can be listed again")
	default:
		s.deps.Log.Warn("Listing cgroups", "err", text)
	}
	s.unlisted = text
	return time.Duration(float64(used) / (discoverShare * s.plan.Load().cfg.Aging.CPUBudget))
}

// chargeGarbage charges the budget for Go's garbage collector.
func (s *Sampler) chargeGarbage(now time.Time) {
	used := s.garbage.since()
	s.cpu.add("garbage", used)
	s.budget.spend(now, used)
}

// Discover brings the groups in line with the cgroups that there are, and that
// the config names. A cgroup that was made anew under the path of a removed one is
// another group.
func (s *Sampler) Discover(now time.Time) error {
	plan := s.plan.Load()
	list, walkErr := s.deps.Cgroups.Walk()
	type wanted struct {
		memcg.Group
		entry *config.Memcg
	}
	want := map[string]wanted{}
	matched := map[*config.Memcg]bool{} // by the entry that wins
	for _, c := range list {
		if entry := plan.entry(c.Path); entry != nil {
			matched[entry] = true
			want[c.Path] = wanted{c, entry}
		}
	}
	s.mu.Lock()
	s.omitted = len(want)
	for _, path := range s.beyond(slices.Collect(maps.Keys(want)), plan.cfg.Limits.MaxMemcgs) {
		delete(want, path)
	}
	s.omitted -= len(want)
	var gone []*group
	for path, g := range s.groups {
		// What a walk that met an error did not list may be there all the same.
		w, ok := want[path]
		if ok && w.Inode != g.inode || !ok && (walkErr == nil || plan.entry(path) == nil) {
			gone = append(gone, g)
		}
	}
	if len(s.missing) > 0 {
		s.memcgSet++ // the counts at least
	}
	maps.DeleteFunc(s.missing, func(path string, _ uint64) bool { return !plan.names(path) })
	for _, p := range plan.patterns {
		maybe := walkErr != nil && s.groups[p.entry.Path] != nil
		if matched[p.entry] || maybe || !p.Literal() {
			delete(s.missing, p.entry.Path)
			continue
		}
		s.memcgSet++
		s.missing[p.entry.Path]++
	}
	s.logUnmatched(plan, list, walkErr != nil, matched)
	s.mu.Unlock()
	for _, g := range gone {
		s.remove(g)
	}
	for _, w := range want {
		if err := s.ensure(w.Group, w.entry, plan.cfg, now); err != nil {
			return err
		}
	}
	if walkErr == nil || len(list) > 0 {
		s.looked()
	}
	s.publish()
	return walkErr
}

// beyond returns the paths that are too many. Memcgs that are watched come before others,
// so that new ones, which anybody may make, do not drive them out.
func (s *Sampler) beyond(paths []string, most int) []string {
	if len(paths) <= most {
		return nil
	}
	slices.SortFunc(paths, func(a, b string) int {
		x, y := s.groups[a] != nil, s.groups[b] != nil
		switch {
		case x == y:
			return cmp.Compare(a, b)
		case x:
			return -1
		}
		return 1
	})
	return paths[most:]
}

// ensure makes the group of a cgroup if there is none at its path. The next pass
// of one that is there comes no later than its interval from now, however long
// that was as it was put into the schedule.
func (s *Sampler) ensure(c memcg.Group, entry *config.Memcg, cfg *config.Config, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.groups[c.Path]; g != nil {
		if soon := now.Add(entry.Interval); soon.Before(g.due) {
			g.due = soon
			if g.place > 0 {
				s.queue.put(g)
			}
		}
		return nil
	}
	g, err := newGroup(c, entry, cfg, s.deps.FailReasons, s.deps.SkipReasons)
	if err != nil {
		return err
	}
	g.changes, g.stats.Since = &s.changes, s.deps.Now()
	g.due = now
	g.lock() // for the first time: the next snapshot shows the group
	g.mu.Unlock()
	s.groups[c.Path] = g
	s.queue.put(g)
	s.memcgSet++
	return nil
}

// remove forgets a group whose cgroup is gone, or is not in the config any more.
func (s *Sampler) remove(g *group) {
	s.watching.Lock()
	defer s.watching.Unlock()
	s.mu.Lock()
	var tgids []int
	if s.groups[g.path] == g {
		delete(s.groups, g.path)
		delete(s.untried, g.path)
		s.queue.remove(g)
		s.regions.Add(-g.counted.Swap(0))
		s.memcgSet++
		if s.plan.Load().entry(g.path) != nil {
			s.removed++
		}
	}
	for tgid := range g.owns {
		s.setOwner(tgid, nil)
		tgids = append(tgids, tgid)
	}
	s.mu.Unlock()
	if _, err := s.src.Watch(nil, tgids); err != nil {
		s.deps.Log.Warn("Forgetting the processes of a memcg", "memcg", g.path, "err", err)
	}
}
