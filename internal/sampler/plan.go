package sampler

import (
	"fmt"
	"slices"
	"time"

	"mglru_exporter/internal/config"
	"mglru_exporter/internal/memcg"
)

// A plan is a config with its memcgs as patterns. It does not change.
type plan struct {
	cfg *config.Config
	// patterns have the most specific first: then the first that matches wins.
	patterns []pattern
}

// pattern is one entry of the config's memcgs.
type pattern struct {
	memcg.Pattern
	entry *config.Memcg
}

func newPlan(cfg *config.Config) (*plan, error) {
	p := &plan{cfg: cfg}
	for i := range cfg.Memcgs {
		m, err := memcg.CompilePattern(cfg.Memcgs[i].Path)
		if err != nil {
			return nil, fmt.Errorf("memcg %q: %w", cfg.Memcgs[i].Path, err)
		}
		p.patterns = append(p.patterns, pattern{m, &cfg.Memcgs[i]})
	}
	slices.SortStableFunc(p.patterns, func(a, b pattern) int {
		switch {
		case b.Less(a.Pattern):
			return -1
		case a.Less(b.Pattern):
			return 1
		}
		return 0
	})
	return p, nil
}

// entry returns what the config says of a memcg, nil for nothing.
func (p *plan) entry(path string) *config.Memcg {
	for i := range p.patterns {
		if p.patterns[i].Match(path) {
			return p.patterns[i].entry
		}
	}
	return nil
}

// names tells whether an entry of the config has that very path.
func (p *plan) names(path string) bool {
	return slices.ContainsFunc(p.patterns, func(q pattern) bool { return q.entry.Path == path })
}

func (p *plan) shortestInterval() time.Duration {
	d := p.cfg.Aging.Interval
	for i := range p.cfg.Memcgs {
		d = min(d, p.cfg.Memcgs[i].Interval)
	}
	return d
}

// Reload puts another config in place of the one in use, while Run runs or not.
// On an error nothing changes. Its source is not looked at.
//
// A memcg that is in both keeps all that is known of it. What the config now
// says of it holds from its next pass on: that one ends the window if the window
// then has as many passes as it is to have, or more, and judges it by as many as
// it had. Memcgs that are in one config alone come and go as soon as Run gets to
// it.
func (s *Sampler) Reload(cfg *config.Config) error {
	p, err := newPlan(cfg)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.plan.Store(p)
	s.budget.setShare(time.Now(), cfg.Aging.CPUBudget)
	s.mu.Unlock()
	s.limit(cfg)
	select {
	case s.reloaded <- struct{}{}:
	default: // Run has yet to hear of the reload before, and then sees this one
	}
	return nil
}
