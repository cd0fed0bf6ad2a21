package instance

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// host makes a /proc whose memory controller is at a directory of our own. What
// it says of processes is the machine's.
func host(t *testing.T) (procRoot, cgroups string) {
	t.Helper()
	procRoot, cgroups = t.TempDir(), t.TempDir()
	files := map[string]string{
		filepath.Join(cgroups, "cgroup.controllers"): "memory\n",
		filepath.Join(cgroups, "cgroup.procs"):       "",
		filepath.Join(procRoot, "self/mountinfo"):    fmt.Sprintf("30 23 0:26 / %s rw - cgroup2 none rw\n", cgroups),
	}
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"locks", "stat"} {
		if err := os.Symlink("/proc/"+name, filepath.Join(procRoot, name)); err != nil {
			t.Fatal(err)
		}
	}
	return procRoot, cgroups
}

// see makes a process of the machine visible.
func see(t *testing.T, procRoot string, pid int) {
	t.Helper()
	if err := os.Symlink(fmt.Sprintf("/proc/%d", pid), filepath.Join(procRoot, fmt.Sprint(pid))); err != nil {
		t.Fatal(err)
	}
}

const holdEnv = "MGLRU_TEST_HOLD"

// hold starts a process that takes the lock and keeps it.
func hold(t *testing.T, procRoot string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestHold$") //nolint:noctx // its end is that of its input
	cmd.Env = append(os.Environ(), holdEnv+"="+procRoot)
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("the child said %q, %v", line, err)
	}
	return cmd
}

// TestHold is the child.
func TestHold(t *testing.T) {
	procRoot := os.Getenv(holdEnv)
	if procRoot == "" {
		t.Skip("this is a process for other tests")
	}
	l, err := Acquire(procRoot)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("held")
	bufio.NewScanner(os.Stdin).Scan()
	_ = l.Release()
}

func TestASecondInstanceIsRefused(t *testing.T) {
	procRoot, _ := host(t)
	first := hold(t, procRoot)
	pid := first.Process.Pid
	see(t, procRoot, pid)
	_, err := Acquire(procRoot)
	held, ok := errors.AsType[*HeldError](err)
	if !ok || held.PID != pid {
		t.Fatalf("error is %v, want one that names process %d", err, pid)
	}
	if age := time.Since(held.Started); age < -2*time.Second || age > time.Hour {
		t.Errorf("it started at %v", held.Started)
	}
	for _, want := range []string{fmt.Sprint("pid ", pid), held.Comm, held.Started.UTC().Format(time.RFC3339), "stop it"} {
		if !strings.Contains(err.Error(), want) || want == "" {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("%q is more than one line", err)
	}

	// A crash lets go of it.
	if err := first.Process.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait()
	l, err := Acquire(procRoot)
	if err != nil {
		t.Fatalf("after the first was killed: %v", err)
	}
	if _, err := Acquire(procRoot); err == nil {
		t.Error("the lock was had twice")
	}
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
	if l, err = Acquire(procRoot); err != nil {
		t.Fatalf("after it was released: %v", err)
	}
	if err := l.Release(); err != nil {
		t.Error(err)
	}
}

// TestAnInstanceThatIsNotVisible: the kernel lists no lock of a process in a PID
// namespace that we do not see.
func TestAnInstanceThatIsNotVisible(t *testing.T) {
	procRoot, _ := host(t)
	hold(t, procRoot)
	if err := os.Remove(filepath.Join(procRoot, "locks")); err != nil {
		t.Fatal(err)
	}
	_, err := Acquire(procRoot)
	if held, ok := errors.AsType[*HeldError](err); !ok || held.PID != 0 || !strings.Contains(err.Error(), "not visible") {
		t.Errorf("error is %v", err)
	}
}

// TestAStrangerDoesNotKeepUsOut: any user may lock the file, and is not taken for
// an exporter.
func TestAStrangerDoesNotKeepUsOut(t *testing.T) {
	procRoot, _ := host(t)
	pid := hold(t, procRoot).Process.Pid
	if err := os.MkdirAll(filepath.Join(procRoot, fmt.Sprint(pid)), 0o700); err != nil {
		t.Fatal(err)
	}
	status := fmt.Sprintf("Name:\tx\nUid:\t0\t%d\t0\t0\n", os.Geteuid()+1)
	if err := os.WriteFile(filepath.Join(procRoot, fmt.Sprint(pid), "status"), []byte(status), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Acquire(procRoot)
	if _, held := errors.AsType[*HeldError](err); held || err == nil || !strings.Contains(err.Error(), fmt.Sprint(pid)) {
		t.Errorf("error is %v, want one that names process %d and is no HeldError", err, pid)
	}
}

func TestWithoutCgroupsThereIsNoLock(t *testing.T) {
	if _, err := Acquire(t.TempDir()); err == nil {
		t.Error("no error")
	}
}
