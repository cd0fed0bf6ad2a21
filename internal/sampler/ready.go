package sampler

import (
	"errors"
	"fmt"
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
