package collector

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// ConfigReload tells whether the configuration in use is the one in the file.
// Its methods may be called from several goroutines.
type ConfigReload struct {
	successful, timestamp *family

	mu   sync.Mutex // guards what follows
	ok   bool
	last time.Time
}

// NewConfigReload returns a ConfigReload before any attempt to read a file.
func NewConfigReload() *ConfigReload {
	return &ConfigReload{
		successful: desc("config_last_reload_successful",
			"1 if the last attempt to read the configuration succeeded, 0 if not: then an older one is in use."),
		timestamp: desc("config_last_reload_success_timestamp_seconds",
			"Unix time at which the configuration was last read with success."),
	}
}

// Succeeded notes that the configuration was read.
func (c *ConfigReload) Succeeded(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ok, c.last = true, at
}

// Failed notes that the configuration could not be read and the older one is
// kept.
func (c *ConfigReload) Failed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ok = false
}

// Describe implements prometheus.Collector.
func (c *ConfigReload) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.successful.Desc
	ch <- c.timestamp.Desc
}

// Collect implements prometheus.Collector.
func (c *ConfigReload) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	ok, last := c.ok, c.last
	c.mu.Unlock()
	e := &emitter{}
	if ok {
		e.gauge(c.successful, 1)
	} else {
		e.gauge(c.successful, 0)
	}
	if !last.IsZero() {
		e.gauge(c.timestamp, float64(last.UnixMilli())/1e3)
	}
	for _, m := range e.metrics {
		ch <- m
	}
}
