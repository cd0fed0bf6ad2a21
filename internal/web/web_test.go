package web_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	toolkit "github.com/prometheus/exporter-toolkit/web"
	"go.uber.org/goleak"
	"golang.org/x/crypto/bcrypt"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/heatmap"
	"mglru_exporter/internal/web"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func flags(configFile string, addresses ...string) *toolkit.FlagConfig {
	return &toolkit.FlagConfig{WebListenAddresses: &addresses, WebSystemdSocket: new(bool), WebConfigFile: &configFile}
}

func options() web.Options {
	return web.Options{
		Flags:         flags("", "127.0.0.1:0"),
		TelemetryPath: "/metrics",
		Registry:      prometheus.NewRegistry(),
		Healthy:       func() error { return nil },
		Ready:         func() (string, error) { return "2 memcgs match", nil },
		API:           web.NewAPI(web.APIOptions{Snapshot: func() *heat.Snapshot { return &heat.Snapshot{} }, History: heatmap.New(0)}),
		Lifecycle:     true,
		Reload:        func() error { return nil },
		Version:       "1.2.3",
		Log:           slog.New(slog.DiscardHandler),
	}
}

func server(t *testing.T, o web.Options) *web.Server {
	t.Helper()
	s, err := web.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func get(h http.Handler, path string) (int, string) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

func gauge(value float64) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "mglru_test", Help: "Test."})
	g.Set(value)
	return g
}

func TestPaths(t *testing.T) {
	o := options()
	o.TelemetryPath = "/heat"
	o.Registry.MustRegister(gauge(7))
	h := server(t, o).Handler()
	for _, c := range []struct {
		path   string
		status int
		text   string
	}{
		{"/heat", 200, "mglru_test 7\n"},
		{"/-/healthy", 200, "healthy\n"},
		{"/-/ready", 200, "ready: 2 memcgs match\n"},
		{"/", 200, `href="/heat"`},
		{"/", 200, `href="/-/healthy"`},
		{"/", 200, `href="/heatmap"`},
		{"/heatmap", 200, "<title>Memory heat</title>"},
		{"/heatmap/app.js", 200, "import"},
		{"/heatmap/none", 404, ""},
		{"/", 200, `href="/-/ready"`},
		{"/", 200, "1.2.3"},
		{"/metrics", 404, ""},
		{"/nowhere", 404, ""},
		{"/debug/pprof/", 404, ""},
	} {
		status, body := get(h, c.path)
		if status != c.status || !strings.Contains(body, c.text) {
			t.Errorf("%s: %d %q, want %d with %q", c.path, status, body, c.status, c.text)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/heat", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: status %d, want 405", w.Code)
	}
	if _, body := get(h, "/"); strings.Contains(body, "debug/pprof") {
		t.Error("the landing page leads to profiles, which are not served")
	}
}

func TestReadySaysWhyNot(t *testing.T) {
	o := options()
	o.Ready = func() (string, error) { return "", errors.New("no pass has ended yet") }
	h := server(t, o).Handler()
	status, body := get(h, "/-/ready")
	if status != 503 || body != "not ready: no pass has ended yet\n" {
		t.Errorf("%d %q", status, body)
	}
	if status, _ := get(h, "/-/healthy"); status != 200 {
		t.Errorf("healthy: %d, want 200 while not ready", status)
	}
}

func TestReload(t *testing.T) {
	o := options()
	reloads := 0
	var err error
	o.Reload = func() error {
		reloads++
		return err
	}
	for _, telemetryPath := range []string{"/metrics", "/"} {
		o.TelemetryPath = telemetryPath
		h := server(t, o).Handler()
		for _, c := range []struct {
			method  string
			err     error
			status  int
			text    string
			reloads int
		}{
			{http.MethodPost, nil, 200, "reloaded\n", 1},
			{http.MethodPost, errors.New("c.yaml:1: agng: unknown key\nc.yaml:2: memcgs: names no memcg"), 500, "stays in use:\nc.yaml:1: agng: unknown key\nc.yaml:2: memcgs: names no memcg\n", 1},
			{http.MethodGet, nil, 405, "only POST", 0},
			{http.MethodHead, nil, 405, "", 0},
			{http.MethodPut, nil, 405, "only POST", 0},
		} {
			reloads, err = 0, c.err
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(c.method, "/-/reload", nil))
			if w.Code != c.status || !strings.Contains(w.Body.String(), c.text) || reloads != c.reloads {
				t.Errorf("%s: %d %q, %d reloads, want %d with %q, %d", c.method, w.Code, w.Body.String(), reloads, c.status, c.text, c.reloads)
			}
			if allow := w.Header().Get("Allow"); (allow == "POST") != (c.status == 405) {
				t.Errorf("%s: status %d with the header Allow: %q", c.method, w.Code, allow)
			}
		}
	}
}

