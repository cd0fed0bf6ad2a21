package sampler

import (
	"fmt"
	"maps"
	"strings"

	"mglru_exporter/internal/config"
	"mglru_exporter/internal/memcg"
	"mglru_exporter/internal/name"
)

// Unmatched returns a sentence for each path in a config that matches none of the
// memcgs in a list.
func Unmatched(cfg *config.Config, list []memcg.Group) (notes []string, err error) {
	p, err := newPlan(cfg)
	if err != nil {
		return nil, err
	}
	for i := range p.patterns {
		q := &p.patterns[i]
		if q.matchesAny(list) {
			continue
		}
		note := fmt.Sprintf("%s matches no memcg now", name.Escape(q.entry.Path))
		if other := q.elsewhere(list); other != "" {
			note += fmt.Sprintf(", did you mean %s?", name.Escape(other))
		}
		notes = append(notes, note)
	}
	return notes, nil
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
