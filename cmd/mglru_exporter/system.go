package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"mglru_exporter/internal/config"
	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/instance"
	"mglru_exporter/internal/memcg"
	"mglru_exporter/internal/preflight"
	"mglru_exporter/internal/process"
	"mglru_exporter/internal/recording"
	"mglru_exporter/internal/sampler"
	"mglru_exporter/internal/source"
)

// A monitor watches memory: a sampler.Sampler.
type monitor interface {
	// Start attaches to the kernel, once. After an error nothing is attached, and the
	// monitor is of no further use.
	Start() error
	// RunStarted watches until the context ends, and then lets go of the kernel.
	RunStarted(ctx context.Context) error
	// Snapshot returns the last snapshot.
	Snapshot() *heat.Snapshot
	// Healthy returns an error if watching has come to a standstill.
	Healthy() error
	// Ready returns why there is nothing to scrape yet, or nil.
	Ready() error
	// Reload puts another config, of the same source, in place of the one in use,
	// or returns why that stays.
	Reload(cfg *config.Config) error
}

// A system is the machine that the exporter runs on. Tests have others.
type system struct {
	// preflight reports on the source of that name, on all for "auto".
	preflight func(source string) []preflight.Report
	// open makes the source ready to be started.
	open func(*config.Config, follower, *slog.Logger) (monitor, error)
	// parts are what open makes its monitor of, for those who come between. A
	// replay has none.
	parts func(*config.Config, *slog.Logger) (source.Source, sampler.Deps, error)
	// cgroups lists the memcgs; nil for a machine that has none to tell of.
	cgroups func() ([]memcg.Group, error)
	// uid is the effective user.
	uid int
	// drop takes capabilities away that the named source does not need, but those to
	// be kept, and returns what is left.
	drop func(source string, keep uint64) (left uint64, err error)
	// after is time.After.
	after func(time.Duration) <-chan time.Time
}

// A follower is told what a monitor sees, as sampler.Deps.Window and Published are.
type follower struct {
	window    func(memcg string, w *heat.ProcessWindow)
	published func(memcg string)
}

// host is the machine we run on.
func host() system {
	lock := hostLock{procRoot: "/proc"}
	parts := func(cfg *config.Config, log *slog.Logger) (source.Source, sampler.Deps, error) {
		if err := lock.take(log); err != nil {
			return nil, sampler.Deps{}, err
		}
		return hostParts(cfg, log)
	}
	open := func(cfg *config.Config, f follower, log *slog.Logger) (monitor, error) {
		if cfg.Source == "replay" {
			return openReplay(cfg, f, log)
		}
		return openHost(cfg, parts, f, log)
	}
	return system{uid: os.Geteuid(), preflight: source.Preflight, cgroups: listMemcgs, open: open, parts: parts, drop: dropCapabilities, after: time.After}
}

// A hostLock keeps another exporter from watching this host. Once taken it is held
// for as long as this process lives.
type hostLock struct {
	procRoot string
	lock     *instance.Lock
	failed   string // the last error that was logged
}

// take returns an *instance.HeldError if another exporter watches this host. Where
// there is no lock to be had it logs why, and goes on without.
func (h *hostLock) take(log *slog.Logger) error {
	if h.lock != nil {
		return nil
	}
	lock, err := instance.Acquire(h.procRoot)
	if _, held := errors.AsType[*instance.HeldError](err); held {
		return err
	}
	if err != nil {
		if h.failed != err.Error() {
			log.Warn("No lock against a second exporter on this host", "err", err)
		}
		h.failed = err.Error()
		return nil
	}
	h.lock = lock
	return nil
}

// openHost makes a monitor of parts.
func openHost(cfg *config.Config, parts func(*config.Config, *slog.Logger) (source.Source, sampler.Deps, error), f follower, log *slog.Logger) (monitor, error) {
	src, deps, err := parts(cfg, log)
	if err != nil {
		return nil, err
	}
	deps.Window, deps.Published = f.window, f.published
	s, err := sampler.New(cfg, src, deps)
	if err != nil {
		return nil, errors.Join(err, src.Close())
	}
	return s, nil
}

