package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"mglru_exporter/collector"
	"mglru_exporter/internal/config"
	"mglru_exporter/internal/heatmap"
)

// A reloader reads the configuration again while the exporter runs. Whoever asks
// for it, by signal or by HTTP, asks here.
type reloader struct {
	file      configFile
	log       *slog.Logger
	started   *config.Config // what the exporter was started with
	collector *collector.Collector
	state     *collector.ConfigReload
	history   *heatmap.History
	monitor   monitor

	mu sync.Mutex // lets one reload run at a time
}

// reload puts what the file says in place of the configuration in use. On an error
// that one stays, whole.
func (r *reloader) reload() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	cfg, err := r.swap()
	if err != nil {
		r.state.Failed()
		r.log.Error("The configuration was not reloaded, the one before stays in use", "file", r.file.name, "err", err)
		return err
	}
	r.state.Succeeded(time.Now())
	r.log.Info("Reloaded the configuration", "file", r.file.name, "memcgs", len(cfg.Memcgs))
	return nil
}

func (r *reloader) swap() (*config.Config, error) {
	cfg, err := r.file.load()
	if err != nil {
		return nil, err
	}
	if err := r.started.CheckReload(cfg, r.monitor.Snapshot().Source.Name); err != nil {
		return nil, fmt.Errorf("%s: %w", r.file.name, err)
	}
	if err := r.monitor.Reload(cfg); err != nil {
		return nil, err
	}
	r.collector.Set(seriesOptions(cfg, r.file.addresses))
	r.history.SetLimit(int(cfg.Limits.MaxHeatmapBytes))
	return cfg, nil
}

// onSignal reloads for each signal until the context ends. It returns nil.
func (r *reloader) onSignal(ctx context.Context, hangup <-chan os.Signal) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hangup:
			_ = r.reload() // it has been logged
		}
	}
}

// seriesOptions are what a config says of series, which may tell addresses or not.
func seriesOptions(cfg *config.Config, addresses bool) collector.Options {
	return collector.Options{
		LabelPID: cfg.Labels.PID, LabelComm: cfg.Labels.Comm, MaxSeries: cfg.Limits.MaxSeries, ExposeAddresses: addresses,
	}
}
