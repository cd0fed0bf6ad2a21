// Package process reads from /proc what the exporter must know of one process:
// who it is, what it has mapped, and which page of it is in memory on which
// NUMA node. It trusts nothing it reads: names may hold any byte, numbers may
// be absurd, and the process may end at any moment.
package process

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Errors that callers branch on; test for them with errors.Is.
var (
	// ErrGone says that the process has ended, or that it replaced its address
	// space by exec while it was being read. What was asked is no longer true,
	// and nothing has been returned.
	ErrGone = errors.New("process is gone")
	// ErrNoMemory says that the process exists but has no address space: it is
	// a kernel thread, or a zombie.
	ErrNoMemory = errors.New("process has no memory")
	// ErrNoPFN says that the kernel hides page frame numbers from us, without
	// which no page's node is known: pagemap shows them only to a file opened
	// with CAP_SYS_ADMIN in the initial user namespace (pagemap_read() in
	// fs/proc/task_mmu.c).
	ErrNoPFN = errors.New("pagemap shows no page frame numbers (CAP_SYS_ADMIN is needed)")
)

// An FS is a mounted procfs. The zero FS is not usable; make one with NewFS.
// It may be copied and shared.
type FS struct {
	root  string
	guard *Guard
}

// NewFS returns the procfs mounted at procRoot, usually "/proc". Nothing is
// opened: a wrong root shows as ErrGone for every process. Process ids are
// those of the PID namespace that procRoot was mounted in, so for the
// exporter it must be a mount from the initial one.
func NewFS(procRoot string) FS {
	return FS{root: filepath.Clean(procRoot), guard: NewGuard()}
}

// With returns the same procfs, whose reads that may hang go through a Guard.
func (f FS) With(g *Guard) FS {
	f.guard = g
	return f
}

// Guard returns what the reads go through that may hang.
func (f FS) Guard() *Guard { return f.guard }

// dir returns the directory of a process.
func (f FS) dir(pid int) string {
	return f.root + "/" + strconv.Itoa(pid)
}

// withMemory calls try with the directory of the process. Where that says
// ErrNoMemory because only the thread-group leader has ended, it calls again
// with the directory of a thread that lives: the leader's own directory then
// shows no address space, but the process has one.
func (f FS) withMemory(pid int, try func(dir string) error) error {
	dir := f.dir(pid)
	err := try(dir)
	if !errors.Is(err, ErrNoMemory) && !errors.Is(err, ErrGone) {
		return err
	}
	st, serr := f.stat(dir)
	if serr != nil {
		return serr
	}
	if st.hasMemory() {
		// It had no memory a moment ago, or lost it half-way: exec.
		return fmt.Errorf("read %s: %w", dir, ErrGone)
	}
	tid, _, serr := f.liveThread(pid, &st)
	if serr != nil {
		return serr
	}
	return try(f.threadDir(pid, tid))
}

// Task returns the id of a thread that has the process's address space: the
// leader, unless that has ended. System calls that take a process by its id look
// at one thread only, and a leader that has ended has no memory.
//
// The errors are ErrGone and ErrNoMemory, or that stat could not be read or
// understood.
func (f FS) Task(pid int) (int, error) {
	st, err := f.stat(f.dir(pid))
	if err != nil || st.hasMemory() {
		return pid, err
	}
	tid, _, err := f.liveThread(pid, &st)
	return tid, err
}

// threadDir returns the directory of a thread of a process. It has no map_files.
func (f FS) threadDir(pid, tid int) string {
	return f.dir(pid) + "/task/" + strconv.Itoa(tid)
}

// mapFiles returns the directory map_files that belongs to the directory of a
// process or thread.
func (f FS) mapFiles(dir string) string {
	return f.root + "/" + filepath.Base(dir) + "/map_files"
}

// liveThread returns the id and stat of a thread of the process that has an
// address space, given that its leader, described by st, has none.
func (f FS) liveThread(pid int, st *stat) (int, stat, error) {
	noMemory := fmt.Errorf("process %d: %w", pid, ErrNoMemory)
	if st.threads <= 1 {
		return 0, stat{}, noMemory
	}
	tids, err := readDirInts(f.dir(pid) + "/task")
	if err != nil {
		return 0, stat{}, err
	}
	for _, tid := range tids {
		st, err := f.stat(f.threadDir(pid, tid))
		if err == nil && st.hasMemory() {
			return tid, st, nil
		}
	}
	return 0, stat{}, noMemory
}

// checkMemory returns ErrNoMemory if a process or thread has no address space. It
// is for files that do not say so themselves.
func (f FS) checkMemory(dir string) error {
	st, err := f.stat(dir)
	if err == nil && !st.hasMemory() {
		err = fmt.Errorf("read %s: %w", dir, ErrNoMemory)
	}
	return err
}

// readFile appends all of a file to buf. A file of a process that is not there
// any more is ErrGone.
func readFile(path string, buf []byte) ([]byte, error) {
	fd, err := openFile(path)
	if err != nil {
		return buf, err
	}
	defer unix.Close(fd)
	for {
		if cap(buf)-len(buf) < 4096 {
			buf = append(buf, make([]byte, max(16<<10, len(buf)))...)[:len(buf)]
		}
		n, err := retry(func() (int, error) { return unix.Read(fd, buf[len(buf):cap(buf)]) })
		if err != nil {
			return buf, pathError("read", path, err)
		}
		if n == 0 {
			return buf, nil
		}
		buf = buf[:len(buf)+n]
	}
}

// openFile opens a file for reading. It goes around package os, which would
// register every file of every process with the poller.
func openFile(path string) (int, error) {
	fd, err := retry(func() (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return -1, pathError("open", path, err)
	}
	return fd, nil
}

// retry repeats a system call that a signal has interrupted.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != unix.EINTR { //nolint:errorlint // a bare errno
			return n, err
		}
	}
}

// pathError says what was done to which file. The two ways in which procfs
// says that a process has ended become ErrGone.
func pathError(op, path string, err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) {
		err = ErrGone
	}
	return fmt.Errorf("%s %s: %w", op, path, err)
}
