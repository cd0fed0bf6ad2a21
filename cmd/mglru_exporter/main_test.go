package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"mglru_exporter/internal/config"
	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/preflight"
)

// asCommand makes the test binary the exporter itself, for tests that need a
// process.
const asCommand = "MGLRU_EXPORTER_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	goleak.VerifyTestMain(m)
}

// fakeMonitor has one process from the start.
type fakeMonitor struct {
	ready error
	end   error         // what Run returns
	now   bool          // Run returns without being asked to
	ended chan struct{} // closed when Run returns

	mu      sync.Mutex
	reloads []*config.Config
	refuse  error // what Reload returns
}

func (m *fakeMonitor) Run(ctx context.Context) error {
	defer close(m.ended)
	if !m.now {
		<-ctx.Done()
	}
	return m.end
}

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
		Source: heat.SourceInfo{Name: "fake", Granularity: "page"},
		Memcgs: []heat.MemcgSnapshot{{
			Path: "/a", WindowEnd: time.Unix(1, 0), WindowPasses: 4,
			Series: []heat.Series{{PID: 42, Comm: "x", Areas: []heat.Area{{Hot: 4096, Resident: 4096}}}},
		}},
	}
}

func newMonitor() *fakeMonitor { return &fakeMonitor{ended: make(chan struct{})} }

