//go:build guest

package guest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"mglru_exporter/deploy"
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

// bind binds a directory as container runtimes do: with what is mounted below it, of
// which "read-only" does not hold.
func bind(from, to string, readOnly bool) error {
	if err := unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
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