func TestReloadIsOffUnlessAskedFor(t *testing.T) {
	o := options()
	o.Lifecycle = false
	o.Reload = func() error {
		t.Error("the configuration was reloaded")
		return nil
	}
	h := server(t, o).Handler()
	for method, status := range map[string]int{http.MethodPost: 403, http.MethodGet: 405} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, "/-/reload", nil))
		if w.Code != status || status == 403 && !strings.Contains(w.Body.String(), "--web.enable-lifecycle") {
			t.Errorf("%s: %d %q, want %d", method, w.Code, w.Body.String(), status)
		}
	}
}

// TestReloadsAreRateLimited also for those that fail, and says when to come back.
func TestReloadsAreRateLimited(t *testing.T) {
	o := options()
	reloads := 0
	o.Reload = func() error {
		reloads++
		return errors.New("no")
	}
	h := server(t, o).Handler()
	got := map[int]int{}
	for range 1000 {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/-/reload", nil))
		got[w.Code]++
		if w.Code == http.StatusTooManyRequests && w.Header().Get("Retry-After") != "10" {
			t.Fatalf("Retry-After: %q, want 10", w.Header().Get("Retry-After"))
		}
	}
	// A slow machine may have earned some more meanwhile.
	if got[500] != reloads || reloads < 10 || reloads > 100 || got[500]+got[429] != 1000 {
		t.Errorf("statuses %v and %d reloads, want 10 of 500, the rest of 429", got, reloads)
	}
}

func TestMetricsAtTheRoot(t *testing.T) {
	o := options()
	o.TelemetryPath = "/"
	o.Registry.MustRegister(gauge(7))
	h := server(t, o).Handler()
	if status, body := get(h, "/"); status != 200 || !strings.Contains(body, "mglru_test 7") {
		t.Errorf("%d %q", status, body)
	}
	if status, _ := get(h, "/x"); status != 404 {
		t.Errorf("/x: %d, want 404", status)
	}
}

func TestInstrument(t *testing.T) {
	o := options()
	o.Instrument = true
	if _, body := get(server(t, o).Handler(), "/metrics"); !strings.Contains(body, "promhttp_metric_handler_requests_total") {
		t.Errorf("no metrics about scrapes in %q", body)
	}
}

// broken is a collector whose metric is an error.
type broken struct{}

func (broken) Describe(chan<- *prometheus.Desc) {}
func (broken) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.NewInvalidMetric(prometheus.NewInvalidDesc(errors.New("broken")), errors.New("broken"))
}

func TestABrokenCollectorDoesNotHideTheOthers(t *testing.T) {
	var log bytes.Buffer
	o := options()
	o.Log = slog.New(slog.NewTextHandler(&log, nil))
	o.Registry.MustRegister(gauge(7), broken{})
	if status, body := get(server(t, o).Handler(), "/metrics"); status != 200 || !strings.Contains(body, "mglru_test 7") {
		t.Errorf("%d %q", status, body)
	}
	if !strings.Contains(log.String(), "broken") {
		t.Errorf("log: %q, want the error", log.String())
	}
}

// slow is a collector that waits.
type slow struct{ begun, release chan struct{} }

func (slow) Describe(chan<- *prometheus.Desc) {}
func (s slow) Collect(ch chan<- prometheus.Metric) {
	s.begun <- struct{}{}
	<-s.release
	ch <- gauge(7)
}

