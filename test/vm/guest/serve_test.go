//go:build guest

package guest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mglru_exporter/internal/heat"
)

// An exporter is the real command, running.
type exporter struct {
	cmd *exec.Cmd
	url string
	log *strings.Builder
}

const exporterAddr = "127.0.0.1:9934"

// fastConfig ages often and knows no budget.
const fastConfig = `
source: hooks
aging: {interval: 100ms, passes_per_window: 2, cpu_budget: 1}
memcgs:
  - path: %s
    processes: {min_resident: 0}
`

// startExporter starts the command and waits until it is ready.
func startExporter(t testing.TB, config string, args ...string) *exporter {
	t.Helper()
	e := launchExporter(t, config, args...)
	e.wait(t, "ready", func() bool {
		code, _ := e.get("/-/ready")
		return code == http.StatusOK
	})
	return e
}

// launchExporter starts the command.
func launchExporter(t testing.TB, config string, args ...string) *exporter {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	e := &exporter{url: "http://" + exporterAddr, log: &strings.Builder{}}
	args = append([]string{"--config.file=" + file, "--web.listen-address=" + exporterAddr}, args...)
	e.cmd = exec.Command("/bin/mglru_exporter", args...)
	e.cmd.Stderr = e.log
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := e.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.kill)
	return e
}

func (e *exporter) kill() {
	_ = e.cmd.Process.Kill()
	_ = e.cmd.Wait()
}

// wait waits until cond holds.
func (e *exporter) wait(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !cond(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			e.kill()
			t.Fatalf("the exporter is not %s:\n%s", what, e.log)
		}
	}
}

// up tells whether it answers.
func (e *exporter) up() bool {
	code, _ := e.get("/-/healthy")
	return code == http.StatusOK
}

func (e *exporter) get(path string) (code int, body string) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.url+path, nil)
	if err != nil {
		return 0, err.Error()
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(b)
}

// metric returns the sum of the samples of a metric whose labels contain all the
// given ones, and how many they are.
func (e *exporter) metric(t testing.TB, name string, labels ...string) (sum float64, n int) {
	t.Helper()
	_, body := e.get("/metrics")
	lines := bufio.NewScanner(strings.NewReader(body))
	for lines.Scan() {
		series, value, ok := strings.Cut(lines.Text(), "} ")
		rest, named := strings.CutPrefix(series, name+"{")
		if !ok || !named || slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(rest, l) }) {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += v
		n++
	}
	return sum, n
}

// TestServe runs the real command: its numbers come from a real process aged by
// a real kernel.
func TestServe(t *testing.T) {
	const memcgPath = "/test/serve"
	w := StartWorkload(t, memcgPath)
	w.Do(t, "comm shop")
	hot := w.Map(t, Area{Name: "hot", Kind: Anon, Size: 16 * mib, Node: 0})
	w.Map(t, Area{Name: "cold", Kind: Shmem, Size: 24 * mib, Node: 1})
	e := startExporter(t, fmt.Sprintf(fastConfig, memcgPath))
	pid := fmt.Sprintf(`pid="%d"`, w.PID)
	e.wait(t, "telling hot from cold", func() bool {
		hot.TouchAll(t)
		h, _ := e.metric(t, "mglru_hot_bytes", pid, `type="anon"`, `node="0"`, `comm="shop"`)
		c, _ := e.metric(t, "mglru_cold_bytes", pid, `type="shmem"`, `node="1"`)
		return h >= 16*mib && c >= 24*mib
	})
	if _, n := e.metric(t, "mglru_region_accesses_count", pid); n == 0 {
		t.Error("no mglru_region_accesses")
	}
	if code, body := e.get("/"); code != http.StatusOK || !strings.Contains(body, "/metrics") {
		t.Errorf("landing page: %d %q", code, body)
	}
	if code, _ := e.get("/-/healthy"); code != http.StatusOK {
		t.Errorf("/-/healthy: %d", code)
	}
	if err := e.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := e.cmd.Wait(); err != nil {
		t.Errorf("SIGTERM: %v\n%s", err, e.log)
	}
	if got := attached(t); got != 0 {
		t.Errorf("%d BPF links after the exporter has stopped", got)
	}
	if probesOn(t) {
		t.Error("the probes are on after the exporter has stopped")
	}
}

