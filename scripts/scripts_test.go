// Package scripts tests the scripts beside it, and the Makefile that calls them.
package scripts

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// run runs a command in the repository's root and returns its output and status.
func run(t *testing.T, env []string, stdin string, args ...string) (out string, status int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "MAKEFLAGS=", "MAKEOVERRIDES=", "MGLRU_DEADLINE=")
	cmd.Env = append(cmd.Env, env...)
	cmd.Stdin = strings.NewReader(stdin)
	b, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatalf("%v: %v", args, err)
	}
	return string(b), cmd.ProcessState.ExitCode()
}

// TestParts: all parts run after one that fails, and the end names it.
func TestParts(t *testing.T) {
	fake := filepath.Join(t.TempDir(), "make")
	script := "#!/bin/sh\necho running $1\n[ $1 != broken ]\n"
	if err := os.WriteFile(fake, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		parts  []string
		status int
		last   string
	}{
		{[]string{"one", "two"}, 0, "== all 2 parts passed"},
		{[]string{"one", "broken", "two"}, 1, "== 1 of 3 parts FAILED: broken"},
	} {
		out, status := run(t, []string{"MAKE=" + fake}, "", append([]string{"scripts/parts"}, test.parts...)...)
		if status != test.status || !strings.HasSuffix(out, test.last+"\n") {
			t.Errorf("parts %v: status %d, want %d and at the end %q:\n%s", test.parts, status, test.status, test.last, out)
		}
		for _, part := range test.parts {
			if !strings.Contains(out, "running "+part+"\n") {
				t.Errorf("parts %v: %s did not run:\n%s", test.parts, part, out)
			}
		}
	}
}

// TestPartsDeadline: what has no time left fails, and is on the list.
func TestPartsDeadline(t *testing.T) {
	fake := filepath.Join(t.TempDir(), "make")
	if err := os.WriteFile(fake, []byte("#!/bin/sh\necho running $1\nexec sleep 600\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(2 * time.Second).Unix()
	out, status := run(t, []string{"MAKE=" + fake, fmt.Sprint("MGLRU_DEADLINE=", deadline)}, "", "scripts/parts", "slow", "next")
	if status != 1 || !strings.HasSuffix(out, "== 2 of 2 parts FAILED: slow next\n") || strings.Contains(out, "running next") {
		t.Errorf("status %d:\n%s", status, out)
	}
}

// TestMakeVariables: make run has its address and config, and refuses what it would
// ignore.
func TestMakeVariables(t *testing.T) {
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip("SKIPPED, the Makefile is not tested: there is no make")
	}
	for _, test := range []struct {
		args []string
		want string
	}{
		{nil, "bin/mglru_exporter --config.file='config.example.yaml' --web.listen-address='127.0.0.1:9934'\n"},
		{[]string{"LISTEN=:1", "CONFIG=a b.yaml"}, "bin/mglru_exporter --config.file='a b.yaml' --web.listen-address=':1'\n"},
		{[]string{"PORT=19934"}, "--web.listen-address='127.0.0.1:19934'\n"},
		{[]string{"ADDR=:1"}, "there is no variable ADDR; make run has LISTEN=ADDRESS:PORT and CONFIG=FILE"},
		{[]string{"listen=:1"}, "there is no variable listen;"},
	} {
		out, _ := run(t, nil, "", append([]string{"make", "-n", "run"}, test.args...)...)
		if !strings.Contains(out, test.want) {
			t.Errorf("make run %v: want %q in\n%s", test.args, test.want, out)
		}
	}
}

// TestDeps: a need that is none is an error that names those that are.
func TestDeps(t *testing.T) {
	out, status := run(t, []string{"MGLRU_CACHE=" + t.TempDir()}, "", "scripts/deps", "qemu")
	if want := "deps: there is no need qemu; there are: go cgo bpf kernel"; status == 0 || !strings.HasPrefix(out, want) {
		t.Errorf("scripts/deps qemu: status %d, %q, want %q", status, out, want)
	}
}

func TestSummary(t *testing.T) {
	const log = "=== RUN   TestA\n--- PASS: TestA (0.00s)\n    --- FAIL: TestB/c (1.00s)\n--- FAIL: TestB (1.00s)\n--- SKIP: TestD (0.00s)\nFAIL\tx\t1s\n"
	out, status := run(t, nil, log, "scripts/summary")
	want := "1 passed, 2 failed, 1 skipped\n\tSKIP TestD\n\tFAIL TestB/c\n\tFAIL TestB\n\tFAIL\tx\t1s\n"
	if out != want || status != 0 {
		t.Errorf("status %d\n%s\nwant\n%s", status, out, want)
	}
}
