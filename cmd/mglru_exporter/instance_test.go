package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mglru_exporter/internal/config"
	"mglru_exporter/internal/instance"
	"mglru_exporter/internal/sampler"
	"mglru_exporter/internal/source"
)

// TestASecondExporterEnds: it does not wait for the first to go, nor does anything
// stay of its recording.
func TestASecondExporterEnds(t *testing.T) {
	held := &instance.HeldError{PID: 4211, Comm: "mglru_exporter", Started: time.Unix(1700000000, 0)}
	sys := fakeSystem(nil)
	sys.open = func(*config.Config, follower, *slog.Logger) (monitor, error) { return nil, held }
	sys.parts = func(*config.Config, *slog.Logger) (source.Source, sampler.Deps, error) {
		return nil, sampler.Deps{}, held
	}
	file := filepath.Join(t.TempDir(), "x.mglru")
	cfg := write(t, "config.yaml", goodConfig)
	for name, args := range map[string][]string{
		"serve":  {"--config.file=" + cfg, "--web.listen-address=127.0.0.1:0"},
		"record": {"--config.file=" + cfg, "record", file},
	} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), args, &out, &errs, sys); code != exitFailure {
			t.Errorf("%s: exit code %d, want %d", name, code, exitFailure)
		}
		last := strings.Split(strings.TrimSpace(errs.String()), "\n")
		if got, want := last[len(last)-1], "mglru_exporter: error: "+held.Error(); got != want {
			t.Errorf("%s says %q, want %q", name, got, want)
		}
		if strings.Contains(errs.String(), "waiting for") {
			t.Errorf("%s waits:\n%s", name, errs.String())
		}
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the recording is there: %v", err)
	}
}

func TestHostLock(t *testing.T) {
	proc, cgroups := t.TempDir(), t.TempDir()
	var logged bytes.Buffer
	log := slog.New(slog.NewTextHandler(&logged, nil))
	first, second := hostLock{procRoot: proc}, hostLock{procRoot: proc}
	for range 2 {
		if err := first.take(log); err != nil {
			t.Fatalf("without cgroups: %v", err)
		}
	}
	if n := strings.Count(logged.String(), "No lock against a second exporter"); n != 1 {
		t.Errorf("%d warnings, want 1:\n%s", n, logged.String())
	}
	for name, text := range map[string]string{
		filepath.Join(cgroups, "cgroup.controllers"): "memory\n",
		filepath.Join(cgroups, "cgroup.procs"):       "",
		filepath.Join(proc, "self/mountinfo"):        fmt.Sprintf("30 23 0:26 / %s rw - cgroup2 none rw\n", cgroups),
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // the standby tries again and again
		if err := first.take(log); err != nil {
			t.Fatal(err)
		}
	}
	if _, held := errors.AsType[*instance.HeldError](second.take(log)); !held {
		t.Error("a second exporter was not refused")
	}
	if err := first.lock.Release(); err != nil {
		t.Fatal(err)
	}
	if err := second.take(log); err != nil || second.lock == nil {
		t.Errorf("after the first has ended: %v", err)
	}
	_ = second.lock.Release()
}