// fakeSystem has the given reports, and a monitor unless it is nil.
func fakeSystem(m *fakeMonitor, reports ...preflight.Report) system {
	return system{
		preflight: func(name string) []preflight.Report {
			var out []preflight.Report
			for _, r := range reports {
				if name == "auto" || name == r.Source {
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

func TestServe(t *testing.T) {
	m := newMonitor()
	url, stop := start(t, fakeSystem(m))
	status, body := get(t, url+"/metrics")
	if status != 200 {
		t.Errorf("status %d", status)
	}
	for _, want := range []string{
		`mglru_hot_bytes{comm="x",memcg="/a",node="0",pid="42",type="anon"} 4096`,
		`mglru_source_info{granularity="page",source="fake"} 1`,
		"mglru_config_last_reload_successful 1", "mglru_config_last_reload_success_timestamp_seconds ",
		"mglru_build_info{", "go_goroutines ", "process_cpu_seconds_total ", "promhttp_metric_handler_requests_total{",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in /metrics", want)
		}
	}
	if status, _ := get(t, url+"/-/ready"); status != 200 {
		t.Errorf("ready: %d", status)
	}
	code, stderr := stop()
	if code != exitOK || strings.Contains(stderr, "error") {
		t.Errorf("exit code %d, stderr:\n%s", code, stderr)
	}
	select {
	case <-m.ended:
	default:
		t.Error("the monitor was not ended")
	}
}

func TestServeWithoutExporterMetrics(t *testing.T) {
	m := newMonitor()
	m.ready = errors.New("no pass has ended yet")
	url, stop := start(t, fakeSystem(m), "serve", "--web.disable-exporter-metrics", "--web.telemetry-path=/heat", "--log.format=logfmt")
	if _, body := get(t, url+"/heat"); strings.Contains(body, "go_") || strings.Contains(body, "promhttp_") || !strings.Contains(body, "mglru_hot_bytes") {
		t.Errorf("metrics:\n%s", body)
	}
	if status, body := get(t, url+"/-/ready"); status != 503 || !strings.Contains(body, "no pass has ended yet") {
		t.Errorf("ready: %d %q", status, body)
	}
	if code, stderr := stop(); code != exitOK {
		t.Errorf("exit code %d, stderr:\n%s", code, stderr)
	}
}

// complaints returns the lines of stderr that are not log records.
func complaints(stderr string) []string {
	var out []string
	for l := range strings.SplitSeq(strings.TrimSpace(stderr), "\n") {
		if !strings.HasPrefix(l, "time=") {
			out = append(out, l)
		}
	}
	return out
}

func TestWhatCannotStartSaysWhyAndEnds(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	busy := l.Addr().String()
	good := write(t, "config.yaml", goodConfig)
	bad := write(t, "config.yaml", "aging: {intervall: 1s}\nmemcgs: []\n")
	badWeb := write(t, "web.yml", "nonsense: 1\n")
	none := filepath.Join(t.TempDir(), "none.yaml")
	ranges := write(t, "config.yaml", "memcgs: [{path: /a, regions: [0x1000-0x2000]}]\n")
	replay := func(recording, regions string) string {
		return write(t, "config.yaml", "source: replay\nreplay: {file: "+recording+"}\nmemcgs: [{path: /**}, {path: /a, regions: ["+regions+"]}]\n")
	}
	const old, guest = "../../internal/recording/testdata/version1.mglru", "../../internal/recording/testdata/version2.mglru"
	failing := newMonitor()
	failing.now, failing.end = true, errors.New("start source hooks: permission denied")
	free := "--web.listen-address=127.0.0.1:0"

	for _, c := range []struct {
		name string
		args []string
		sys  system
		code int
		want []string
	}{
		{"unknown flag", []string{"--nope"}, fakeSystem(newMonitor()), exitUsage,
			[]string{"error: unknown long flag '--nope', try --help"}},
		{"unknown command", []string{"sevre"}, fakeSystem(newMonitor()), exitUsage,
			[]string{"error: unexpected sevre, try --help"}},
		{"bad log level", []string{"--log.level=loud"}, fakeSystem(newMonitor()), exitUsage,
			[]string{`loud`}},
		{"named config missing", []string{"--config.file=" + none}, fakeSystem(newMonitor()), exitFailure,
			[]string{"error: config file " + none + ": file does not exist"}},
		{"config is a directory", []string{"--config.file=" + filepath.Dir(good)}, fakeSystem(newMonitor()), exitFailure,
			[]string{"error: read config: read " + filepath.Dir(good) + ": is a directory"}},
		{"two mistakes in the config", []string{"--config.file=" + bad}, fakeSystem(newMonitor()), exitFailure,
			[]string{"error: " + bad + ":1: aging.intervall: unknown key, did you mean interval?", "error: " + bad + ":2: memcgs: names no memcg"}},
		{"a range of addresses", []string{"--config.file=" + ranges, free}, fakeSystem(newMonitor()), exitFailure,
			[]string{"error: " + ranges + ": memcgs[0].regions: 0x1000-0x2000 (of /a) is a range of addresses, start with --web.expose-addresses"}},
		{"regions of a recording without mappings", []string{"--config.file=" + replay(old, "/lib/*"), free}, host(), exitFailure,
			[]string{"error: " + old + " has no mappings, so memcgs[1].regions (of /a) can select none"}},
		{"ranges of a recording without addresses", []string{"--config.file=" + replay(guest, "0x1000-0x2000"), "--web.expose-addresses", free}, host(), exitFailure,
			[]string{"error: " + guest + " does not tell addresses, so memcgs[1].regions (of /a) cannot have a range"}},
		{"bad web config", []string{"--config.file=" + good, "--web.config.file=" + badWeb}, fakeSystem(newMonitor()), exitFailure,
			[]string{"error: web config file " + badWeb}},
		{"bad telemetry path", []string{"--config.file=" + good, "--web.telemetry-path=metrics"}, fakeSystem(newMonitor()), exitFailure,
			[]string{`error: telemetry path "metrics" does not begin with a slash`}},
		{"no source", []string{"--config.file=" + good, free}, fakeSystem(nil), exitFailure,
			[]string{"error: no source works here:", "error: source hooks: BTF: none; to repair: boot another kernel"}},
		{"port in use", []string{"--config.file=" + good, "--web.listen-address=" + busy}, fakeSystem(newMonitor()), exitFailure,
			[]string{"error: serve HTTP: listen tcp " + busy + ": bind: address already in use"}},
		{"source does not start", []string{"--config.file=" + good, free}, fakeSystem(failing), exitFailure,
			[]string{"error: start source hooks: permission denied"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := run(t.Context(), c.args, &stdout, &stderr, c.sys); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			got := complaints(stderr.String())
			// The parser of web config files explains itself on two lines.
			if len(got) != len(c.want) && c.name != "bad web config" {
				t.Fatalf("stderr:\n%s\nwant %d lines", stderr.String(), len(c.want))
			}
			for i, want := range c.want {
				if !strings.HasPrefix(got[i], program+": ") || !strings.Contains(got[i], want) {
					t.Errorf("line %d: %q, want %q in it", i, got[i], want)
				}
			}
			if stdout.Len() > 0 {
				t.Errorf("stdout: %q, want nothing", stdout.String())
			}
		})
	}
}

func TestMissingDefaultConfigSaysHowToMakeOne(t *testing.T) {
	_, err := configFile{name: filepath.Join(t.TempDir(), "config.yaml")}.load()
	if err == nil || !strings.Contains(err.Error(), "copy config.example.yaml there or name another with --config.file") {
		t.Error(err)
	}
}

func TestAPanicOfAServiceEndsTheOthersInOrder(t *testing.T) {
	ended := false
	err := together(t.Context(), slog.New(slog.DiscardHandler),
		func(context.Context) error { panic("oh") },
		func(ctx context.Context) error {
			<-ctx.Done()
			ended = true
			return nil
		})
	if err == nil || !strings.Contains(err.Error(), "internal error: oh") || !ended {
		t.Errorf("error %v, other service ended: %v", err, ended)
	}
}

func TestVersionAndHelp(t *testing.T) {
	for arg, want := range map[string]string{"--version": "mglru_exporter, version", "--help": "--config.file"} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), []string{arg}, &stdout, &stderr, fakeSystem(nil))
		if code != exitOK || !strings.Contains(stdout.String(), want) || stderr.Len() > 0 {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q", arg, code, stdout.String(), stderr.String())
		}
	}
}

func works() preflight.Report {
	return preflight.Report{Source: "hooks", Requirements: []preflight.Requirement{{Name: "BTF", Met: true, Detail: "/sys/kernel/btf/vmlinux"}}}
}

func broken() preflight.Report {
	return preflight.Report{Source: "hooks", Requirements: []preflight.Requirement{
		{Name: "root", Met: true},
		{Name: "debugfs", Detail: "not mounted", Repair: "mount -t debugfs none /sys/kernel/debug"},
	}}
}

func TestCheck(t *testing.T) {
	good := write(t, "config.yaml", goodConfig)
	bad := write(t, "config.yaml", "source: x\n")
	old := write(t, "config.yaml", "source: replay\nreplay: {file: ../../internal/recording/testdata/version1.mglru}\nmemcgs: [{path: /a, regions: [/lib/*]}]\n")
	for _, c := range []struct {
		name string
		args []string
		sys  system
		code int
		want string
	}{
		{"all is well", []string{"--config.file=" + good}, fakeSystem(nil, works()), exitOK,
			"config " + good + ": valid, entries for memcgs: 1\n\nsource hooks: works here\n  ok       BTF  /sys/kernel/btf/vmlinux\n"},
		{"no source works", []string{"--config.file=" + good}, fakeSystem(nil, broken()), exitFailure,
			"config " + good + ": valid, entries for memcgs: 1\n\nsource hooks: does not work here, 1 requirement is not met\n  ok       root\n  MISSING  debugfs  not mounted\n           → mount -t debugfs none /sys/kernel/debug\n"},
		{"bad config", []string{"--config.file=" + bad}, fakeSystem(nil, works()), exitFailure,
			"config " + bad + ": not valid\n  " + bad + ":1: source: unknown value \"x\", write one of " + strings.Join(config.Sources(), ", ") + "\n  " + bad + ":1: memcgs: is missing, it has no default\n\nsource hooks: works here\n  ok       BTF  /sys/kernel/btf/vmlinux\n"},
		{"regions of a recording without mappings", []string{"--config.file=" + old}, fakeSystem(nil), exitFailure,
			"config " + old + ": not valid\n  ../../internal/recording/testdata/version1.mglru has no mappings, so memcgs[0].regions (of /a) can select none: leave the key out, or record with this version and a source other than referenced\n\n" +
				"source replay: works here\n  ok       recording  ../../internal/recording/testdata/version1.mglru has 1 passes in 3h0m0s, recorded 2026-11-22T01:02:03Z on Linux 6.1.0 with source hooks\n"},
		{"as JSON", []string{"--config.file=" + good, "--output=json"}, fakeSystem(nil, works()), exitOK, `{
  "ok": true,
  "config": {
    "file": "` + good + `",
    "ok": true,
    "memcgs": 1
  },
  "sources": [
    {
      "source": "hooks",
      "requirements": [
        {
          "name": "BTF",
          "met": true,
          "detail": "/sys/kernel/btf/vmlinux"
        }
      ]
    }
  ]
}
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := run(t.Context(), append([]string{"check"}, c.args...), &stdout, &stderr, c.sys); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			if diff := cmp.Diff(c.want, stdout.String()); diff != "" {
				t.Errorf("stdout (-want +got):\n%s", diff)
			}
			if stderr.Len() > 0 {
				t.Errorf("stderr: %q", stderr.String())
			}
		})
	}
}

func TestCheckOfANamedConfigThatIsMissingFails(t *testing.T) {
	var stdout, stderr bytes.Buffer
	none := filepath.Join(t.TempDir(), "none.yaml")
	code := run(t.Context(), []string{"check", "--config.file=" + none}, &stdout, &stderr, fakeSystem(nil, works()))
	if code != exitFailure || !strings.Contains(stdout.String(), none+": not valid\n") {
		t.Errorf("exit code %d, stdout:\n%s", code, stdout.String())
	}
}

func TestCheckWithoutAnyConfigIsAboutTheSources(t *testing.T) {
	var out bytes.Buffer
	ok, err := checkCommand{sys: fakeSystem(nil, works()), out: &out, output: "text"}.run(configFile{name: filepath.Join(t.TempDir(), "config.yaml")})
	if !ok || err != nil || !strings.Contains(out.String(), "not there yet") {
		t.Errorf("ok %v, error %v, output:\n%s", ok, err, out.String())
	}
}
