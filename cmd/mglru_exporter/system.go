package main

import (
	"context"
	"errors"
	"log/slog"

	"mglru_exporter/internal/config"
	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/preflight"
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

// A system is the machine that the exporter runs on.
type system struct {
	// preflight reports on the source of that name, on all for "auto".
	preflight func(source string) []preflight.Report
	// open makes the source ready to be run.
	open func(*config.Config, *slog.Logger) (monitor, error)
}

// host is the machine we run on.
func host() system {
	return system{
		preflight: func(string) []preflight.Report { return nil },
		open: func(*config.Config, *slog.Logger) (monitor, error) {
			return nil, errors.New("no source is built in")
		},
	}
}
