package main

import (
	"context"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseCapabilities(t *testing.T) {
	for _, tc := range []struct {
		names   []string
		want    uint64
		wantErr string
	}{
		{nil, 0, ""},
		{[]string{"CAP_SYS_NICE", "net_bind_service"}, 1<<unix.CAP_SYS_NICE | 1<<unix.CAP_NET_BIND_SERVICE, ""},
		{[]string{"CAP_CHECKPOINT_RESTORE"}, 1 << unix.CAP_CHECKPOINT_RESTORE, ""},
		{[]string{"ALL"}, ^uint64(0), ""},
		{[]string{"CAP_FLY"}, 0, `--capabilities.keep: "CAP_FLY" is no capability`},
	} {
		got, err := parseCapabilities(tc.names)
		if got != tc.want || (err != nil) != (tc.wantErr != "") || err != nil && !strings.Contains(err.Error(), tc.wantErr) {
			t.Errorf("%v: %#x, %v; want %#x, %q", tc.names, got, err, tc.want, tc.wantErr)
		}
	}
	if got, want := namesOf(1<<unix.CAP_SYS_ADMIN|1<<unix.CAP_DAC_OVERRIDE), "CAP_DAC_OVERRIDE CAP_SYS_ADMIN"; got != want {
		t.Errorf("names are %q, want %q", got, want)
	}
}

func TestBindsLow(t *testing.T) {
	for address, want := range map[string]bool{":9934": false, "127.0.0.1:80": true, "[::1]:443": true, "vsock://:9": false, ":0": false} {
		if got := bindsLow([]string{":9934", address}); got != want {
			t.Errorf("%s: %v, want %v", address, got, want)
		}
	}
}

// TestDropCapabilities starts the exporter. Each of its threads then has only what
// source referenced needs and what is to be kept.
func TestDropCapabilities(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: needs root, to have capabilities")
	}
	bin := t.TempDir() + "/mglru_exporter"
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	config := t.TempDir() + "/config.yaml"
	if err := os.WriteFile(config, []byte("source: referenced\nmemcgs: [{path: /none}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, "--config.file="+config, "--web.listen-address=127.0.0.1:0", "--capabilities.keep=CAP_SYS_NICE")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	defer cancel()
	var log strings.Builder
	buf := make([]byte, 4096)
	for !strings.Contains(log.String(), "Dropped the capabilities") {
		n, err := stderr.Read(buf)
		log.Write(buf[:n])
		if err != nil && strings.Contains(log.String(), "another exporter") {
			t.Skipf("NOT TESTED: this host is being watched already:\n%s", &log)
		}
		if err != nil {
			t.Fatalf("it has ended: %v\n%s", err, &log)
		}
	}
	want := uint64(1<<unix.CAP_SYS_PTRACE | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_SYS_NICE)
	tasks, err := os.ReadDir(procDir(cmd.Process.Pid) + "/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		status, err := os.ReadFile(procDir(cmd.Process.Pid) + "/task/" + task.Name() + "/status")
		if err != nil {
			continue // a thread that has ended
		}
		for _, set := range []string{"CapPrm", "CapEff"} {
			if got := statusHex(t, string(status), set); got != want {
				t.Errorf("thread %s: %s is %#x, want %#x", task.Name(), set, got, want)
			}
		}
		if !regexp.MustCompile(`(?m)^NoNewPrivs:\s+1$`).Match(status) {
			t.Errorf("thread %s can gain privileges", task.Name())
		}
	}
}

func procDir(pid int) string { return "/proc/" + strconv.Itoa(pid) }

// statusHex returns a hexadecimal value of a status file.
func statusHex(t *testing.T, status, key string) uint64 {
	t.Helper()
	m := regexp.MustCompile(`(?m)^` + key + `:\s+([0-9a-f]+)$`).FindStringSubmatch(status)
	if m == nil {
		t.Fatalf("no %s in %s", key, status)
	}
	n, err := strconv.ParseUint(m[1], 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
