//go:build guest

package guest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Workload is a process that maps and touches what it is told to; see
// test/vm/workload/workload.c. It is not safe for concurrent use.
type Workload struct {
	// PID is the process id; it stays over Exec and ExitLeader.
	PID int
	// Cgroup is the path of its memcg from the cgroup root: "/test/a".
	Cgroup string
	// Mappings are what it has mapped, in that order.
	Mappings []*Mapping

	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

const cgroupRoot = "/sys/fs/cgroup"

// answerTimeout is how long a command may take, as under lockdep and TCG it is
// slow to populate a gigabyte.
const answerTimeout = 3 * time.Minute

// StartWorkload starts a workload in a memcg, which is made if need be with its
// parents. When the test ends the workload is killed and the memcg removed.
func StartWorkload(t testing.TB, cgroup string) *Workload {
	t.Helper()
	return StartWorkloadAs(t, cgroup, nil)
}

// StartWorkloadAs is StartWorkload as another user than root.
func StartWorkloadAs(t testing.TB, cgroup string, user *syscall.Credential) *Workload {
	t.Helper()
	dir := MakeCgroup(t, cgroup)
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("open %s: %v", dir, err)
	}
	defer unix.Close(fd)
	w := &Workload{Cgroup: path.Clean("/" + cgroup), cmd: exec.Command("/bin/workload")}
	w.cmd.Stderr = os.Stderr
	// Born in the cgroup, so that not a page is charged elsewhere.
	w.cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: fd, Pdeathsig: syscall.SIGKILL, Credential: user}
	if w.in, err = w.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	w.out = bufio.NewScanner(out)
	w.out.Buffer(nil, 1<<22)
	if err := w.cmd.Start(); err != nil {
		t.Fatalf("start the workload: %v", err)
	}
	t.Cleanup(w.Kill)
	w.PID = w.cmd.Process.Pid
	w.ready(t)
	return w
}

// MakeCgroup makes a memcg with its parents, which pass their controllers on,
// and returns its directory. It is removed, with what is then in it killed, when
// the test ends.
func MakeCgroup(t testing.TB, cgroup string) string {
	t.Helper()
	dir := cgroupRoot
	for name := range strings.SplitSeq(strings.Trim(cgroup, "/"), "/") {
		if dir != cgroupRoot {
			if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+memory"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		dir = filepath.Join(dir, name)
		err := os.Mkdir(dir, 0o755)
		if os.IsExist(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { RemoveCgroup(t, dir) })
	}
	return dir
}

// RemoveCgroup kills what is in the cgroup whose directory is given and removes
// it. One that is gone already is fine.
func RemoveCgroup(t testing.TB, dir string) {
	t.Helper()
	// Absent where the cgroup was removed by the test.
	_ = os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0o644)
	for deadline := time.Now().Add(answerTimeout); ; {
		err := os.Remove(dir)
		if err == nil || os.IsNotExist(err) {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("remove cgroup: %v", err)
			return
		}
		time.Sleep(10 * time.Millisecond) // killed processes take a moment to leave
	}
}

// Kill kills the workload and waits until it is gone. It may be called twice.
func (w *Workload) Kill() {
	_ = w.cmd.Process.Kill()
	_ = w.cmd.Wait()
}

// Do sends a command and returns what follows "ok" in the answer; see the head
// of workload.c for the commands. Any other answer fails the test.
func (w *Workload) Do(t testing.TB, format string, args ...any) string {
	t.Helper()
	line := fmt.Sprintf(format, args...)
	answer := w.send(t, line)
	rest, ok := strings.CutPrefix(answer, "ok")
	if !ok {
		t.Fatalf("workload: %s: %s", line, answer)
	}
	return strings.TrimPrefix(rest, " ")
}

func (w *Workload) send(t testing.TB, line string) string {
	t.Helper()
	if _, err := io.WriteString(w.in, line+"\n"); err != nil {
		t.Fatalf("workload: %s: %v", line, err)
	}
	return w.answer(t)
}