// TestRefusals: what cannot work says why in plain words, and ends with an error.
func TestRefusals(t *testing.T) {
	for _, tc := range []struct {
		name string
		do   func(t *testing.T)
		cred *syscall.Credential
		args []string
		want []string
	}{
		{name: "no config file", args: []string{"--config.file=/none.yaml"}, want: []string{"/none.yaml"}},
		{name: "not root", cred: &syscall.Credential{Uid: 65534, Gid: 65534},
			want: []string{"BPF tracing programs", "run as root"}},
		{name: "MGLRU disabled", want: []string{"MGLRU enabled", "echo 0x7 > /sys/kernel/mm/lru_gen/enabled"},
			do: func(t *testing.T) {
				set, _ := setEnabled(t)
				set("0")
			}},
		{name: "no debugfs", want: []string{"debugfs lru_gen", "mount -t debugfs"},
			do: func(t *testing.T) {
				if err := unix.Unmount("/sys/kernel/debug", unix.MNT_DETACH); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if err := unix.Mount("debugfs", "/sys/kernel/debug", "debugfs", 0, ""); err != nil {
						t.Error(err)
					}
				})
			}},
		{name: "no BTF", want: []string{"BTF of the kernel", "CONFIG_DEBUG_INFO_BTF=y"},
			do: func(t *testing.T) {
				if err := unix.Mount("tmpfs", "/sys/kernel/btf", "tmpfs", 0, ""); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if err := unix.Unmount("/sys/kernel/btf", 0); err != nil {
						t.Error(err)
					}
				})
			}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.do != nil {
				tc.do(t)
			}
			file := "/tmp/refusal.yaml"
			if err := os.WriteFile(file, []byte(fmt.Sprintf(fastConfig, "/test/none")), 0o644); err != nil {
				t.Fatal(err)
			}
			args := tc.args
			if args == nil {
				args = []string{"--config.file=" + file, "--web.listen-address=" + exporterAddr}
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, "/bin/mglru_exporter", args...)
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: tc.cred}
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Errorf("exit: %v, want code 1", err)
			}
			for _, want := range tc.want {
				if !strings.Contains(string(out), want) {
					t.Errorf("no word of %q in:\n%s", want, out)
				}
			}
			if strings.Contains(string(out), "panic") || strings.Contains(string(out), "goroutine ") {
				t.Errorf("panic:\n%s", out)
			}
		})
	}
}

// TestMemcgThatComesLater: a memcg that does not exist yet is counted, and
// sampled once it exists.
func TestMemcgThatComesLater(t *testing.T) {
	const memcgPath = "/test/later"
	MakeCgroup(t, "/test/now")
	there := StartWorkload(t, "/test/now")
	there.Map(t, Area{Name: "anon", Kind: Anon, Size: 4 * mib, Node: 0})
	e := startExporter(t, fmt.Sprintf(fastConfig, "/test/now")+"  - path: "+memcgPath+"\n    processes: {min_resident: 0}\n")
	label := fmt.Sprintf(`memcg="%s"`, memcgPath)
	e.wait(t, "counting the missing memcg", func() bool {
		n, _ := e.metric(t, "mglru_pass_failures_total", label, `reason="memcg_missing"`)
		return n > 0
	})
	w := StartWorkload(t, memcgPath)
	w.Map(t, Area{Name: "anon", Kind: Anon, Size: 8 * mib, Node: 1})
	e.wait(t, "sampling the memcg that has come", func() bool {
		cold, _ := e.metric(t, "mglru_cold_bytes", label, fmt.Sprintf(`pid="%d"`, w.PID), `node="1"`)
		return cold >= 8*mib-heat.RegionSize
	})
}
