package main

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
	"mglru_exporter/internal/instance"
	"mglru_exporter/internal/source"
)

// retryEvery is how long a standby waits before it looks for a usable source again.
const retryEvery = time.Minute

// noSource is the snapshot while no source is usable.
var noSource = &heat.Snapshot{Source: heat.SourceInfo{Name: "none", Granularity: "none"}}

// A standby keeps the exporter up while no source is usable. It looks again every
// retryEvery, and at each reload, and runs the first source that starts. From then
// on it is that source's monitor.
type standby struct {
	open  func(*config.Config) (monitor, error)
	after func(time.Duration) <-chan time.Time
	// started is called after a source has started, with its name; nil for none.
	started func(source string)
	log     *slog.Logger

	state    atomic.Pointer[standbyState]
	reloaded chan struct{} // has room for one

	mu     sync.Mutex // held while a source is opened and started; guards what follows
	cfg    *config.Config
	opened monitor // not started yet; nil after it has been
}

// A standbyState has either a monitor or the reason why there is none.
type standbyState struct {
	monitor monitor
	err     error
}

// newStandby opens the source that the config names. A recording that cannot be
// played is a mistake in the config, and an error. So is a second exporter on one
// host, which must not wait to take over. Any other source may become usable later.
func newStandby(cfg *config.Config, open func(*config.Config) (monitor, error), after func(time.Duration) <-chan time.Time, log *slog.Logger) (*standby, error) {
	s := &standby{open: open, after: after, log: log, reloaded: make(chan struct{}, 1), cfg: cfg}
	m, err := open(cfg)
	_, second := errors.AsType[*instance.HeldError](err)
	switch {
	case err == nil:
		s.opened = m
		s.state.Store(&standbyState{monitor: m})
	case cfg.Source == "replay", second:
		return nil, err
	default:
		s.wait(err)
	}
	return s, nil
}

// Snapshot returns the last snapshot, which has the source "none" while none is usable.
func (s *standby) Snapshot() *heat.Snapshot {
	if m := s.state.Load().monitor; m != nil {
		return m.Snapshot()
	}
	return noSource
}

// Ready returns why there is nothing to scrape yet, or nil.
func (s *standby) Ready() error {
	st := s.state.Load()
	if st.monitor != nil {
		return st.monitor.Ready()
	}
	return fmt.Errorf("waiting for a usable source, looking again every %s: %w", retryEvery, st.err)
}

// Healthy returns an error if watching has come to a standstill. To wait for a usable
// source is healthy.
func (s *standby) Healthy() error {
	if m := s.state.Load().monitor; m != nil {
		return m.Healthy()
	}
	return nil
}

// Reload puts a config in place of the one in use. The source can change only while
// none runs; then the one that the config names is tried at once.
func (s *standby) Reload(cfg *config.Config) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.state.Load().monitor; m != nil {
		if err := s.cfg.CheckReload(cfg, m.Snapshot().Source.Name); err != nil {
			return err
		}
		return m.Reload(cfg)
	}
	s.cfg = cfg
	select {
	case s.reloaded <- struct{}{}:
	default: // the word is there already
	}
	return nil
}

// Run runs a source as soon as one is usable, until the context ends.
func (s *standby) Run(ctx context.Context) error {
	for {
		if s.state.Load().monitor == nil {
			select {
			case <-ctx.Done():
				return nil
			case <-s.reloaded:
			case <-s.after(retryEvery):
			}
		}
		if m := s.start(); m != nil {
			return m.RunStarted(ctx)
		}
	}
}

// start returns a monitor that has started, or nil. Where the source that "auto" takes
// does not start, the next ones are tried. The state changes after Start, so that a
// source which never starts is not seen to come and go.
func (s *standby) start() monitor {
	s.mu.Lock()
	defer s.mu.Unlock()
	waited := s.state.Load().monitor == nil
	m, found, err := s.try(s.cfg.Source)
	if err != nil && found != "" && s.cfg.Source == config.SourceAuto {
		errs := []error{err}
		for _, name := range source.Next(found) {
			if m, _, err = s.try(name); err == nil {
				s.log.Warn("Source does not start, using another", "unusable", found, "used_source", name, "err", errors.Join(errs...))
				break
			}
			errs = append(errs, err)
		}
		if err != nil {
			err = errors.Join(errs...)
		}
	}
	if err != nil {
		s.wait(err)
		return nil
	}
	s.state.Store(&standbyState{monitor: m})
	if s.started != nil {
		s.started(m.Snapshot().Source.Name)
	}
	if waited {
		s.log.Info("Source usable, watching", "used_source", m.Snapshot().Source.Name)
	}
	return m
}

// try opens and starts a source. Found is the one it is, if it could be opened.
func (s *standby) try(name string) (m monitor, found string, err error) {
	m, s.opened = s.opened, nil
	if m == nil {
		cfg := *s.cfg
		cfg.Source = name
		if m, err = s.open(&cfg); err != nil {
			return nil, "", err
		}
	}
	return m, m.Snapshot().Source.Name, m.Start()
}

// wait notes why no source is usable, and logs it unless it was so before.
func (s *standby) wait(err error) {
	before := s.state.Swap(&standbyState{err: err})
	if before == nil || before.err == nil || before.err.Error() != err.Error() {
		s.log.Warn("No usable source, waiting for one", "retry", retryEvery, "err", err)
	}
}
