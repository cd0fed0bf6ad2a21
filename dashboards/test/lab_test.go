package test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	root      = "../.."
	recording = root + "/internal/recording/testdata/guest.mglru"
	// patience is how long anything may take before it is taken to hang.
	patience = 2 * time.Minute
)

// A lab is a Prometheus that scrapes an exporter, which has played a recording to
// its end.
type lab struct {
	metrics  string // the exporter's page
	server   server
	nativeOn server // one that keeps native histograms instead of classic ones
}

func newLab(t *testing.T) lab {
	t.Helper()
	dir := t.TempDir()
	binary := filepath.Join(dir, "mglru_exporter")
	build := exec.Command("go", "build", "-o", binary, "./cmd/mglru_exporter")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the exporter: %v\n%s", err, out)
	}
	file, err := filepath.Abs(recording)
	if err != nil {
		t.Fatal(err)
	}
	// The exporter is started once both are scraping, so that they see the whole
	// recording: a Prometheus takes five seconds to begin.
	var exporter atomic.Pointer[url.URL]
	gate := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		if u := exporter.Load(); u != nil {
			r.SetURL(u)
		}
	}, ErrorLog: log.New(io.Discard, "", 0)})
	t.Cleanup(gate.Close)
	rules, err := filepath.Abs("../rules")
	if err != nil {
		t.Fatal(err)
	}
	listening := regexp.MustCompile(`msg="Listening on" (?:.* )?address=(\S+)`)
	prometheus := func(name, ruleFiles string, args ...string) server {
		file := filepath.Join(dir, name+".yaml")
		write(t, file, fmt.Sprintf("global: {scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}\n"+
			"rule_files: [%s]\nscrape_configs:\n- job_name: mglru\n  static_configs: [{targets: [%q]}]\n", ruleFiles, gate.Listener.Addr()))
		p := run(t, tool(t, "prometheus"), append(args, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, name),
			"--web.listen-address=127.0.0.1:0")...)
		return server{url: "http://" + p.await(t, listening)}
	}
	l := lab{
		server:   prometheus("classic", strconv.Quote(filepath.Join(rules, "*.yaml"))),
		nativeOn: prometheus("native", "", "--enable-feature=native-histograms"),
	}
	l.server.await(t, "up")
	l.nativeOn.await(t, "up")

	// Passes are some 500 ms apart in the recording; the age of 10 minutes is what
	// the alerts ask for. One memcg does not exist, and is not the first by name: that
	// one is picked.
	config := filepath.Join(dir, "config.yaml")
	write(t, config, fmt.Sprintf("source: replay\nreplay: {file: %q, speed: 5}\nheat: {idle_ages: [500ms, 1s, 2s, 10m], never_accessed: {windows: 2}}\n"+
		"memcgs: [{path: /**, processes: {min_resident: 0}, address_bands: 16}, {path: /there-is-none}]\n", file))
	p := run(t, binary, "--config.file="+config, "--web.listen-address=127.0.0.1:0")
	at := &url.URL{Scheme: "http", Host: p.await(t, listening)}
	exporter.Store(at)
	p.await(t, regexp.MustCompile("played to its end"))
	l.server.awaitRules(t, time.Now().Add(time.Second))
	l.metrics = string(fetch(t, at.JoinPath("metrics").String()))
	return l
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// tool returns the path of a program of Debian's package prometheus.
func tool(t *testing.T, name string) string {
	t.Helper()
	cache := os.Getenv("MGLRU_CACHE")
	if dir, err := os.UserCacheDir(); cache == "" && err == nil {
		cache = filepath.Join(dir, "mglru_exporter")
	}
	for _, file := range []string{name, filepath.Join(cache, "tools/bin", name)} {
		if found, err := exec.LookPath(file); err == nil {
			return found
		}
	}
	t.Fatalf("%s is neither on PATH nor in %s/tools/bin: run make deps, or install Debian's package prometheus", name, cache)
	return ""
}

// A program is a process that lives as long as the test.
type program struct {
	name string
	grew chan struct{} // has an element if the log grew
	over chan struct{}

	mu  sync.Mutex
	log bytes.Buffer
}

func run(t *testing.T, name string, args ...string) *program {
	t.Helper()
	p := &program{name: filepath.Base(name), grew: make(chan struct{}, 1), over: make(chan struct{})}
	cmd := exec.Command(name, args...)
	cmd.Stderr = p
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = cmd.Wait()
		close(p.over)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-p.over
	})
	return p
}

