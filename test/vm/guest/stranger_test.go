//go:build guest

package guest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// A stranger is a workload of another user, some of it hot and some cold.
type stranger struct {
	*Workload
	hot    *Mapping
	config string // of an exporter that watches it
}

// use makes the exporter use another source than hooks.
func (s *stranger) use(t *testing.T, source string) {
	t.Helper()
	text := strings.Replace(fmt.Sprintf(fastConfig, s.Cgroup), "source: hooks", "source: "+source, 1)
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

const strangerBytes = 8 * mib

func startStranger(t *testing.T, memcgPath string) *stranger {
	t.Helper()
	s := &stranger{Workload: StartWorkloadAs(t, memcgPath, &syscall.Credential{Uid: 1000, Gid: 1000})}
	s.hot = s.Map(t, Area{Name: "hot", Kind: Anon, Size: strangerBytes, Node: 0})
	s.Map(t, Area{Name: "cold", Kind: Anon, Size: strangerBytes, Node: 1})
	s.config = filepath.Join(t.TempDir(), "config.yaml")
	s.use(t, "hooks")
	return s
}

func (s *stranger) pid() string { return fmt.Sprintf(`pid="%d"`, s.PID) }

// start starts the exporter.
func (s *stranger) start(t *testing.T, c confinement) *exporter {
	t.Helper()
	e := &exporter{url: "http://" + exporterAddr, log: &strings.Builder{}}
	e.cmd = c.command(context.Background(), t, "/bin/mglru_exporter", "--config.file="+s.config, "--web.listen-address="+exporterAddr)
	e.cmd.Stderr = e.log
	if err := e.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.kill)
	return e
}

// startReady starts the exporter and waits until a window has ended.
func (s *stranger) startReady(t *testing.T, c confinement) *exporter {
	t.Helper()
	e := s.start(t, c)
	e.wait(t, "ready", func() bool {
		code, _ := e.get("/-/ready")
		return code == http.StatusOK
	})
	return e
}

// seesHotAndCold waits until the exporter has told the stranger's hot bytes from
// the cold ones, and checks that no pass has failed on the way.
func (s *stranger) seesHotAndCold(t *testing.T, e *exporter) {
	t.Helper()
	e.wait(t, "telling hot from cold", func() bool {
		s.hot.TouchAll(t)
		h, _ := e.metric(t, "mglru_hot_bytes", s.pid(), `type="anon"`, `node="0"`)
		c, _ := e.metric(t, "mglru_cold_bytes", s.pid(), `type="anon"`, `node="1"`)
		return h >= strangerBytes && c >= strangerBytes
	})
	if n, _ := e.metric(t, "mglru_pass_failures_total"); n != 0 {
		t.Errorf("%v passes failed", n)
	}
}

// check runs mglru_exporter check.
func (s *stranger) check(t *testing.T, c confinement) (ok bool, text string) {
	t.Helper()
	return judge(t, c.command(t.Context(), t, "/bin/mglru_exporter", "check", "--config.file="+s.config))
}

// judge runs check. It reports whether a source is usable, which exit codes 0 and 3 say.
func judge(t *testing.T, cmd *exec.Cmd) (ok bool, text string) {
	t.Helper()
	code, text := output(t, cmd)
	if code != 0 && code != 3 && code != 4 {
		t.Fatalf("check ends with %d:\n%s", code, text)
	}
	return code != 4, text
}

func output(t *testing.T, cmd *exec.Cmd) (code int, text string) {
	t.Helper()
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%v\n%s", err, out)
	}
	if exit != nil {
		code = exit.ExitCode()
	}
	return code, string(out)
}

// effective returns the effective capabilities of a process.
func effective(t *testing.T, pid int) uint64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if hex, ok := strings.CutPrefix(line, "CapEff:"); ok {
			n, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no CapEff in %s", text)
	return 0
}

// without returns the set without one of its members.
func without(set []string, name string) []string {
	return slices.DeleteFunc(slices.Clone(set), func(s string) bool { return s == name })
}
