package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mglru_exporter/internal/config"
	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/preflight"
)

// fakeMonitor has one process from the start.
type fakeMonitor struct {
	ready  error
	source string        // "fake" if empty
	start  error         // what Start returns
	ended  chan struct{} // closed when RunStarted returns
	runs   chan struct{} // closed when it is called

	mu      sync.Mutex
	reloads []*config.Config
	refuse  error // what Reload returns
}

func (m *fakeMonitor) Start() error { return m.start }

func (m *fakeMonitor) RunStarted(ctx context.Context) error {
	defer close(m.ended)
	close(m.runs)
	<-ctx.Done()
	return nil
}

func (m *fakeMonitor) Healthy() error { return nil }

func (m *fakeMonitor) Ready() error { return m.ready }

func (m *fakeMonitor) Reload(cfg *config.Config) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refuse == nil {
		m.reloads = append(m.reloads, cfg)
	}
	return m.refuse
}

func (m *fakeMonitor) Snapshot() *heat.Snapshot {
	return &heat.Snapshot{
		Source: heat.SourceInfo{Name: cmp.Or(m.source, "fake"), Granularity: "page"},
		Memcgs: []*heat.MemcgSnapshot{{
			Path: "/a", WindowEnd: time.Unix(1, 0), WindowPasses: 4,
			Series: []heat.Series{{PID: 42, Comm: "x", Areas: []heat.Area{{Hot: 4096, Resident: 4096}}}},
		}},
	}
}

func newMonitor() *fakeMonitor {
	return &fakeMonitor{ended: make(chan struct{}), runs: make(chan struct{})}
}

// fakeSystem has the given reports, and a monitor unless it is nil.
func fakeSystem(m *fakeMonitor, reports ...preflight.Report) system {
	return system{
		preflight: func(name string) []preflight.Report {
			var out []preflight.Report
			for _, r := range reports {
				if name == config.SourceAuto || name == r.Source {
					out = append(out, r)
				}
			}
			return out
		},
		open: func(*config.Config, follower, *slog.Logger) (monitor, error) {
			if m == nil {
				return nil, errors.New("no source works here:\nsource hooks: BTF: none; to repair: boot another kernel")
			}
			return m, nil
		},
		after: func(time.Duration) <-chan time.Time { return nil },
	}
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

const goodConfig = "memcgs: [{path: /a}]\n"

// logged is standard error, watched for the address that is listened on, and for
// the end of a replay.
type logged struct {
	mu      sync.Mutex
	text    bytes.Buffer
	address chan string
	played  chan struct{}
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m := regexp.MustCompile(`msg="Listening on" address=(\S+)`).FindSubmatch(p); m != nil {
		l.address <- string(m[1])
	}
	if bytes.Contains(p, []byte("The recording has been played to its end")) {
		select {
		case l.played <- struct{}{}:
		default: // nobody waits for it
		}
	}
	return l.text.Write(p)
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// start runs the exporter and returns its URL, and how to stop it.
func start(t *testing.T, sys system, args ...string) (url string, stop func() (code int, stderr string)) {
	t.Helper()
	url, _, stop = startLogged(t, sys, args...)
	return url, stop
}

// startReplay does so and waits until all of a recording has been played.
func startReplay(t *testing.T, args ...string) (url string, stop func() (code int, stderr string)) {
	t.Helper()
	url, stderr, stop := startLogged(t, host(), args...)
	select {
	case <-stderr.played:
	case <-time.After(time.Minute):
		_, text := stop()
		t.Fatalf("the recording has not come to its end in a minute:\n%s", text)
	}
	return url, stop
}

func startLogged(t *testing.T, sys system, args ...string) (url string, stderr *logged, stop func() (code int, stderr string)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	stderr = &logged{address: make(chan string, 1), played: make(chan struct{}, 1)}
	code := make(chan int, 1)
	args = append(args, "--web.listen-address=127.0.0.1:0")
	if !slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "--config.file=") }) {
		args = append(args, "--config.file="+write(t, "config.yaml", goodConfig))
	}
	go func() { code <- run(ctx, args, io.Discard, stderr, sys) }()
	select {
	case a := <-stderr.address:
		url = "http://" + a
	case c := <-code:
		t.Fatalf("ended at once with %d:\n%s", c, stderr.text.String())
	}
	return url, stderr, func() (int, string) {
		cancel()
		return <-code, stderr.text.String()
	}
}
