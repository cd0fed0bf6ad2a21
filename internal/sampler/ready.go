package sampler

import (
	"errors"
	"fmt"
	"maps"
	"strings"

	"mglru_exporter/internal/config"
	"mglru_exporter/internal/memcg"
)

// Ready returns why there is nothing to scrape yet, or nil. The sampler is ready
// once the source is attached and each memcg of the first look at the cgroups has
// had a pass, whatever came of that. Where the config matches none, that is at once.
func (s *Sampler) Ready() error {
	if !s.started.Load() {
		return errors.New("the source is not attached yet")
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch {
	case s.untried == nil:
		return errors.New("the cgroups have not been listed yet")
	case len(s.untried) > 0:
		return fmt.Errorf("of the memcgs that match the config %d have had no pass yet", len(s.untried))
	}
	return nil
}

// looked notes what the first look at the cgroups has found.
func (s *Sampler) looked() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.untried != nil {
		return
	}
	s.untried = make(map[string]bool, len(s.groups))
	for path := range s.groups {
		s.untried[path] = true
	}
}

// tried notes that passes of memcgs have ended, and are published.
func (s *Sampler) tried(memcgs []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, path := range memcgs {
		delete(s.untried, path)
	}
}

// triedAll notes that no memcg is waited for.
func (s *Sampler) triedAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.untried = map[string]bool{}
}

// logUnmatched logs the paths in the config that match no memcg: once, and when
// that changes. Of a list that is not whole it believes only what is on it. The
// caller holds mu.
func (s *Sampler) logUnmatched(p *plan, list []memcg.Group, partial bool, matched map[*config.Memcg]bool) {
	maps.DeleteFunc(s.unmatched, func(path string, _ bool) bool { return !p.names(path) })
	for i := range p.patterns {
		q := &p.patterns[i]
		path := q.entry.Path
		switch found := matched[q.entry] || q.matchesAny(list); {
		case found && s.unmatched[path]:
			delete(s.unmatched, path)
			s.deps.Log.Info("The path in the config matches a memcg now", "memcg", path)
		case !found && !partial && !s.unmatched[path]:
			s.unmatched[path] = true
			args := []any{"memcg", path}
			if other := q.elsewhere(list); other != "" {
				args = append(args, "did_you_mean", other)
			}
			s.deps.Log.Warn("The path in the config matches no memcg (yet)", args...)
		}
	}
}

// matchesAny reports whether a pattern matches a memcg, even one that another
// entry of the config wins.
func (p *pattern) matchesAny(list []memcg.Group) bool {
	for i := range list {
		if p.Match(list[i].Path) {
			return true
		}
	}
	return false
}

// elsewhere returns the memcg nearest to the root that a pattern would match if it
// began further down: the config says /db.service, and there is
// /system.slice/db.service. It returns "" if there is none.
func (p *pattern) elsewhere(list []memcg.Group) (path string) {
	deep, err := memcg.CompilePattern("/**" + p.String())
	if err != nil {
		return ""
	}
	for i := range list {
		if c := list[i].Path; deep.Match(c) && (path == "" || strings.Count(c, "/") < strings.Count(path, "/")) {
			path = c
		}
	}
	return path
}
