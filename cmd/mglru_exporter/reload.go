package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
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
	collector *collector.Collector
	state     *collector.ConfigReload
	history   *heatmap.History
	standby   *standby

	mu     sync.Mutex // lets one reload run at a time
	failed string     // why the last reload failed; empty if it did not
}

// A file may have more errors, and longer ones, than anybody reads at once.
const (
	loggedErrors, answeredErrors = 20, 3
	errorLength                  = 300
)

// reload puts what the file says in place of the configuration in use. On an error
// that one stays, whole. The log has the errors once, until they change; what is
// returned has the first few.
func (r *reloader) reload() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	cfg, err := r.swap()
	if err != nil {
		r.state.Failed()
		if why := err.Error(); why != r.failed {
			r.failed = why
			r.log.Error("The configuration was not reloaded, the one before stays in use", "file", r.file.name, "err", firstErrors(err, loggedErrors))
		} else {
			r.log.Error("The configuration was not reloaded, its errors are those logged before", "file", r.file.name)
		}
		return firstErrors(err, answeredErrors)
	}
	r.failed = ""
	r.state.Succeeded(time.Now())
	r.log.Info("Reloaded the configuration", "file", r.file.name, "memcgs", len(cfg.Memcgs))
	return nil
}

// firstErrors returns the first lines of an error, cut to a length, and says how many
// more there are.
func firstErrors(err error, most int) error {
	lines := strings.Split(err.Error(), "\n")
	more := len(lines) - most
	lines = lines[:min(most, len(lines))]
	for i, l := range lines {
		if len(l) > errorLength {
			lines[i] = strings.ToValidUTF8(l[:errorLength], "") + "…"
		}
	}
	if more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more, mglru_exporter check lists them", more))
	}
	return errors.New(strings.Join(lines, "\n"))
}

func (r *reloader) swap() (*config.Config, error) {
	cfg, err := r.file.load()
	if err != nil {
		return nil, err
	}
	if err := r.standby.Reload(cfg); err != nil {
		return nil, fmt.Errorf("%s: %w", r.file.name, err)
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