func (w *Workload) answer(t testing.TB) string {
	t.Helper()
	stuck := time.AfterFunc(answerTimeout, func() { _ = w.cmd.Process.Kill() })
	defer stuck.Stop()
	if !w.out.Scan() {
		t.Fatalf("workload: gone instead of answering: %v", w.out.Err())
	}
	return w.out.Text()
}

func (w *Workload) ready(t testing.TB) {
	t.Helper()
	if answer := w.answer(t); !strings.HasPrefix(answer, "ready ") {
		t.Fatalf("workload: %q instead of ready", answer)
	}
}

// Map maps and populates an area.
func (w *Workload) Map(t testing.TB, a Area) *Mapping {
	t.Helper()
	if a.Kind == Hugetlb {
		reserveHugetlb(t, a.Node, a.Size)
	}
	m := &Mapping{Area: a, w: w, touched: newPages(a.Size / pageSize)}
	m.place(t, w.Do(t, "%s", a.command()))
	w.Mappings = append(w.Mappings, m)
	drainLRUBatches(t)
	return m
}

// drainLRUBatches puts on the lists what CPUs hold back to put there together: a
// walk of 7.x does not look at it. To move pages drains them first, however
// many are to be moved.
func drainLRUBatches(t testing.TB) {
	t.Helper()
	var nodes, status int32
	_, _, errno := unix.Syscall6(unix.SYS_MOVE_PAGES, 0, 0, 0, uintptr(unsafe.Pointer(&nodes)), uintptr(unsafe.Pointer(&status)), 0)
	if errno != 0 {
		t.Fatalf("move_pages: %v", errno)
	}
}

// Fork makes the workload fork and returns the child's pid. The child maps all
// that its parent maps and touches none of it; it dies with its parent.
func (w *Workload) Fork(t testing.TB) int { return w.child(t, "fork") }

// Share makes the workload start another process in its own memory, as vfork does,
// and returns its pid. It dies with its parent.
func (w *Workload) Share(t testing.TB) int { return w.child(t, "share") }

func (w *Workload) child(t testing.TB, command string) int {
	t.Helper()
	pid, err := strconv.Atoi(strings.TrimPrefix(w.Do(t, "%s", command), "child="))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// Exec makes the workload exec itself: the same process with nothing mapped.
func (w *Workload) Exec(t testing.TB) {
	t.Helper()
	if answer := w.send(t, "exec"); !strings.HasPrefix(answer, "ready ") {
		t.Fatalf("workload: exec: %s", answer)
	}
	w.Mappings = nil
}

// ExitLeader makes the workload's first thread exit while another one carries
// on, so that no thread has the process's id any more.
func (w *Workload) ExitLeader(t testing.TB) {
	t.Helper()
	if answer := w.send(t, "exit-leader"); !strings.HasPrefix(answer, "ready ") {
		t.Fatalf("workload: exit-leader: %s", answer)
	}
}

// EndPass ends a pass in the ledger of all mappings: call it right after the
// pass that is to find what was touched since the last call.
func (w *Workload) EndPass() {
	for _, m := range w.Mappings {
		m.passes = append(m.passes, m.touched)
		m.touched = newPages(m.Size / pageSize)
	}
}

// reserveHugetlb adds as many huge pages to a node as an area needs.
func reserveHugetlb(t testing.TB, node int, size uint64) {
	t.Helper()
	file := fmt.Sprintf("/sys/devices/system/node/node%d/hugepages/hugepages-2048kB/nr_hugepages", node)
	read := func() uint64 {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := read()
	want := before + size/hugeSize
	if err := os.WriteFile(file, []byte(fmt.Sprint(want)), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.WriteFile(file, []byte(fmt.Sprint(before)), 0o644) })
	if got := read(); got < want {
		t.Fatalf("node %d has %d huge pages, want %d", node, got, want)
	}
}
