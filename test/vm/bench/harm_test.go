//go:build guest

package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	// openRate is in requests a second.
	openRate = 250
	// openTime is a window of four passes at the default interval.
	openTime = 4 * DefaultInterval
	// readerBytes is the memory of the reader; memcached has about as much.
	readerBytes = 256 << 20

	memcachedKeys, memcachedSize = 200_000, 1000
)

// closedTime is the length of the closed loop: a window of four passes at the short
// interval. A window at the default interval would take the host some ten minutes,
// and say what the exporter's CPU time says.
func (l *target) closedTime(w Watch) time.Duration {
	if l.name != "memcached" || w.Interval == DefaultInterval {
		return 0
	}
	return 4 * FastInterval
}

// TestHarm measures a process under load while it is watched in each way. It fails only
// if a part does not work, or if the exporter runs too few passes.
func TestHarm(t *testing.T) {
	quiet(t)
	start := map[string]func(*testing.T) *target{"memcached": startMemcached, "reader": startReader}
	for _, name := range Loads() {
		t.Run(name, func(t *testing.T) {
			load := start[name](t)
			for _, w := range Watches() {
				t.Run(w.String(), func(t *testing.T) { load.measure(t, w).print(t) })
			}
		})
	}
}

// TestLocks measures the reader's waits for locks while the exporter works on another
// CPU, at the short interval: at the default one there are too few passes.
func TestLocks(t *testing.T) {
	quiet(t)
	reader := startReader(t)
	reader.requests.pin(t, 0)
	for _, w := range []Watch{Unwatched, {Source: "hooks", Interval: FastInterval}, {Source: "stock", Interval: FastInterval}, {Source: "referenced", Interval: FastInterval}} {
		t.Run(w.String(), func(t *testing.T) {
			var e *exporter
			if w.Source != "" {
				e = watch(t, reader.cgroup, w)
				defer e.stop(t)
				e.p.pin(t, 1)
			}
			h := Harm{Load: reader.name, Watch: w.String(), Resident: resident(t, reader.pid)}
			before := e.effort(t)
			h.Open = latency(reader.requests.do(t, fmt.Sprintf("closed %v", (10*FastInterval).Seconds())))
			h.Exporter = e.effort(t).since(before)
			h.print(t)
		})
	}
}

func (h Harm) print(t *testing.T) {
	t.Helper()
	line, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("%s%s\n", Mark, line)
}

// A target is a process under load.
type target struct {
	name, cgroup string
	pid          int
	requests     *child
}

func startReader(t *testing.T) *target {
	p := startChild(t, "/harm/reader", "requests", "reader", strconv.Itoa(readerBytes))
	p.ready(t)
	return &target{name: "reader", cgroup: "/harm/reader", pid: p.pid(), requests: p}
}

func startMemcached(t *testing.T) *target {
	const socket = "/tmp/memcached.sock"
	// As before 1.5: no thread goes over what is not read.
	server := startChild(t, "/harm/memcached", "memcached", "-u", "root", "-s", socket, "-t", "1", "-m", "300", "-o", "no_modern,hashpower=20")
	p := startChild(t, "/load", "requests", "memcached", socket, strconv.Itoa(memcachedKeys), strconv.Itoa(memcachedSize))
	p.ready(t)
	return &target{name: "memcached", cgroup: "/harm/memcached", pid: server.pid(), requests: p}
}

// measure puts the loads on a target that is watched.
func (l *target) measure(t *testing.T, w Watch) Harm {
	h := Harm{Load: l.name, Watch: w.String(), Resident: resident(t, l.pid)}
	var e *exporter
	if w.Source != "" {
		e = watch(t, l.cgroup, w)
		defer e.stop(t)
	}
	before := e.effort(t)
	h.Open = latency(l.requests.do(t, fmt.Sprintf("open %d %v", openRate, openTime.Seconds())))
	h.Exporter = e.effort(t).since(before)
	if want := openTime / w.interval(); e != nil && h.Exporter.Passes < int(want) && h.Exporter.Delay == 0 {
		t.Errorf("%d passes in %v, want %d", h.Exporter.Passes, openTime, want)
	}
	if d := l.closedTime(w); d > 0 {
		closed := l.requests.do(t, fmt.Sprintf("closed %v", d.Seconds()))
		h.Closed = float64(closed["requests"]) / float64(closed["ns"]) * 1e9
	}
	return h
}

func (w Watch) interval() time.Duration { return max(w.Interval, time.Nanosecond) }

// latency is the answer to open.
func latency(m map[string]int64) Latency {
	return Latency{
		Requests: int(m["requests"]), P50: m["p50"], P99: m["p99"], P999: m["p999"], Max: m["max"],
		Blocked: int(m["blocked"]), BlockedNS: m["blocked_ns"], BlockedMax: m["blocked_max"],
	}
}

// resident is the memory of a process, in bytes.
func resident(t *testing.T, pid int) uint64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatalf("no VmRSS of %d", pid)
	return 0
}

// cpuOf is the CPU time that all in a cgroup have used, in seconds.
func cpuOf(t *testing.T, cgroup string) float64 {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", cgroup, "cpu.stat"))
	if err != nil {
		t.Fatal(err)
	}
	var us int64
	if _, err := fmt.Sscanf(string(text), "usage_usec %d", &us); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return float64(us) / 1e6
}
