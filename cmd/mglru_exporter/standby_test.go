package main

import (
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"mglru_exporter/internal/config"
)

// A repairable is a machine that has no usable source until it is repaired.
type repairable struct {
	ticks  chan time.Time     // the clock: each one ends a wait
	waits  chan time.Duration // each wait that begins
	mu     sync.Mutex
	err    error          // of open
	next   []*fakeMonitor // what open returns, the last again and again
	opened []string       // the sources that were asked for
}

func newRepairable() *repairable {
	return &repairable{ticks: make(chan time.Time), waits: make(chan time.Duration, 100)}
}

func (r *repairable) system() system {
	return system{
		open: func(cfg *config.Config, _ follower, _ *slog.Logger) (monitor, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.opened = append(r.opened, cfg.Source)
			if r.err != nil {
				return nil, r.err
			}
			m := r.next[0]
			if len(r.next) > 1 {
				r.next = r.next[1:]
			}
			return m, nil
		},
		after: func(d time.Duration) <-chan time.Time {
			r.waits <- d
			return r.ticks
		},
	}
}

// repair lets the next open succeed.
func (r *repairable) repair(next ...*fakeMonitor) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err, r.next = nil, next
}

// waiting waits until the exporter has begun to wait.
func (r *repairable) waiting(t *testing.T) {
	t.Helper()
	select {
	case d := <-r.waits:
		if d != retryEvery {
			t.Errorf("waits for %s, want %s", d, retryEvery)
		}
	case <-time.After(time.Minute):
		t.Fatal("the exporter does not wait")
	}
}

// wantNone asks the exporter while it has no source.
func wantNone(t *testing.T, url string, why ...string) {
	t.Helper()
	status, body := get(t, url+"/metrics")
	if status != 200 {
		t.Errorf("/metrics: status %d", status)
	}
	for _, want := range []string{
		`mglru_source_info{granularity="none",source="none"} 1`, "mglru_config_last_reload_successful ", "mglru_build_info{", "mglru_bpf_memory_bytes 0",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in /metrics:\n%s", want, body)
		}
	}
	status, body = get(t, url+"/-/ready")
	if status != 503 {
		t.Errorf("/-/ready: status %d, want 503", status)
	}
	for _, want := range append(why, "looking again every 1m0s") {
		if !strings.Contains(body, want) {
			t.Errorf("/-/ready does not say %q: %s", want, body)
		}
	}
	if status, _ := get(t, url+"/-/healthy"); status != 200 {
		t.Errorf("/-/healthy: status %d", status)
	}
}

// wantFake waits until a monitor runs, and asks the exporter then.
func wantFake(t *testing.T, url string, m *fakeMonitor) {
	t.Helper()
	select {
	case <-m.runs:
	case <-time.After(time.Minute):
		t.Fatal("the monitor does not run")
	}
	if got := samples(t, url, "mglru_source_info{"); len(got) != 1 || got[0] != `mglru_source_info{granularity="page",source="fake"} 1` {
		t.Errorf("%q, want source fake", got)
	}
	if status, body := get(t, url+"/-/ready"); status != 200 {
		t.Errorf("/-/ready: %d %s", status, body)
	}
}

func warnings(stderr string) int { return strings.Count(stderr, "level=WARN") }

func TestServeWithoutAUsableSourceWaitsForOne(t *testing.T) {
	r := newRepairable()
	r.err = errors.New("no source works here:\nsource hooks: BTF: none; to repair: boot another kernel")
	url, stop := start(t, r.system())
	r.waiting(t)
	wantNone(t, url, "source hooks: BTF: none", "to repair: boot another kernel")
	for range 3 {
		r.ticks <- time.Time{}
		r.waiting(t)
	}
	wantNone(t, url)

	m := newMonitor()
	r.repair(m)
	r.ticks <- time.Time{}
	wantFake(t, url, m)
	code, stderr := stop()
	if code != exitOK || warnings(stderr) != 1 || !strings.Contains(stderr, `msg="No usable source, waiting for one" retry=1m0s err="no source works here`) {
		t.Errorf("exit code %d, stderr, which should have one warning:\n%s", code, stderr)
	}
	if !strings.Contains(stderr, `level=INFO`) || !strings.Contains(stderr, `msg="Source usable, watching" used_source=fake`) {
		t.Errorf("stderr does not say that a source works now:\n%s", stderr)
	}
	select {
	case <-m.ended:
	default:
		t.Error("the monitor was not ended")
	}
}

func TestASourceThatDoesNotStartIsTriedAgain(t *testing.T) {
	r := newRepairable()
	failing := newMonitor()
	failing.start = errors.New("start source fake: permission denied")
	r.repair(failing)
	url, stop := start(t, r.system())
	r.waiting(t)
	for range 3 {
		wantNone(t, url, "start source fake: permission denied")
		r.ticks <- time.Time{}
		r.waiting(t)
	}
	m := newMonitor()
	r.repair(m)
	r.ticks <- time.Time{}
	wantFake(t, url, m)
	if code, stderr := stop(); code != exitOK || warnings(stderr) != 1 {
		t.Errorf("exit code %d, stderr, which should have one warning:\n%s", code, stderr)
	}
}

