//go:build guest

package guest

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"mglru_exporter/bpf"
	"mglru_exporter/deploy"
	"mglru_exporter/internal/memcg"
)

// TestCapabilities runs the exporter with the capabilities of the systemd unit,
// which are also those of the container, and then without each of them that the source
// needs.
func TestCapabilities(t *testing.T) {
	s := startStranger(t, "/test/capabilities")
	set := deploy.UnitCapabilities()
	for _, tc := range []struct {
		source string
		suite  string // $MGLRU_SOURCE
		// needs are what check calls each capability of the set. CAP_DAC_OVERRIDE
		// includes CAP_DAC_READ_SEARCH.
		needs map[string]string
	}{
		{"hooks", "", map[string]string{
			"CAP_SYS_ADMIN": "CAP_SYS_ADMIN", "CAP_SYS_PTRACE": "CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE": "CAP_DAC_READ_SEARCH",
		}},
		{"stock", "stock", map[string]string{
			"CAP_SYS_ADMIN": "CAP_SYS_ADMIN", "CAP_SYS_PTRACE": "CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE": "CAP_DAC_READ_SEARCH",
		}},
		{"referenced", "stock", map[string]string{"CAP_SYS_PTRACE": "CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE": "CAP_DAC_OVERRIDE"}},
	} {
		if tc.suite != os.Getenv("MGLRU_SOURCE") {
			continue
		}
		t.Run(tc.source, func(t *testing.T) {
			if text, err := os.ReadFile("/proc/vmstat"); err != nil || tc.source == "referenced" && !strings.Contains(string(text), "pgscan") {
				t.Skipf("source referenced needs a kernel with CONFIG_VM_EVENT_COUNTERS=y (%v)", err)
			}
			s.use(t, tc.source)
			t.Run("all", func(t *testing.T) { s.suffice(t, set) })
			if tc.needs["CAP_DAC_OVERRIDE"] == "CAP_DAC_READ_SEARCH" {
				t.Run("less, as in docs/DEPLOYMENT.md", func(t *testing.T) {
					s.suffice(t, append(without(set, "CAP_DAC_OVERRIDE"), "CAP_DAC_READ_SEARCH"))
				})
			}
			for _, name := range set {
				t.Run("without "+name, func(t *testing.T) {
					// On 7.x CAP_PERFMON, which is part of CAP_SYS_ADMIN, is enough to
					// read what other processes map.
					spared := os.Getenv("MGLRU_KERNEL") == "debian-7" && name == "CAP_SYS_PTRACE"
					if tc.needs[name] == "" || spared {
						s.suffice(t, without(set, name))
						return
					}
					s.miss(t, without(set, name), tc.needs[name])
				})
			}
		})
	}
	if os.Getenv("MGLRU_SOURCE") != "" {
		return
	}
	// What is said to do instead of CAP_SYS_ADMIN loads BPF and no more.
	t.Run("CAP_BPF and CAP_PERFMON for CAP_SYS_ADMIN", func(t *testing.T) {
		ok, text := s.check(t, confinement{Capabilities: append(without(set, "CAP_SYS_ADMIN"), "CAP_BPF", "CAP_PERFMON")})
		if ok || !strings.Contains(text, "page frame numbers") || !strings.Contains(text, "1 requirement is not met") {
			t.Errorf("check:\n%s\nwant page frame numbers to be missing and nothing else", text)
		}
	})
}

// suffice checks that the exporter sees all with these capabilities.
func (s *stranger) suffice(t *testing.T, set []string) {
	t.Helper()
	c := confinement{Capabilities: set}
	if ok, text := s.check(t, c); !ok {
		t.Errorf("check:\n%s", text)
	}
	e := s.startReady(t, c)
	want := uint64(0)
	for _, name := range set {
		want |= 1 << capabilities[name]
	}
	// Those that the source does not need it has dropped.
	if got := effective(t, e.cmd.Process.Pid); got&^want != 0 || got == 0 {
		t.Fatalf("the exporter has capabilities %#x, want of %#x: the test tests nothing", got, want)
	}
	s.seesHotAndCold(t, e)
}

// miss checks that the preflight names a capability that is lacking, and that the
// exporter waits for it.
func (s *stranger) miss(t *testing.T, set []string, name string) {
	t.Helper()
	c := confinement{Capabilities: set}
	if ok, text := s.check(t, c); ok || !strings.Contains(text, name) {
		t.Errorf("check has no word of %s:\n%s", name, text)
	}
	s.waitsFor(t, c, name)
}

