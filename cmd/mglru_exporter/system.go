package main

import (
	"context"
	"errors"
	"log/slog"

	"mglru_exporter/bpf"
	"mglru_exporter/internal/config"
	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/memcg"
	"mglru_exporter/internal/preflight"
	"mglru_exporter/internal/process"
	"mglru_exporter/internal/sampler"
	"mglru_exporter/internal/source"
)

// A monitor watches memory: a sampler.Sampler.
type monitor interface {
	// Run watches until the context ends, and then lets go of the kernel.
	Run(ctx context.Context) error
	// Snapshot returns the last snapshot.
	Snapshot() *heat.Snapshot
	// Ready returns why there is nothing to scrape yet, or nil.
	Ready() error
}

// A system is the machine that the exporter runs on. Tests have others.
type system struct {
	// preflight reports on the source of that name, on all for "auto".
	preflight func(source string) []preflight.Report
	// open makes the source ready to be run.
	open func(*config.Config, *slog.Logger) (monitor, error)
}

// host is the machine we run on.
func host() system {
	return system{preflight: source.Preflight, open: openHost}
}

func openHost(cfg *config.Config, log *slog.Logger) (_ monitor, err error) {
	// The source comes first: its error tells all that is missing.
	src, err := source.Open(cfg.Source, log)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, src.Close())
		}
	}()
	cgroups, err := memcg.Open("/proc")
	if err != nil {
		return nil, err
	}
	processes, err := process.NewProc("/proc", "/sys")
	if err != nil {
		return nil, err
	}
	return sampler.New(cfg, src, sampler.Deps{
		Cgroups:     cgroups,
		Processes:   processes,
		Generations: func() ([]memcg.LRUGen, error) { return memcg.ReadLRUGen("/sys") },
		SkipReasons: bpf.SkipReasons(),
		Log:         log,
	})
}
