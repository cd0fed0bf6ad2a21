package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// post posts nothing, and returns what comes back.
func post(t *testing.T, url string) (int, string) {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	resp, err := c.Post(url, "", nil)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return resp.StatusCode, string(b)
}

// rewrite replaces a file in one step, as who reloads should.
func rewrite(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// samples returns the lines of metrics that begin with prefix.
func samples(t *testing.T, url, prefix string) []string {
	t.Helper()
	_, body := get(t, url+"/metrics")
	var out []string
	for l := range strings.SplitSeq(body, "\n") {
		if strings.HasPrefix(l, prefix) {
			out = append(out, l)
		}
	}
	return out
}

func TestReload(t *testing.T) {
	file := write(t, "config.yaml", goodConfig)
	m := newMonitor()
	url, stop := start(t, fakeSystem(m), "--web.enable-lifecycle", "--config.file="+file)
	last := func() string {
		return strings.Join(samples(t, url, "mglru_config_last_reload_success_timestamp_seconds "), "")
	}
	for _, c := range []struct {
		name, yaml string
		refuse     error
		status     int
		want       []string
		hot        string // how the series is labelled then
	}{
		{"not valid", "agng: {}\nmemcgs: []\n", nil, 500,
			[]string{file + ":1: agng: unknown key, did you mean aging?", file + ":2: memcgs: names no memcg"}, `pid="42"`},
		{"not YAML", "memcgs: [", nil, 500, []string{file + ":1: not YAML near this line"}, `pid="42"`},
		{"empty, as while it is being written", "", nil, 500, []string{file + ":1: is empty"}, `pid="42"`},
		{"another source", "source: stock\n" + goodConfig, nil, 500,
			[]string{file + ": source (was auto, now stock): cannot change while the exporter runs, restart it"}, `pid="42"`},
		{"a range of addresses", "memcgs: [{path: /a, regions: [0x1000-0x2000]}]\n", nil, 500,
			[]string{file + ": memcgs[0].regions: 0x1000-0x2000 (of /a) is a range of addresses"}, `pid="42"`},
		{"the monitor refuses", goodConfig, errors.New("memcg \"/a\": no"), 500, []string{`memcg "/a": no`}, `pid="42"`},
		{"other labels", "labels: {pid: false}\n" + goodConfig, nil, 200, []string{"reloaded\n"}, `node="0",type`},
		{"labels as before", goodConfig, nil, 200, []string{"reloaded\n"}, `pid="42"`},
		{"gone", "", nil, 500, []string{"config file " + file + ": file does not exist"}, `pid="42"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			m.mu.Lock()
			m.refuse = c.refuse
			before := len(m.reloads)
			m.mu.Unlock()
			lastBefore := last()
			rewrite(t, file, c.yaml)
			if c.name == "gone" {
				if err := os.Remove(file); err != nil {
					t.Fatal(err)
				}
			}
			status, body := post(t, url+"/-/reload")
			if status != c.status {
				t.Errorf("status %d, want %d", status, c.status)
			}
			for _, want := range c.want {
				if !strings.Contains(body, want) {
					t.Errorf("answer %q, want %q in it", body, want)
				}
			}
			ok, reloads := "0", 0
			if c.status == 200 {
				ok, reloads = "1", 1
			}
			if got := samples(t, url, "mglru_config_last_reload_successful "); len(got) != 1 || !strings.HasSuffix(got[0], " "+ok) {
				t.Errorf("%q, want %s", got, ok)
			}
			if at := last(); at != lastBefore && c.status != 200 || !strings.Contains(at, "e+09") {
				t.Errorf("%q, before that %q", at, lastBefore)
			}
			if n := len(m.reloads) - before; n != reloads {
				t.Errorf("%d configs have reached the monitor, want %d", n, reloads)
			}
			if got := samples(t, url, "mglru_hot_bytes{"); len(got) != 1 || !strings.Contains(got[0], c.hot) {
				t.Errorf("%q, want %s in it", got, c.hot)
			}
		})
	}
	if status, _ := get(t, url+"/-/reload"); status != http.StatusMethodNotAllowed {
		t.Errorf("GET: status %d, want 405", status)
	}
	if code, stderr := stop(); code != exitOK || !strings.Contains(stderr, "The configuration was not reloaded, the one before stays in use") {
		t.Errorf("exit code %d, stderr:\n%s", code, stderr)
	}
}

func TestReloadsAtTheSameTime(t *testing.T) {
	file := write(t, "config.yaml", goodConfig)
	m := newMonitor()
	url, stop := start(t, fakeSystem(m), "--web.enable-lifecycle", "--config.file="+file)
	var all sync.WaitGroup
	var reloads atomic.Int64 // HTTP's limit turns the others away
	for i := range 4 {
		all.Go(func() {
			for range 10 {
				switch status, body := post(t, url+"/-/reload"); status {
				case http.StatusOK:
					reloads.Add(1)
				case http.StatusTooManyRequests:
				default:
					t.Errorf("%d %q", status, body)
				}
				get(t, url+"/metrics")
			}
		})
		rewrite(t, file, goodConfig+"limits: {max_series: "+strings.Repeat("9", i+1)+"}\n")
	}
	all.Wait()
	if code, stderr := stop(); code != exitOK || len(m.reloads) != int(reloads.Load()) || len(m.reloads) < 10 {
		t.Errorf("%d reloads, %d answered with 200, exit code %d, stderr:\n%s", len(m.reloads), reloads.Load(), code, stderr)
	}
}

// TestAVeryBrokenFileIsLoggedOnceAndAnsweredInShort: what anybody may ask for again and
// again must not fill the log.
func TestAVeryBrokenFileIsLoggedOnceAndAnsweredInShort(t *testing.T) {
	file := write(t, "config.yaml", goodConfig)
	m := newMonitor()
	url, stop := start(t, fakeSystem(m), "--web.enable-lifecycle", "--config.file="+file)
	var broken strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&broken, "key%d%s: 1\n", i, strings.Repeat("x", 500))
	}
	rewrite(t, file, broken.String())
	for range 5 {
		status, body := post(t, url+"/-/reload")
		if status != 500 || len(body) > 1500 || !strings.Contains(body, file+":1: key0xxx") || !strings.Contains(body, "more, mglru_exporter check lists them") {
			t.Errorf("%d %q, want the first errors and how many there are", status, body)
		}
	}
	rewrite(t, file, "agng: {}\n"+goodConfig)
	post(t, url+"/-/reload")
	code, stderr := stop()
	if n := strings.Count(stderr, "key0xxx"); code != exitOK || n != 1 || len(stderr) > 20_000 {
		t.Errorf("exit code %d, the first error %d times in a log of %d bytes, want once in at most 20,000", code, n, len(stderr))
	}
	if n := strings.Count(stderr, "its errors are those logged before"); n != 4 || !strings.Contains(stderr, "did you mean aging?") {
		t.Errorf("%d reloads with the errors of before, want 4, and the other file's error after them:\n%.3000s", n, stderr)
	}
}

// TestReloadByHTTPIsOff unless a flag asks for it.
func TestReloadByHTTPIsOff(t *testing.T) {
	m := newMonitor()
	url, stop := start(t, fakeSystem(m))
	if status, body := post(t, url+"/-/reload"); status != http.StatusForbidden || !strings.Contains(body, "--web.enable-lifecycle") {
		t.Errorf("%d %q", status, body)
	}
	if code, stderr := stop(); code != exitOK || len(m.reloads) > 0 {
		t.Errorf("exit code %d, %d reloads, stderr:\n%s", code, len(m.reloads), stderr)
	}
}

// TestSignals sends true signals to a true process, which plays a recording.
func TestSignals(t *testing.T) {
	recorded, err := filepath.Abs("../../internal/recording/testdata/guest.mglru")
	if err != nil {
		t.Fatal(err)
	}
	playing := "source: replay\nreplay: {file: " + recorded + ", speed: 0}\nmemcgs:\n  - path: "
	file := write(t, "config.yaml", playing+"/**\n")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	stderr := &logged{address: make(chan string, 1)}
	cmd := exec.CommandContext(t.Context(), self, "--config.file="+file, "--web.listen-address=127.0.0.1:0")
	cmd.Env, cmd.Stderr = append(os.Environ(), asCommand+"=1"), stderr
	// It ends with this thread, should the test have no chance to end it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		for range ended { // until it is closed
		}
	})
	url := ""
	select {
	case a := <-stderr.address:
		url = "http://" + a
	case err := <-ended:
		t.Fatalf("ended at once: %v\n%s", err, stderr.text.String())
	}
	// until waits until metrics are such. The test's own time limit ends it.
	until := func(prefix string, cond func([]string) bool) {
		t.Helper()
		for !cond(samples(t, url, prefix)) {
			select {
			case err := <-ended:
				t.Fatalf("the exporter has ended: %v\n%s", err, stderr.text.String())
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	passes := func(want ...string) func([]string) bool {
		return func(got []string) bool {
			for i := range got {
				got[i], _, _ = strings.Cut(got[i], "} ")
			}
			return strings.Join(got, "\n") == strings.Join(want, "\n")
		}
	}
	hangup := func() {
		t.Helper()
		if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	successful := func(v string) func([]string) bool {
		return func(got []string) bool { return len(got) == 1 && strings.HasSuffix(got[0], " "+v) }
	}

	until("mglru_passes_total{", func(got []string) bool { return len(got) > 1 })
	rewrite(t, file, "source: hooks\nmemcgs: [{path: /**}]\n")
	hangup()
	until("mglru_config_last_reload_successful ", successful("0"))
	rewrite(t, file, playing+"/nowhere\n")
	hangup()
	until("mglru_passes_total{", passes(`mglru_passes_total{memcg="/nowhere"`))
	until("mglru_config_last_reload_successful ", successful("1"))
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
	if log := stderr.text.String(); !strings.Contains(log, "source (was replay, now hooks): cannot change while the exporter runs, restart it") {
		t.Errorf("log:\n%s", log)
	}
}
