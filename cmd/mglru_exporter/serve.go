package main

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	rungroup "github.com/oklog/run"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	versioncollector "github.com/prometheus/client_golang/prometheus/collectors/version"
	"github.com/prometheus/common/version"
	toolkit "github.com/prometheus/exporter-toolkit/web"

	"mglru_exporter/collector"
	"mglru_exporter/internal/config"
	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/web"
)

// A serveCommand is the command that watches memory and serves metrics.
type serveCommand struct {
	sys               system
	web               *toolkit.FlagConfig
	telemetryPath     string
	noExporterMetrics bool
	maxRequests       int
}

// run returns nil after the context has ended, and an error if the exporter
// could not begin or go on.
func (s serveCommand) run(ctx context.Context, file configFile, log *slog.Logger) error {
	cfg, err := file.load()
	if err != nil {
		return err
	}
	reload := collector.NewConfigReload()
	reload.Succeeded(time.Now())

	// The server is made first, because it finds mistakes without touching the
	// kernel. It asks the monitor only once it runs.
	var mon monitor
	reg := s.registry(cfg, reload, func() *heat.Snapshot { return mon.Snapshot() })
	server, err := web.New(web.Options{
		Flags:         s.web,
		TelemetryPath: s.telemetryPath,
		MaxRequests:   s.maxRequests,
		Registry:      reg,
		Instrument:    !s.noExporterMetrics,
		Ready:         func() error { return mon.Ready() },
		Version:       version.Info(),
		Log:           log,
	})
	if err != nil {
		return err
	}

	log.Info("Starting "+program, "version", version.Info(), "build_context", version.BuildContext())
	log.Info("Read the configuration", "file", file.name, "memcgs", len(cfg.Memcgs), "requested_source", cfg.Source)
	if mon, err = s.sys.open(cfg, log); err != nil {
		return err
	}
	err = together(ctx, log, mon.Run, server.Run)
	if err == nil {
		log.Info("Stopped")
	}
	return err
}

// registry returns a registry with all the exporter's metrics.
func (s serveCommand) registry(cfg *config.Config, reload *collector.ConfigReload, snap func() *heat.Snapshot) *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(
		collector.New(snap, collector.Options{
			LabelPID:  cfg.Labels.PID,
			LabelComm: cfg.Labels.Comm,
			MaxSeries: cfg.Limits.MaxSeries,
		}),
		reload,
		versioncollector.NewCollector("mglru"),
	)
	if !s.noExporterMetrics {
		reg.MustRegister(
			collectors.NewGoCollector(),
			collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		)
	}
	return reg
}

// together runs services until the context ends or one of them does, then ends
// the others and waits for them. It returns the error of the first to end.
func together(ctx context.Context, log *slog.Logger, services ...func(context.Context) error) error {
	var g rungroup.Group
	stopped, stop := context.WithCancel(ctx)
	defer stop()
	g.Add(func() error {
		<-stopped.Done()
		if ctx.Err() != nil {
			log.Info("Stopping")
		}
		return nil
	}, func(error) { stop() })
	for _, service := range services {
		g.Add(func() (err error) {
			// A panic in a service is a bug. Let the others end in order, so
			// that nothing stays attached to the kernel for longer than it must.
			defer func() {
				if r := recover(); r != nil {
					err = fmt.Errorf("internal error: %v\n%s", r, debug.Stack())
				}
			}()
			return service(stopped)
		}, func(error) { stop() })
	}
	return g.Run()
}