// TestAutoTriesTheNextWhereASourceDoesNotStart: what a preflight cannot find out must
// not keep auto from a source that works.
func TestAutoTriesTheNextWhereASourceDoesNotStart(t *testing.T) {
	for _, tc := range []struct {
		source, opened, used string
	}{
		{"auto", "auto stock referenced", "referenced"},
		{"hooks", "hooks", "none"},
	} {
		t.Run(tc.source, func(t *testing.T) {
			var opened []string
			r := newRepairable()
			sys := r.system()
			hooks, referenced := newMonitor(), newMonitor()
			hooks.source, hooks.start = "hooks", errors.New("start source hooks: no fentry")
			referenced.source = "referenced"
			sys.open = func(cfg *config.Config, _ follower, _ *slog.Logger) (monitor, error) {
				opened = append(opened, cfg.Source)
				switch cfg.Source {
				case "stock":
					return nil, errors.New("stock lacks MGLRU")
				case "referenced":
					return referenced, nil
				}
				return hooks, nil
			}
			url, stop := start(t, sys, "--config.file="+write(t, "config.yaml", "source: "+tc.source+"\n"+goodConfig))
			if tc.used == "none" {
				r.waiting(t)
				wantNone(t, url, "start source hooks: no fentry")
			} else {
				<-referenced.runs
				if got := samples(t, url, "mglru_source_info{"); len(got) != 1 || !strings.Contains(got[0], `source="referenced"`) {
					t.Errorf("%q, want source referenced", got)
				}
			}
			code, stderr := stop()
			if code != exitOK || warnings(stderr) != 1 || !strings.Contains(stderr, "start source hooks: no fentry") {
				t.Errorf("exit code %d, stderr, which should have one warning:\n%s", code, stderr)
			}
			if got := strings.Join(opened, " "); got != tc.opened {
				t.Errorf("opened %q, want %q", got, tc.opened)
			}
		})
	}
}

func TestANewReasonForHavingNoSourceIsLogged(t *testing.T) {
	r := newRepairable()
	r.err = errors.New("no BTF")
	url, stop := start(t, r.system())
	r.waiting(t)
	r.mu.Lock()
	r.err = errors.New("MGLRU is off")
	r.mu.Unlock()
	r.ticks <- time.Time{}
	r.waiting(t)
	wantNone(t, url, "MGLRU is off")
	if code, stderr := stop(); code != exitOK || warnings(stderr) != 2 {
		t.Errorf("exit code %d, stderr, which should have two warnings:\n%s", code, stderr)
	}
}

func TestReloadWhileNoSourceIsUsable(t *testing.T) {
	r := newRepairable()
	r.err = errors.New("no BTF")
	file := write(t, "config.yaml", "source: hooks\n"+goodConfig)
	url, stop := start(t, r.system(), "--web.enable-lifecycle", "--config.file="+file)
	r.waiting(t)

	rewrite(t, file, "source: nonsense\n"+goodConfig)
	if status, body := post(t, url+"/-/reload"); status != 500 {
		t.Errorf("a config that is not valid: %d %s", status, body)
	}
	wantNone(t, url, "no BTF")

	rewrite(t, file, "source: referenced\n"+goodConfig)
	if status, body := post(t, url+"/-/reload"); status != 200 {
		t.Errorf("another source: %d %s", status, body)
	}
	r.waiting(t) // it was tried at once, without a tick
	wantNone(t, url, "no BTF")

	m := newMonitor()
	r.repair(m)
	rewrite(t, file, "source: stock\n"+goodConfig)
	if status, body := post(t, url+"/-/reload"); status != 200 {
		t.Errorf("another source: %d %s", status, body)
	}
	wantFake(t, url, m)
	rewrite(t, file, "source: hooks\n"+goodConfig)
	if status, body := post(t, url+"/-/reload"); status != 500 || !strings.Contains(body, "source (was stock, now hooks): cannot change while the exporter runs") {
		t.Errorf("another source while one runs: %d %s", status, body)
	}
	if code, stderr := stop(); code != exitOK {
		t.Errorf("exit code %d, stderr:\n%s", code, stderr)
	}
	if got := strings.Join(r.opened, " "); got != "hooks referenced stock" {
		t.Errorf("opened %q, want hooks referenced stock", got)
	}
}

func TestStopWhileNoSourceIsUsable(t *testing.T) {
	r := newRepairable()
	r.err = errors.New("no BTF")
	_, stop := start(t, r.system())
	r.waiting(t)
	if code, stderr := stop(); code != exitOK || !strings.Contains(stderr, "Stopped") {
		t.Errorf("exit code %d, stderr:\n%s", code, stderr)
	}
}