// waitsFor starts the exporter, and checks that it has no source and says what it lacks.
func (s *stranger) waitsFor(t *testing.T, c confinement, what string) {
	t.Helper()
	e := s.start(t, c)
	e.wait(t, "up", e.up)
	e.wait(t, "without a source", func() bool {
		n, _ := e.metric(t, "mglru_source_info", `source="none"`)
		return n == 1
	})
	if code, body := e.get("/-/ready"); code != http.StatusServiceUnavailable || !strings.Contains(body, what) {
		t.Errorf("/-/ready is %d and has no word of %s: %s", code, what, body)
	}
	e.kill()
}

// TestContainer runs the exporter as the DaemonSet does: in namespaces of its own, with
// nothing of the host but what is mounted. The base is for stock.
func TestContainer(t *testing.T) {
	grants, source := deploy.HooksContainer, "hooks"
	if os.Getenv("MGLRU_SOURCE") == "stock" {
		grants, source = deploy.BaseContainer, "stock"
	}
	d, err := grants()
	if err != nil {
		t.Fatal(err)
	}
	s := startStranger(t, "/test/pods/stranger")
	s.use(t, source)
	MakeCgroup(t, "/test/pods/exporter")
	c := confinement{
		Capabilities: d.Capabilities, Volumes: d.Volumes,
		Cgroup: "/test/pods/exporter", Files: []string{"/bin/mglru_exporter", s.config},
	}
	if ok, text := s.check(t, c); !ok {
		t.Errorf("check:\n%s", text)
	}
	e := s.startReady(t, c)
	s.seesHotAndCold(t, e)
	if err := e.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := e.cmd.Wait(); err != nil {
		t.Errorf("SIGTERM: %v\n%s", err, e.log)
	}

	for i, v := range d.Volumes {
		t.Run("without "+v.Path, func(t *testing.T) {
			less := c
			less.Volumes = slices.Delete(slices.Clone(d.Volumes), i, i+1)
			// What was killed has left the probes on, and they need no switching.
			if source == "hooks" {
				if err := os.WriteFile(bpf.EnabledPath, []byte("0x7"), 0); err != nil {
					t.Fatal(err)
				}
			}
			s.waitsFor(t, less, v.Path)
		})
	}
}

// attempts are what sources do that may take a capability.
var attempts = map[string]func(arg string) error{
	"age through debugfs": func(cmd string) error { return os.WriteFile(lruGen, []byte(cmd), 0) },
	"clear_refs":          func(pid string) error { return os.WriteFile("/proc/"+pid+"/clear_refs", []byte("1"), 0) },
	"switch probes":       func(bits string) error { return os.WriteFile(bpf.EnabledPath, []byte(bits), 0) },
	"smaps":               func(pid string) error { return readSome("/proc/" + pid + "/smaps") },
	"pagemap":             func(pid string) error { return readSome("/proc/" + pid + "/pagemap") },
}

// readSome reads the beginning of a file.
func readSome(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Read(make([]byte, 4096))
	return err
}

// TestCapabilitiesOfFiles tells what the kernel asks for what the sources are made
// of, one by one.
func TestCapabilitiesOfFiles(t *testing.T) {
	const memcgPath = "/test/files"
	s := startStranger(t, memcgPath)
	pid := strconv.Itoa(s.PID)
	ptrace, search, override := "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "CAP_DAC_OVERRIDE"
	for _, tc := range []struct {
		attempt, arg string
		caps         []string
		want         bool
	}{
		{"age through debugfs", agingCommand(t, memcgPath), nil, true}, // root owns the file
		{"switch probes", "0x7", nil, true},                            // so with this
		{"smaps", pid, []string{ptrace}, true},
		{"smaps", pid, []string{"CAP_SYS_ADMIN", search, override}, false},
		{"pagemap", pid, []string{ptrace, search}, true},
		{"pagemap", pid, []string{ptrace}, false},
		{"pagemap", pid, []string{"CAP_SYS_ADMIN", search}, false},
		{"clear_refs", pid, []string{override}, true},
		{"clear_refs", pid, []string{"CAP_SYS_ADMIN", ptrace, search}, false},
	} {
		t.Run(fmt.Sprintf("%s with %v", tc.attempt, tc.caps), func(t *testing.T) {
			cmd := confinement{Capabilities: tc.caps}.command(t.Context(), t, "/proc/self/exe", tc.arg)
			cmd.Env = append(cmd.Env, tryEnv+"="+tc.attempt)
			if out, err := cmd.CombinedOutput(); (err == nil) != tc.want {
				t.Errorf("want success: %v, got %v: %s", tc.want, err, out)
			}
		})
	}
}

// agingCommand is what ages a memcg on one node when written to lru_gen.
func agingCommand(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(lruGen)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	groups, err := memcg.ParseLRUGen(f)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range groups {
		if g.Path == path {
			gens := g.Nodes[0].Gens
			return fmt.Sprintf("+ %d %d %d 200 1", g.ID, g.Nodes[0].Node, gens[len(gens)-1].Seq)
		}
	}
	t.Fatalf("lru_gen does not list %s", path)
	return ""
}
