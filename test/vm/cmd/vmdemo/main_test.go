//go:build vm

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"mglru_exporter/test/vm"
)

// TestDemo runs the demo as "make demo" does, until /metrics shows what is known
// of its workload, and has promtool check the page.
func TestDemo(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatalf("%v: make deps puts it where make test finds it", err)
	}
	exporter := filepath.Join(t.TempDir(), "mglru_exporter")
	if err := vm.BuildCommand(t.Context(), "./cmd/mglru_exporter", exporter); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Minute) // it may build a kernel
	defer cancel()
	kernel := "" // the patched one
	if path := os.Getenv("MGLRU_KERNELS"); strings.Contains(path, "/") {
		kernel = path
	}
	ended := make(chan error, 1)
	go func() { ended <- demo(ctx, exporter, kernel) }()
	url := fmt.Sprintf("http://127.0.0.1:%d/metrics", port)
	const mib = 1 << 20
	var metrics string
	for known := false; !known; {
		select {
		case err := <-ended:
			t.Fatalf("the demo ended: %v", err)
		case <-time.After(time.Second):
		}
		if metrics, err = get(ctx, url); err != nil {
			continue
		}
		index := sum(t, metrics, "mglru_hot_bytes", `comm="shop"`, `node="0"`, `type="anon"`)
		history := sum(t, metrics, "mglru_cold_bytes", `comm="shop"`, `node="1"`, `type="anon"`)
		slabs := sum(t, metrics, "mglru_hot_bytes", `comm="cache"`, `node="0"`, `type="anon"`)
		known = index >= 32*mib && history >= 64*mib && slabs >= 32*mib
	}
	check := exec.CommandContext(ctx, promtool, "check", "metrics")
	check.Stdin = strings.NewReader(metrics)
	if out, err := check.CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) != 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
	cancel()
	<-ended //nolint:errcheck // it was interrupted
}

// sum adds up the samples of a metric that have all the labels.
func sum(t *testing.T, metrics, name string, labels ...string) (total float64) {
	t.Helper()
lines:
	for line := range strings.Lines(metrics) {
		series, value, ok := strings.Cut(strings.TrimSpace(line), "} ")
		if !ok || !strings.HasPrefix(series, name+"{") {
			continue
		}
		for _, l := range labels {
			if !strings.Contains(series, l) {
				continue lines
			}
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatal(err)
		}
		total += v
	}
	return total
}
