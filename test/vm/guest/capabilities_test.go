//go:build guest

package guest

import (
	"context"
	"encoding/json"
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
	"time"

	"golang.org/x/sys/unix"

	"mglru_exporter/bpf"
	"mglru_exporter/deploy"
	"mglru_exporter/internal/config"
	"mglru_exporter/internal/memcg"
)

// A confinement is what a program is left with. It is root, as in the systemd
// unit and in the container, and nothing that it execs gets more.
type confinement struct {
	// Capabilities is the bounding set.
	Capabilities []string
	// Cgroup, unless empty, puts the program into a container in this memcg:
	// cgroup and mount namespaces of its own, and a root directory with Files,
	// what a container runtime mounts, and Volumes.
	Cgroup  string
	Volumes []deploy.Volume
	Files   []string
}

// capabilities has the numbers of those that a test names.
var capabilities = map[string]uintptr{
	"CAP_DAC_OVERRIDE":    unix.CAP_DAC_OVERRIDE,
	"CAP_DAC_READ_SEARCH": unix.CAP_DAC_READ_SEARCH,
	"CAP_SYS_PTRACE":      unix.CAP_SYS_PTRACE,
	"CAP_SYS_ADMIN":       unix.CAP_SYS_ADMIN,
	"CAP_PERFMON":         unix.CAP_PERFMON,
	"CAP_BPF":             unix.CAP_BPF,
}

// The environment variables that turn this test's binary into what execs a
// program confined, and into a program that tries one thing.
const (
	confineEnv = "MGLRU_TEST_CONFINE"
	tryEnv     = "MGLRU_TEST_TRY"
)

