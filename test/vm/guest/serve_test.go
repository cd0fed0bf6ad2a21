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

	"mglru_exporter/bpf"
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
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", e.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	// CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE and CAP_SYS_ADMIN are left of root's.
	for _, line := range []string{"CapPrm:\t0000000000280004\n", "CapEff:\t0000000000280004\n", "CapInh:\t0000000000000000\n", "NoNewPrivs:\t1\n"} {
		if !strings.Contains(string(status), line) {
			t.Errorf("the exporter's status has no %q:\n%s", line, status)
		}
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

// TestMissingConfigIsRefused: a mistake in flags or config ends the exporter.
func TestMissingConfigIsRefused(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "/bin/mglru_exporter", "--config.file=/none.yaml").CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), "/none.yaml") {
		t.Errorf("exit: %v, want code 1, and the file's name in:\n%s", err, out)
	}
}

// TestWaitsUntilTheMachineIsRepaired: without a usable source the exporter stays up
// and says why, and after the repair it runs without a restart.
func TestWaitsUntilTheMachineIsRepaired(t *testing.T) {
	const memcgPath = "/test/waits"
	w := StartWorkload(t, memcgPath)
	w.Map(t, Area{Name: "anon", Kind: Anon, Size: 4 * mib, Node: 0})
	for _, tc := range []struct {
		name   string
		broken func(t *testing.T)
		// repair is a command, as the exporter names it; or else a word of the answer.
		repair, want string
		repaired     func(t *testing.T)
	}{
		{name: "MGLRU disabled", want: "MGLRU enabled", repair: bpf.EnableRepair,
			broken: func(t *testing.T) {
				set, _ := setEnabled(t)
				set("0")
			}},
		{name: "no debugfs", want: "debugfs lru_gen", repair: "mount -t debugfs debugfs /sys/kernel/debug",
			broken: func(t *testing.T) {
				if err := unix.Unmount("/sys/kernel/debug", unix.MNT_DETACH); err != nil {
					t.Fatal(err)
				}
			}},
		{name: "no BTF", want: "CONFIG_DEBUG_INFO_BTF=y",
			broken: func(t *testing.T) {
				if err := unix.Mount("tmpfs", "/sys/kernel/btf", "tmpfs", 0, ""); err != nil {
					t.Fatal(err)
				}
			},
			repaired: func(t *testing.T) {
				if err := unix.Unmount("/sys/kernel/btf", 0); err != nil {
					t.Error(err)
				}
			}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.broken(t)
			e := launchExporter(t, fmt.Sprintf(fastConfig, memcgPath))
			e.wait(t, "up", e.up)
			code, body := e.get("/-/ready")
			for _, want := range []string{tc.want, tc.repair} {
				if code != http.StatusServiceUnavailable || !strings.Contains(body, want) {
					t.Errorf("/-/ready: %d, want 503 and %q:\n%s", code, want, body)
				}
			}
			if n, _ := e.metric(t, "mglru_source_info", `source="none"`); n != 1 {
				t.Error("no source none")
			}
			if tc.repair != "" {
				if out, err := exec.Command("/bin/sh", "-c", tc.repair).CombinedOutput(); err != nil {
					t.Fatalf("%s: %v\n%s", tc.repair, err, out)
				}
			} else {
				tc.repaired(t)
			}
			if err := e.cmd.Process.Signal(syscall.SIGHUP); err != nil { // or it would look in a minute
				t.Fatal(err)
			}
			e.wait(t, "ready", func() bool {
				code, _ := e.get("/-/ready")
				return code == http.StatusOK
			})
			if n, _ := e.metric(t, "mglru_source_info", `source="hooks"`); n != 1 {
				t.Error("no source hooks after the repair")
			}
		})
	}
}

// TestAnotherUserThanRoot is told what to do.
func TestAnotherUserThanRoot(t *testing.T) {
	cmd := exec.Command("/bin/mglru_exporter", "check")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	ok, text := judge(t, cmd)
	if ok || !strings.HasPrefix(text, "run as uid 65534, not as root") || !strings.Contains(text, "\nwould use none: ") || !strings.Contains(text, "run as root") {
		t.Errorf("check:\n%s", text)
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
