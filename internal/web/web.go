// Package web is the exporter's HTTP server: metrics, health, readiness, a landing
// page that leads to them, reloading, and the JSON API.
package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	toolkit "github.com/prometheus/exporter-toolkit/web"

	"mglru_exporter/internal/web/ui"
)

const (
	healthyPath = "/-/healthy"
	readyPath   = "/-/ready"

	// shutdownTimeout is how long requests may take to end after a stop.
	shutdownTimeout = 3 * time.Second
)

// Options says what is served, and how.
type Options struct {
	// Flags are the addresses, and the file for TLS and authentication.
	Flags *toolkit.FlagConfig
	// TelemetryPath is where the metrics are, such as /metrics. With / there
	// is no landing page.
	TelemetryPath string
	// MaxRequests is how many scrapes may run at the same time; more are
	// turned away with status 503. 0 is no bound.
	MaxRequests int
	// MaxConnections is how many connections may be open; for one more the least busy is
	// closed. 0 is no bound.
	MaxConnections int
	// Rejected is told each time that a limit cuts something off, with one of
	// RejectionReasons; nil for nobody.
	Rejected func(reason string)
	// Series returns the metrics of the current snapshot; nil for none. They come
	// before those of the Registry, and are encoded once as long as they are the same.
	Series func() Series
	// Registry has all other metrics, which are gathered for each scrape.
	Registry *prometheus.Registry
	// Instrument adds metrics about scrapes to the registry.
	Instrument bool
	// Healthy returns an error if watching has come to a standstill.
	Healthy func() error
	// Ready returns why the exporter has nothing to show yet. Once it has, the error
	// is nil and the detail says what there is.
	Ready func() (detail string, err error)
	// Lifecycle allows POST /-/reload.
	Lifecycle bool
	// Reload reads the configuration again, and returns why the one before stays
	// in use, in words short enough to answer with. It may be called by several
	// requests at the same time.
	Reload func() error
	// API answers what is asked under /api/; not nil. The server closes it when it
	// stops.
	API *API
	// Version is shown on the landing page.
	Version string
	// Log must not be nil.
	Log *slog.Logger
}

// A Server serves what its Options say.
type Server struct {
	http  *http.Server
	flags *toolkit.FlagConfig
	log   *slog.Logger
}

// New returns a Server that does not listen yet. It returns an error if the
// telemetry path or the file for TLS and authentication is not valid.
func New(o Options) (*Server, error) {
	if err := checkTelemetryPath(o.TelemetryPath); err != nil {
		return nil, err
	}
	if err := checkListenAddresses(o.Flags); err != nil {
		return nil, err
	}
	if err := toolkit.Validate(*o.Flags.WebConfigFile); err != nil {
		return nil, fmt.Errorf("web config file %s: %w", *o.Flags.WebConfigFile, err)
	}
	if o.Rejected == nil {
		o.Rejected = func(string) {}
	}
	o.API.rejected = o.Rejected
	mux := http.NewServeMux()
	mux.Handle("GET "+exact(o.TelemetryPath), metrics(o))
	mux.HandleFunc("GET "+healthyPath, func(w http.ResponseWriter, _ *http.Request) {
		if err := o.Healthy(); err != nil {
			answer(w, http.StatusServiceUnavailable, "not healthy: "+err.Error())
			return
		}
		answer(w, http.StatusOK, "healthy")
	})
	mux.HandleFunc("GET "+readyPath, func(w http.ResponseWriter, _ *http.Request) {
		detail, err := o.Ready()
		if err != nil {
			answer(w, http.StatusServiceUnavailable, "not ready: "+err.Error())
			return
		}
		answer(w, http.StatusOK, "ready: "+detail)
	})
	if o.TelemetryPath != "/" {
		landing, err := landingPage(o)
		if err != nil {
			return nil, fmt.Errorf("make landing page: %w", err)
		}
		mux.Handle("GET /", landing)
	}
	// The pattern "GET /" would take what is not a POST from the mux.
	root := http.NewServeMux()
	root.Handle("/", mux)
	root.Handle(apiPrefix, o.API)
	page := ui.Handler()
	root.Handle(ui.Path, page)
	root.Handle(ui.Path+"/", page)
	root.HandleFunc(reloadPath, reloadHandler(o))
	server := &http.Server{
		Handler:           bounded(root, o.Rejected),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ConnState:         (&connections{most: o.MaxConnections, rejected: o.Rejected}).state,
		ErrorLog:          slog.NewLogLogger(o.Log.Handler(), slog.LevelWarn),
	}
	server.RegisterOnShutdown(o.API.Close) // or its streams would not end
	return &Server{http: server, flags: o.Flags, log: o.Log}, nil
}