// Write takes what the program logs.
func (p *program) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case p.grew <- struct{}{}:
	default:
	}
	return p.log.Write(b)
}

// await waits until the program has logged a line that matches, and returns the
// first group of the match.
func (p *program) await(t *testing.T, line *regexp.Regexp) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		p.mu.Lock()
		match, log := line.FindSubmatch(p.log.Bytes()), p.log.String()
		p.mu.Unlock()
		if match != nil {
			return string(match[len(match)-1])
		}
		select {
		case <-p.grew:
		case <-p.over:
			t.Fatalf("%s ended before it logged %s:\n%s", p.name, line, log)
		case <-ctx.Done():
			t.Fatalf("%s did not log %s:\n%s", p.name, line, log)
		}
	}
}

// A server is a Prometheus.
type server struct{ url string }

// fetch returns what is at a URL, whatever its status.
func fetch(t *testing.T, from string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// get asks for something of the API and decodes the data of the answer.
func (s server) get(t *testing.T, path string, query url.Values, data any) error {
	t.Helper()
	var answer struct {
		Error    string
		Warnings []string
		Data     json.RawMessage
	}
	body := fetch(t, s.url+"/api/v1/"+path+"?"+query.Encode())
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatalf("%s: %v: %s", path, err, body)
	}
	if answer.Error != "" || len(answer.Warnings) > 0 {
		return fmt.Errorf("%s %q", answer.Error, answer.Warnings)
	}
	return json.Unmarshal(answer.Data, data)
}

// A series is one of a query's result, without times.
type series struct {
	Metric map[string]string
	// Value is a time and the text of a number; so is each of Values. Of native
	// histograms there is Histogram or Histograms.
	Value      []any
	Values     [][]any
	Histogram  []any
	Histograms [][]any
}

// numbers tells whether there is anything in the series that is a number.
func (s series) numbers() bool {
	for _, v := range append(s.Values, s.Value) {
		if len(v) == 2 && v[1] != "NaN" {
			return true
		}
	}
	return len(s.Histogram) > 0 || len(s.Histograms) > 0
}

// ask runs a query, for now or over the time there has been, and returns the series
// that have numbers.
func (s server) ask(t *testing.T, expr string, instant bool) ([]series, error) {
	t.Helper()
	query, path := url.Values{"query": {expr}}, "query"
	if !instant {
		end := time.Now()
		path = "query_range"
		query.Set("step", "1")
		query.Set("end", end.Format(time.RFC3339Nano))
		query.Set("start", end.Add(-30*time.Second).Format(time.RFC3339Nano))
	}
	var result struct {
		ResultType string
		Result     json.RawMessage
	}
	if err := s.get(t, path, query, &result); err != nil {
		return nil, err
	}
	if result.ResultType == "scalar" {
		return []series{{}}, nil
	}
	var all, full []series
	if err := json.Unmarshal(result.Result, &all); err != nil {
		return nil, err
	}
	for _, one := range all {
		if one.numbers() {
			full = append(full, one)
		}
	}
	return full, nil
}

// values returns the values of a label of the series that a selector selects.
func (s server) values(t *testing.T, selector, label string) ([]string, error) {
	t.Helper()
	var values []string
	err := s.get(t, "label/"+label+"/values", url.Values{"match[]": {selector}}, &values)
	return values, err
}

// await waits until a query returns something.
func (s server) await(t *testing.T, expr string) {
	t.Helper()
	poll(t, expr, func() bool {
		found, err := s.ask(t, expr, true)
		if err != nil {
			t.Fatal(err)
		}
		return len(found) > 0
	})
}

// awaitRules waits until all rules have been evaluated at a time or later.
func (s server) awaitRules(t *testing.T, at time.Time) {
	t.Helper()
	poll(t, "the evaluation of all rules", func() bool {
		var all struct {
			Groups []struct {
				Rules []struct{ LastEvaluation time.Time }
			}
		}
		if err := s.get(t, "rules", nil, &all); err != nil {
			t.Fatal(err)
		}
		rules, done := 0, 0
		for _, g := range all.Groups {
			for _, r := range g.Rules {
				rules++
				if !r.LastEvaluation.Before(at) {
					done++
				}
			}
		}
		return rules > 0 && done == rules
	})
}

// poll asks again and again until the answer is yes.
func poll(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !done(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited for %s in vain", what)
		}
	}
}
