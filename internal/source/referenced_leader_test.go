package source

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/process"
)

// idleBytes is what a process whose leader has ended has touched once.
const idleBytes = 32 << 20

const leaderEnv = "MGLRU_TEST_LEADER"

// init is the child of startLeaderless: only here the program is certain to run on
// the process's first thread, which is to end.
func init() {
	if os.Getenv(leaderEnv) == "" {
		return
	}
	runtime.LockOSThread()
	go func() {
		mem, err := unix.Mmap(-1, 0, idleBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err != nil {
			panic(err)
		}
		if err := unix.Madvise(mem, unix.MADV_NOHUGEPAGE); err != nil {
			panic(err)
		}
		for i := 0; i < len(mem); i += heat.PageSize {
			mem[i] = 1
		}
		for { // until the leader has ended
			st, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/stat", os.Getpid()))
			if err != nil {
				panic(err)
			}
			var pid int
			var comm string
			var state byte
			if _, err := fmt.Sscanf(string(st), "%d %s %c", &pid, &comm, &state); err != nil {
				panic(err)
			}
			if state == 'Z' {
				break
			}
			runtime.Gosched()
		}
		fmt.Println("ready")
		bufio.NewScanner(os.Stdin).Scan()
		os.Exit(0)
	}()
	unix.Syscall(unix.SYS_EXIT, 0, 0, 0) //nolint:errcheck // it does not return
}

// startLeaderless starts a process whose leader has ended, and which does nothing.
func startLeaderless(t *testing.T) heat.Process {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: needs root, to clear the accessed bits of other processes")
	}
	if _, err := os.Stat("/proc/self/clear_refs"); err != nil {
		t.Skip("NOT TESTED: needs a kernel with CONFIG_PROC_PAGE_MONITOR: ", err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^$") //nolint:noctx // its end is that of its input
	cmd.Env = append(os.Environ(), leaderEnv+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
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
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the child said %q, %v", line, err)
	}
	p, err := process.NewFS("/proc").Identify(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestLeaderHasEnded: the memory of a process that goes on after its leader's end
// is cleared, so what nobody accesses does not stay hot.
func TestLeaderHasEnded(t *testing.T) {
	p := startLeaderless(t)
	r := NewReferenced("/proc", "/sys")
	var w *heat.MappingWindow
	for range 3 {
		var err error
		if w, err = r.Observe(p, &heat.Selection{}); err != nil {
			t.Fatal(err)
		}
	}
	var hot, cold, unobserved uint64
	for _, a := range w.Areas {
		if a.Type == heat.Anon {
			hot, cold, unobserved = hot+a.Hot, cold+a.Cold, unobserved+a.Unobserved
		}
	}
	if hot >= idleBytes {
		t.Errorf("%d bytes are hot, of which %d were touched once, long ago", hot, idleBytes)
	}
	if len(w.Skips) == 0 && cold < idleBytes {
		t.Errorf("%d bytes are cold and %d unobserved, want %d cold", cold, unobserved, idleBytes)
	}
}

// TestTwoProcessesWhoseLeadersHaveEnded: neither leader has an address space, but
// the processes have two.
func TestTwoProcessesWhoseLeadersHaveEnded(t *testing.T) {
	a, b := startLeaderless(t), startLeaderless(t)
	if _, err := kcmpVM(a.TGID, b.TGID); err != nil {
		t.Skip("NOT TESTED: no kcmp here: ", err)
	}
	r := NewReferenced("/proc", "/sys")
	for _, p := range []heat.Process{a, b} {
		p.Image = 1 // as if one were the other's child
		w, err := r.Observe(p, &heat.Selection{})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range w.Skips {
			if s == skipShared {
				t.Errorf("process %d is said to share the other's memory", p.TGID)
			}
		}
	}
	if order, err := r.compareMemory(a.TGID, a.TGID); err != nil || order != 0 {
		t.Errorf("a process compares with itself as %v, %v, want 0", order, err)
	}
}