// Handler returns what the server serves, before TLS and authentication.
func (s *Server) Handler() http.Handler { return s.http.Handler }

// Run listens and serves until the context ends, and then lets the requests
// under way finish, for some seconds at most. It returns nil after such an end,
// and an error if it could not listen or serve.
func (s *Server) Run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- toolkit.ListenAndServe(s.http, s.flags, s.log) }()
	select {
	case err := <-served:
		if op := (*net.OpError)(nil); errors.As(err, &op) && op.Op == "listen" {
			return fmt.Errorf("--web.listen-address: %w", err)
		}
		return fmt.Errorf("serve HTTP: %w", err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := s.http.Shutdown(stop); err != nil {
		s.log.Warn("Requests were cut off", "err", err)
		_ = s.http.Close() // its error is that of a listener that is closed already
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP: %w", err)
	}
	return nil
}

func landingPage(o Options) (http.Handler, error) {
	return toolkit.NewLandingPage(toolkit.LandingConfig{
		Name:        "mglru_exporter",
		Description: "Which memory, of which process, on which NUMA node, is hot, and which is cold",
		Version:     o.Version,
		Profiling:   "false",
		Links: []toolkit.LandingLinks{
			{Address: ui.Path, Text: "Heatmap", Description: "memory of one process, by address and time"},
			{Address: o.TelemetryPath, Text: "Metrics", Description: "for Prometheus to scrape"},
			{Address: healthyPath, Text: "Healthy", Description: "200 while passes make progress, else 503 and the reason"},
			{Address: readyPath, Text: "Ready", Description: "200 once the memcgs there are have had a pass, else 503 and the reason"},
		},
	})
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n") // the client is gone
}

// exact returns a pattern that matches only the path itself.
func exact(p string) string {
	if p == "/" {
		return "/{$}"
	}
	return p
}

// checkListenAddresses returns an error for an address without a port, which would
// listen on a random one.
func checkListenAddresses(flags *toolkit.FlagConfig) error {
	if flags.WebSystemdSocket != nil && *flags.WebSystemdSocket {
		return nil
	}
	for _, a := range *flags.WebListenAddresses {
		if a == "" || !strings.HasPrefix(a, "vsock://") && strings.HasSuffix(a, ":") {
			return fmt.Errorf("--web.listen-address: %q has no port, write for example :9934 or 127.0.0.1:9934", a)
		}
	}
	return nil
}

// checkTelemetryPath returns an error for a path that cannot be served.
func checkTelemetryPath(p string) error {
	switch {
	case !strings.HasPrefix(p, "/"):
		return fmt.Errorf("telemetry path %q does not begin with a slash", p)
	case path.Clean(p) != p:
		return fmt.Errorf("telemetry path %q is not in its shortest form, %q", p, path.Clean(p))
	case p == "/-" || strings.HasPrefix(p, "/-/"):
		return fmt.Errorf("telemetry path %q is under /-/, which is for health, readiness and reloading", p)
	case strings.HasPrefix(p+"/", apiPrefix):
		return fmt.Errorf("telemetry path %q is under %s, which is for the API", p, apiPrefix)
	case strings.HasPrefix(p+"/", ui.Path+"/"):
		return fmt.Errorf("telemetry path %q is under %s, which is for the heatmap page", p, ui.Path)
	case strings.ContainsFunc(p, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`{}?#%"<>`, r) }):
		return fmt.Errorf("telemetry path %q has a character that has a meaning of its own in URLs", p)
	}
	return nil
}
