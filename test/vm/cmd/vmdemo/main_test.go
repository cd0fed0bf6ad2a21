//go:build vm

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"mglru_exporter/test/vm"
)

// TestDemo runs the demo as "make demo" does, until /metrics shows what is known of
// its workload, memcached's heatmap the two phases of its load, and Prometheus has
// both and has evaluated all rules; and has promtool check the page. Nothing is left
// then.
func TestDemo(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatalf("%v: make deps puts it where make test finds it", err)
	}
	d := demo{exporter: filepath.Join(t.TempDir(), "mglru_exporter")}
	if err := vm.BuildCommand(t.Context(), "./cmd/mglru_exporter", d.exporter); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Minute) // it may build a kernel
	defer cancel()
	if path := os.Getenv("MGLRU_KERNELS"); strings.Contains(path, "/") {
		d.kernel = path
	}
	var metrics string
	looked := false
	d.meanwhile = func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 15*time.Minute) // all is built
		defer cancel()
		for _, look := range []func(context.Context) error{
			func(ctx context.Context) (err error) { metrics, err = workload(ctx); return err },
			func(ctx context.Context) error { _, err := awaitPhases(ctx, 0); return err },
			func(ctx context.Context) error { return until(ctx, "Prometheus", scraped) },
			func(ctx context.Context) error { return until(ctx, "its rules", evaluated) },
		} {
			if err := look(ctx); err != nil {
				return err
			}
		}
		looked = true
		return nil
	}
	if err := d.run(ctx); err != nil || !looked {
		t.Fatalf("the demo ended: %v", err)
	}
	check := exec.CommandContext(ctx, promtool, "check", "metrics")
	check.Stdin = strings.NewReader(metrics)
	if out, err := check.CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) != 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
	if err := portsAreFree(ctx); err != nil {
		t.Errorf("after the demo: %v", err)
	}
}

// workload waits until /metrics tells what shop and cache use, and returns it.
func workload(ctx context.Context) (metrics string, err error) {
	const mib = 1 << 20
	err = until(ctx, "the workload", func(ctx context.Context) error {
		if metrics, err = get(ctx, exporterURL+"/metrics"); err != nil {
			return err
		}
		for _, want := range []struct {
			bytes  float64
			name   string
			labels []string
		}{
			{32 * mib, "mglru_hot_bytes", []string{`comm="shop"`, `node="0"`, `type="anon"`}},
			{64 * mib, "mglru_cold_bytes", []string{`comm="shop"`, `node="1"`, `type="anon"`}},
			{32 * mib, "mglru_hot_bytes", []string{`comm="cache"`, `node="0"`, `type="anon"`}},
		} {
			got, err := total(metrics, want.name, want.labels...)
			if err != nil {
				return err
			}
			if got < want.bytes {
				return fmt.Errorf("%s%s: %g, want %g", want.name, want.labels, got, want.bytes)
			}
		}
		return nil
	})
	return metrics, err
}

// total adds up the samples of a metric that have all the labels.
func total(metrics, name string, labels ...string) (total float64, err error) {
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
			return 0, err
		}
		total += v
	}
	return total, nil
}

// ask asks Prometheus' API and decodes the data of its answer.
func ask(ctx context.Context, path string, query url.Values, data any) error {
	var answer struct{ Data json.RawMessage }
	if err := getJSON(ctx, prometheusURL+"/api/v1/"+path+"?"+query.Encode(), &answer); err != nil {
		return err
	}
	return json.Unmarshal(answer.Data, data)
}

// scraped tells whether Prometheus scrapes the exporter and has what memcached's
// cold memory is, by address, too.
func scraped(ctx context.Context) error {
	var targets struct {
		ActiveTargets []struct{ Health, LastError string }
	}
	if err := ask(ctx, "targets", nil, &targets); err != nil {
		return err
	}
	if len(targets.ActiveTargets) != 1 || targets.ActiveTargets[0].Health != "up" {
		return fmt.Errorf("targets: %+v", targets.ActiveTargets)
	}
	for expr, want := range map[string]int{
		`sum by (type) (mglru_cold_bytes{comm="memcached", type="anon"}) > 0`: 1,
		`sum by (band) (mglru_address_accesses{comm="memcached"})`:            64,
	} {
		var answer struct{ Result []json.RawMessage }
		if err := ask(ctx, "query", url.Values{"query": {expr}}, &answer); err != nil {
			return err
		}
		if len(answer.Result) != want {
			return fmt.Errorf("%s: %d series, want %d", expr, len(answer.Result), want)
		}
	}
	return nil
}

// evaluated tells whether Prometheus has evaluated all rules, without an error.
func evaluated(ctx context.Context) error {
	var all struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError string }
		}
	}
	if err := ask(ctx, "rules", nil, &all); err != nil {
		return err
	}
	if len(all.Groups) == 0 {
		return fmt.Errorf("there are no rules")
	}
	for _, g := range all.Groups {
		for _, r := range g.Rules {
			if r.Health != "ok" {
				return fmt.Errorf("rule %s: %s: %s", r.Name, r.Health, r.LastError)
			}
		}
	}
	return nil
}