func TestTooManyRequestsAreTurnedAway(t *testing.T) {
	o := options()
	o.MaxRequests = 1
	s := slow{make(chan struct{}), make(chan struct{})}
	o.Registry.MustRegister(s)
	h := server(t, o).Handler()
	var wg sync.WaitGroup
	wg.Go(func() { get(h, "/metrics") })
	<-s.begun
	if status, _ := get(h, "/metrics"); status != 503 {
		t.Errorf("second request: %d, want 503", status)
	}
	close(s.release)
	wg.Wait()
}

func TestBadOptions(t *testing.T) {
	for _, p := range []string{"", "metrics", "/metrics/", "/a//b", "/-/ready", "/-", "/api", "/api/v1/events", "/{x}", "/a b", "/a\n", "/ü", "/a?b"} {
		o := options()
		o.TelemetryPath = p
		if _, err := web.New(o); err == nil || !strings.Contains(err.Error(), "telemetry path") {
			t.Errorf("telemetry path %q: %v, want an error that says so", p, err)
		}
	}
	bad := filepath.Join(t.TempDir(), "web.yml")
	if err := os.WriteFile(bad, []byte("tls_sever_config: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{bad, bad + ".none"} {
		o := options()
		o.Flags = flags(file, "127.0.0.1:0")
		if _, err := web.New(o); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("web config: %v, want an error that names %s", err, file)
		}
	}
}

// logged is a log to which a server writes its address.
type logged struct {
	mu      sync.Mutex
	text    bytes.Buffer
	address chan string
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m := regexp.MustCompile(`Listening on.*address=(\S+)`).FindSubmatch(p); m != nil {
		l.address <- string(m[1])
	}
	return l.text.Write(p)
}

// run runs a server and returns its address and how to stop it.
func run(t *testing.T, o web.Options) (address string, stop func() error) {
	t.Helper()
	log := &logged{address: make(chan string, 1)}
	o.Log = slog.New(slog.NewTextHandler(log, nil))
	s := server(t, o)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	select {
	case address = <-log.address:
	case err := <-done:
		t.Fatalf("ended at once: %v", err)
	}
	return address, func() error {
		cancel()
		return <-done
	}
}

func client() *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
}

func TestStopLetsRequestsFinish(t *testing.T) {
	o := options()
	s := slow{make(chan struct{}), make(chan struct{})}
	o.Registry.MustRegister(s)
	address, stop := run(t, o)
	body := make(chan string, 1)
	go func() {
		resp, err := client().Get("http://" + address + "/metrics")
		if err != nil {
			body <- err.Error()
			return
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		body <- string(b)
	}()
	<-s.begun
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	select {
	case err := <-stopped:
		t.Fatalf("stopped with a request under way: %v", err)
	default:
	}
	close(s.release)
	if b := <-body; !strings.Contains(b, "mglru_test 7") {
		t.Errorf("the request under way got %q", b)
	}
	if err := <-stopped; err != nil {
		t.Errorf("stop: %v", err)
	}
}

func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	o := options()
	o.Flags = flags("", l.Addr().String())
	if err := server(t, o).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("%v, want address already in use", err)
	}
}

func TestRunEndsWithItsContextEvenBeforeItListens(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := server(t, options()).Run(ctx); err != nil {
		t.Error(err)
	}
}

func TestBasicAuthentication(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "web.yml")
	if err := os.WriteFile(file, []byte("basic_auth_users:\n  prom: "+string(hash)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := options()
	o.Flags = flags(file, "127.0.0.1:0")
	reloads := 0
	o.Reload = func() error { reloads++; return nil }
	address, stop := run(t, o)
	for _, c := range []struct {
		password, method, path string
		want                   int
	}{
		{"secret", http.MethodGet, "/-/healthy", 200},
		{"wrong", http.MethodGet, "/-/healthy", 401},
		{"", http.MethodGet, "/-/healthy", 401},
		{"", http.MethodPost, "/-/reload", 401},
		{"secret", http.MethodPost, "/-/reload", 200},
	} {
		password, want := c.password, c.want
		req, err := http.NewRequest(c.method, "http://"+address+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if password != "" {
			req.SetBasicAuth("prom", password)
		}
		resp, err := client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s %s with password %q: %d, want %d", c.method, c.path, password, resp.StatusCode, want)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if reloads != 1 {
		t.Errorf("%d reloads, want that of who has the password alone", reloads)
	}
}