// confine drops the capabilities that the source needs no longer once it has started.
// To keep them is no reason not to watch.
func (s system) confine(source string, keep uint64, log *slog.Logger) {
	if s.drop == nil {
		return
	}
	left, err := s.drop(source, keep)
	if err != nil {
		log.Warn("Keeping capabilities that the source does not need", "err", err)
		return
	}
	log.Info("Dropped the capabilities that the source does not need", "used_source", source, "kept", namesOf(left))
}

// openReplay makes a monitor of a recording. It needs nothing of this machine.
func openReplay(cfg *config.Config, f follower, log *slog.Logger) (monitor, error) {
	r, err := source.OpenReplay(cfg.Replay.File, cfg.Replay.Speed, log)
	if err != nil {
		return nil, err
	}
	h := r.Header()
	if err := selects(cfg, &h); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	log.Info("Playing a recording", "file", cfg.Replay.File, "speed", cfg.Replay.Speed,
		"started", h.Started, "kernel", h.Kernel, "recorded_source", h.Source)
	s, err := sampler.New(played(cfg, h.PassesPerWindow), r.Source(), sampler.Deps{
		Cgroups:     r,
		Processes:   r,
		Generations: r.Generations,
		FailReasons: source.Reasons(h.Source),
		SkipReasons: h.SkipReasons,
		Now:         r.Now,
		Script:      r,
		Window:      f.window,
		Published:   f.published,
		Log:         log,
	})
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return replaying{s, h}, nil
}

// replaying is the sampler of a replay.
type replaying struct {
	*sampler.Sampler
	header recording.Header
}

// Reload implements monitor.
func (r replaying) Reload(cfg *config.Config) error {
	if err := selects(cfg, &r.header); err != nil {
		return err
	}
	return r.Sampler.Reload(played(cfg, r.header.PassesPerWindow))
}

// selects tells why a recording has not what a config wants to select by.
func selects(cfg *config.Config, h *recording.Header) error {
	for i := range cfg.Memcgs {
		m := &cfg.Memcgs[i]
		switch {
		case !m.Regions.All() && !h.Mappings:
			return fmt.Errorf("%s has no mappings, so memcgs[%d].regions (of %s) can select none: leave the key out, or record with this version and a source other than referenced", cfg.Replay.File, i, m.Path)
		case len(m.Regions.Ranges) > 0 && !h.Addresses:
			return fmt.Errorf("%s does not tell addresses, so memcgs[%d].regions (of %s) cannot have a range of them: write names, or record with --expose-addresses", cfg.Replay.File, i, m.Path)
		}
	}
	return nil
}

// played is a config with the windows of a recording: residency is in it where
// these ended, and nowhere else.
func played(cfg *config.Config, passesPerWindow int) *config.Config {
	p := *cfg
	p.Aging.PassesPerWindow = passesPerWindow
	return &p
}

func hostParts(cfg *config.Config, log *slog.Logger) (_ source.Source, _ sampler.Deps, err error) {
	// The source comes first: its error tells all that is missing.
	reads := process.NewGuard()
	src, err := source.Open(cfg.Source, reads, log)
	if err != nil {
		return nil, sampler.Deps{}, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, src.Close())
		}
	}()
	cgroups, err := memcg.Open("/proc")
	if err != nil {
		return nil, sampler.Deps{}, err
	}
	if part := cgroups.Part(); part != "" {
		log.Warn("Not all memcgs of the host are seen", "seen", part, "repair", memcg.HostTreeRepair)
	}
	processes, err := process.NewProc("/proc", "/sys")
	if err != nil {
		return nil, sampler.Deps{}, err
	}
	return src, sampler.Deps{
		Cgroups:     cgroups,
		Processes:   processes.Through(reads),
		Reads:       reads,
		Unread:      processes.Unread,
		Generations: func() ([]memcg.LRUGen, error) { return memcg.ReadLRUGen("/sys") },
		SkipReasons: source.SkipReasons(),
		Log:         log,
	}, nil
}

// listMemcgs lists the memcgs of this machine.
func listMemcgs() ([]memcg.Group, error) {
	tree, err := memcg.Open("/proc")
	if err != nil {
		return nil, err
	}
	return tree.Walk()
}