// init runs on the main thread, which is the process for what follows.
func init() {
	var err error
	switch {
	case os.Getenv(confineEnv) != "":
		err = confineAndExec(os.Getenv(confineEnv), os.Args[1:])
	case os.Getenv(tryEnv) != "":
		err = attempts[os.Getenv(tryEnv)](os.Args[1])
	default:
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// command returns a command that runs args confined.
func (c confinement) command(ctx context.Context, t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), confineEnv+"="+string(b))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

func confineAndExec(text string, args []string) error {
	var c confinement
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	if c.Cgroup != "" {
		if err := c.contain(); err != nil {
			return fmt.Errorf("make a container: %w", err)
		}
	}
	keep := map[uintptr]bool{}
	for _, name := range c.Capabilities {
		n, ok := capabilities[name]
		if !ok {
			return fmt.Errorf("no number is known of %s", name)
		}
		keep[n] = true
	}
	for n := uintptr(0); n <= unix.CAP_LAST_CAP; n++ {
		if keep[n] {
			continue
		}
		// A kernel that does not know the last ones says EINVAL.
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, n, 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("drop capability %d: %w", n, err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if err := os.Unsetenv(confineEnv); err != nil {
		return err
	}
	return unix.Exec(args[0], args, os.Environ())
}

// contain does what a container runtime does that has to do with us.
func (c confinement) contain() error {
	pid := []byte(strconv.Itoa(os.Getpid()))
	if err := os.WriteFile(filepath.Join(cgroupRoot, c.Cgroup, "cgroup.procs"), pid, 0); err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWCGROUP | unix.CLONE_NEWNS); err != nil {
		return err
	}
	const root = "/tmp/root"
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	mounts := []struct {
		source, target, fs string
		flags              uintptr
	}{
		{"", "/", "", unix.MS_REC | unix.MS_PRIVATE},
		{"root", root, "tmpfs", 0},
		{"proc", root + "/proc", "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{"sysfs", root + "/sys", "sysfs", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_RDONLY},
		{"cgroup", root + "/sys/fs/cgroup", "cgroup2", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_RDONLY},
	}
	for _, m := range mounts {
		if _, err := os.Stat(m.target); err != nil {
			if err := os.Mkdir(m.target, 0o755); err != nil {
				return err
			}
		}
		if err := unix.Mount(m.source, m.target, m.fs, m.flags, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	for _, v := range c.Volumes {
		if err := bind(v.Host, root+v.Path, v.ReadOnly); err != nil {
			return err
		}
	}
	for _, file := range c.Files {
		if err := os.MkdirAll(filepath.Dir(root+file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(root+file, nil, 0o600); err != nil {
			return err
		}
		if err := bind(file, root+file, true); err != nil {
			return err
		}
	}
	if err := unix.Mount("", root, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("make the root read-only: %w", err)
	}
	if err := unix.Chroot(root); err != nil {
		return err
	}
	return os.Chdir("/")
}

func bind(from, to string, readOnly bool) error {
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s to %s: %w", from, to, err)
	}
	if !readOnly {
		return nil
	}
	if err := unix.Mount("", to, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("make %s read-only: %w", to, err)
	}
	return nil
}

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
	return try(t, c.command(t.Context(), t, "/bin/mglru_exporter", "check", "--config.file="+s.config))
}

// try runs a command, which may end with exit code 0 or 1.
func try(t *testing.T, cmd *exec.Cmd) (ok bool, text string) {
	t.Helper()
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		t.Fatalf("%v\n%s", err, out)
	}
	return err == nil, string(out)
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

// TestCapabilities runs the exporter with the capabilities of the systemd unit,
// which are also those of the container, and then without each of them.
func TestCapabilities(t *testing.T) {
	s := startStranger(t, "/test/capabilities")
	for _, tc := range []struct {
		source  string
		suite   string // $MGLRU_SOURCE
		dropIns []string
	}{
		{"hooks", "", nil},
		{"stock", "stock", nil},
		{"referenced", "stock", []string{"referenced"}},
	} {
		if tc.suite != os.Getenv("MGLRU_SOURCE") {
			continue
		}
		t.Run(tc.source, func(t *testing.T) {
			if _, err := config.Parse("", []byte("source: "+tc.source+"\nmemcgs: [{path: /a}]\n")); err != nil {
				t.Skipf("there is no such source yet: %v", err)
			}
			if text, err := os.ReadFile("/proc/vmstat"); err != nil || tc.source == "referenced" && !strings.Contains(string(text), "pgscan") {
				t.Skipf("source referenced needs a kernel with CONFIG_VM_EVENT_COUNTERS=y (%v)", err)
			}
			set, err := deploy.UnitCapabilities(tc.dropIns...)
			if err != nil {
				t.Fatal(err)
			}
			s.use(t, tc.source)
			t.Run("all", func(t *testing.T) { s.suffice(t, set) })
			for _, name := range set {
				t.Run("without "+name, func(t *testing.T) {
					// On 7.x CAP_PERFMON, which is part of CAP_SYS_ADMIN, is enough to
					// read what other processes map.
					if os.Getenv("MGLRU_KERNEL") == "debian-7" && name == "CAP_SYS_PTRACE" && slices.Contains(set, "CAP_SYS_ADMIN") {
						s.suffice(t, without(set, name))
						return
					}
					s.miss(t, without(set, name), name)
				})
			}
		})
	}
	if os.Getenv("MGLRU_SOURCE") != "" {
		return
	}
	// What is said to do instead of CAP_SYS_ADMIN loads BPF and no more.
	t.Run("CAP_BPF and CAP_PERFMON for CAP_SYS_ADMIN", func(t *testing.T) {
		set, err := deploy.UnitCapabilities()
		if err != nil {
			t.Fatal(err)
		}
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
	if got := effective(t, e.cmd.Process.Pid); got != want {
		t.Fatalf("the exporter has capabilities %#x, want %#x: the test tests nothing", got, want)
	}
	s.seesHotAndCold(t, e)
}

// miss checks that the preflight names a capability that is lacking, and that the
// exporter does not start.
func (s *stranger) miss(t *testing.T, set []string, name string) {
	t.Helper()
	c := confinement{Capabilities: set}
	if ok, text := s.check(t, c); ok || !strings.Contains(text, name) {
		t.Errorf("check has no word of %s:\n%s", name, text)
	}
	ok, text := try(t, c.command(t.Context(), t, "/bin/mglru_exporter", "--config.file="+s.config, "--web.listen-address="+exporterAddr))
	if ok || !strings.Contains(text, "no source works here") {
		t.Errorf("the exporter starts:\n%s", text)
	}
}

// TestContainer runs the exporter as the DaemonSet does: in namespaces of its
// own, with nothing of the host but what is mounted.
func TestContainer(t *testing.T) {
	d, err := deploy.DaemonSetContainer()
	if err != nil {
		t.Fatal(err)
	}
	s := startStranger(t, "/test/pods/stranger")
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
			if v.Path == cgroupRoot { // it sees its own cgroup only, and waits for others
				e := s.start(t, less)
				e.wait(t, "missing the memcg", func() bool {
					n, _ := e.metric(t, "mglru_pass_failures_total", `reason="memcg_missing"`)
					return n > 0
				})
				return
			}
			// What was killed has left the probes on, and they need no switching.
			if err := os.WriteFile(bpf.EnabledPath, []byte("0x7"), 0); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if ok, text := try(t, less.command(ctx, t, "/bin/mglru_exporter", "--config.file="+s.config, "--web.listen-address="+exporterAddr)); ok ||
				!strings.Contains(text, v.Path) {
				t.Errorf("no word of %s:\n%s", v.Path, text)
			}
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
			if ok, text := try(t, cmd); ok != tc.want {
				t.Errorf("succeeds: %v, want %v: %s", ok, tc.want, text)
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
