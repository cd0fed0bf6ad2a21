package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	rungroup "github.com/oklog/run"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	versioncollector "github.com/prometheus/client_golang/prometheus/collectors/version"
	"github.com/prometheus/common/version"
	toolkit "github.com/prometheus/exporter-toolkit/web"
	"golang.org/x/sys/unix"

	"mglru_exporter/collector"
	"mglru_exporter/internal/config"
	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/heatmap"
	"mglru_exporter/internal/web"
)

// A serveCommand is the command that watches memory and serves metrics.
type serveCommand struct {
	sys               system
	web               *toolkit.FlagConfig
	telemetryPath     string
	noExporterMetrics bool
	exposeAddresses   bool
	lifecycle         bool
	maxRequests       int
	keepCapabilities  []string
	maxConnections    int
}

// run returns nil after the context has ended, and an error if the exporter
// could not begin or go on.
func (s serveCommand) run(ctx context.Context, file configFile, log *slog.Logger) error {
	// From here on the signal does not end the process: one that comes while it
	// starts is dealt with when it has.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	if s.maxRequests < 0 {
		return fmt.Errorf("--web.max-requests: %d is below 0, write 0 for any number", s.maxRequests)
	}
	if s.maxConnections < 0 {
		return fmt.Errorf("--web.max-connections: %d is below 0, write 0 for any number", s.maxConnections)
	}
	keep, err := parseCapabilities(s.keepCapabilities)
	if err != nil {
		return err
	}
	if bindsLow(*s.web.WebListenAddresses) {
		keep |= 1 << unix.CAP_NET_BIND_SERVICE
	}
	cfg, err := file.load()
	if err != nil {
		return err
	}
	// The server is made first, because it finds mistakes without touching the
	// kernel. It asks the standby only once it runs.
	var mon *standby
	r := &reloader{
		file: file, log: log,
		collector: collector.New(func() *heat.Snapshot { return mon.Snapshot() }, seriesOptions(cfg, s.exposeAddresses)),
		state:     collector.NewConfigReload(),
	}
	r.state.Succeeded(time.Now())
	history := heatmap.New(int(cfg.Limits.MaxHeatmapBytes))
	r.history = history
	rejections := collector.NewRejections(web.RejectionReasons()...)
	reg := s.registry(r.state, rejections, collector.NewHeatmap(func() (bytes, omitted int) {
		s := history.Stats()
		return s.Bytes, s.Omitted
	}))
	served := web.NewAPI(web.APIOptions{
		Snapshot:        func() *heat.Snapshot { return mon.Snapshot() },
		History:         history,
		ExposeAddresses: s.exposeAddresses,
	})
	server, err := web.New(web.Options{
		Flags:          s.web,
		TelemetryPath:  s.telemetryPath,
		MaxRequests:    s.maxRequests,
		MaxConnections: s.maxConnections,
		Rejected:       rejections.Add,
		Series:         func() web.Series { return r.collector.Page() },
		Registry:       reg,
		Instrument:     !s.noExporterMetrics,
		Healthy:        func() error { return mon.Healthy() },
		Ready:          func() (string, error) { return matching(mon.Snapshot()), mon.Ready() },
		Lifecycle:      s.lifecycle,
		Reload:         r.reload,
		API:            served,
		Version:        version.Info(),
		Log:            log,
	})
	if err != nil {
		return err
	}

	log.Info("Starting "+program, "version", version.Info(), "build_context", version.BuildContext())
	log.Info("Read the configuration", "file", file.name, "memcgs", len(cfg.Memcgs), "requested_source", cfg.Source)
	limitMemory(memlimit.FromCgroup, log)
	watch := follower{window: history.Add, published: served.Ended}
	open := func(cfg *config.Config) (monitor, error) { return s.sys.open(cfg, watch, log) }
	if mon, err = newStandby(cfg, open, s.sys.after, log); err != nil {
		return err
	}
	mon.started = func(source string) { s.sys.confine(source, keep, log) }
	r.standby = mon
	err = together(ctx, log, mon.Run, server.Run, tuneGC, func(ctx context.Context) error { return r.onSignal(ctx, hangup) })
	if err == nil {
		log.Info("Stopped")
	}
	return err
}

// registry returns a registry with the given collectors and what any exporter has.
func (s serveCommand) registry(own ...prometheus.Collector) *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(own...)
	reg.MustRegister(versioncollector.NewCollector("mglru"))
	if !s.noExporterMetrics {
		reg.MustRegister(
			collectors.NewGoCollector(),
			collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		)
	}
	return reg
}

// stopTime is how long the services may take to stop, so that the exporter ends within
// five seconds of a signal, whatever hangs. The kernel then detaches what is attached.
const stopTime = 4500 * time.Millisecond

// together runs services until the context ends or one of them does, then ends
// the others and waits for them, for stopTime at most. It returns the error of the
// first to end.
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
	ended := make(chan error, 1)
	go func() { ended <- g.Run() }()
	select {
	case err := <-ended:
		return err
	case <-stopped.Done():
	}
	select {
	case err := <-ended:
		return err
	case <-time.After(stopTime):
		return fmt.Errorf("not all has stopped within %s: something hangs in the kernel", stopTime)
	}
}

// matching says how many memcgs the config matches.
func matching(snap *heat.Snapshot) string {
	switch n := snap.Self.MemcgsMatched; n {
	case 0:
		return "no memcg matches the config"
	case 1:
		return "1 memcg matches the config"
	default:
		return fmt.Sprintf("%d memcgs match the config", n)
	}
}
