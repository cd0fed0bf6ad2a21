package main

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"mglru_exporter/internal/api"
)

// showTop runs top, as on a pipe.
func showTop(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), append([]string{"top"}, args...), &out, &errs, fakeSystem(nil))
	return code, out.String(), errs.String()
}

func wantFrame(t *testing.T, frame string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(frame, w) {
			t.Errorf("no %q in\n%s", w, frame)
		}
	}
}

// TestTopOfAReplay serves a recording, and prints what top shows of it.
func TestTopOfAReplay(t *testing.T) {
	t.Setenv("LC_ALL", "C.UTF-8")
	t.Setenv("COLUMNS", "")
	t.Setenv("LINES", "")
	url, stop := startReplay(t, "--config.file="+write(t, "config.yaml", replayGuest))
	code, frame, stderr := showTop(t, "--once", "--url="+url)
	if code != exitOK || stderr != "" {
		t.Errorf("exit code %d, stderr %s", code, stderr)
	}
	wantFrame(t, frame, "replay · 20", "▾COLD", "postgres ", "webshop ", "1 of 2 · source replay")
	if strings.Contains(frame, "\x1b") {
		t.Errorf("escape sequences on a pipe: %q", frame)
	}
	pid := ""
	for _, p := range ask[api.Processes](t, url+api.ProcessesPath).Processes {
		pid = fmt.Sprint(p.PID)
		_, frame, _ := showTop(t, "--once", "--url="+url, "--pid="+pid)
		wantFrame(t, frame, p.Comm+"  pid "+pid+"  "+p.Memcg, "heat  · not accessed", "╱", "█",
			fmt.Sprintf("%d windows", ask[api.Heatmap](t, url+strings.Replace(api.HeatmapPath, "{pid}", pid, 1)).Process.Windows))
	}

	_, frame, _ = showTop(t, "--once", "--url="+url, "--search=web", "--sort=comm")
	if wantFrame(t, frame, "▾", "webshop", "search: web"); strings.Contains(frame, "postgres") {
		t.Errorf("--search=web shows\n%s", frame)
	}
	t.Setenv("COLUMNS", "132")
	t.Setenv("LINES", "40")
	_, frame, stderr = showTop(t, "--once", "--url="+url, "--pid="+pid, "--overlay=node", "--color=always")
	if stderr != "" {
		t.Error(stderr)
	}
	wantFrame(t, frame, "\x1b[0;48;5;74m", "node 0", "node 1")
	if got := strings.Count(frame, "\n"); got != 38 && got != 39 {
		t.Errorf("%d lines of 40", got)
	}
	code, frame, stderr = showTop(t, "--once", "--url="+url, "--pid=999999999")
	if code != exitFailure || frame != "" || !strings.Contains(stderr, url+": process 999999999 has no series of its own") {
		t.Errorf("a process that is not there: %d %q %s", code, frame, stderr)
	}
	stop()
	code, _, stderr = showTop(t, "--once", "--url="+url)
	if code != exitFailure || !strings.Contains(stderr, url+": ") || !strings.Contains(stderr, "is an mglru_exporter running there?") {
		t.Errorf("an exporter that is gone: %d %s", code, stderr)
	}
}

func TestTopSaysWhoItIs(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("swordfish"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	webConfig := write(t, "web.yml", "basic_auth_users: {alice: '"+string(hash)+"'}\n")
	url, stop := start(t, fakeSystem(newMonitor()), "--web.config.file="+webConfig)
	defer stop()
	code, _, stderr := showTop(t, "--once", "--url="+url)
	if code != exitFailure || !strings.Contains(stderr, "401 Unauthorized; say who you are in --http.config.file") {
		t.Errorf("without a password: %d %s", code, stderr)
	}
	who := write(t, "http.yml", "basic_auth: {username: alice, password: swordfish}\n")
	code, frame, stderr := showTop(t, "--once", "--url="+url, "--http.config.file="+who)
	if code != exitOK {
		t.Errorf("with a password: %d %s", code, stderr)
	}
	wantFrame(t, frame, "source fake")
}

func TestTopTrustsWhomItIsTold(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"source": "hooks", "granularity": "page", "total": 0, "processes": []}`)
	}))
	defer s.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	code, frame, stderr := showTop(t, "--once", "--url="+s.URL, "--http.config.file="+write(t, "http.yml", "tls_config: {ca_file: "+ca+"}\n"))
	if code != exitOK {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	wantFrame(t, frame, "source hooks", "No process")
}

func TestTopRefusals(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none.yml")
	for _, c := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"no terminal", nil, exitFailure, "standard output is no terminal; --once prints a frame to anything"},
		{"no scheme", []string{"--once", "--url=localhost:9934"}, exitFailure, `--url: "localhost:9934" is not an address such as http://127.0.0.1:9934`},
		{"interval", []string{"--interval=1ms"}, exitFailure, "--interval: 1ms is too short, at least 50ms"},
		{"pid", []string{"--once", "--pid=-4"}, exitFailure, "--pid: -4 is no process"},
		{"overlay", []string{"--overlay=cold"}, exitUsage, "enum value must be one of heat,node,type,idle, got 'cold', try --help"},
		{"color", []string{"--color=maybe"}, exitUsage, "auto,always,never"},
		{"no http config", []string{"--once", "--http.config.file=" + none}, exitFailure, "--http.config.file: open " + none + ": no such file or directory"},
		{"bad http config", []string{"--once", "--http.config.file=" + write(t, "http.yml", "basic_oauth: {}\n")}, exitFailure, "basic_oauth"},
	} {
		code, stdout, stderr := showTop(t, c.args...)
		if code != c.code || stdout != "" || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: exit code %d, stdout %q, stderr %s; want %d, %s", c.name, code, stdout, stderr, c.code, c.want)
		}
	}
}
