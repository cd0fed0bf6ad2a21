// Package instance lets one exporter at a time clear accessed bits on a host. Two
// would take them from each other, and call memory cold that is in use.
package instance

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"mglru_exporter/internal/memcg"
)

// A Lock is held until Release, or until the process ends in whatever way.
type Lock struct{ file *os.File }

// A HeldError says that another process holds the lock.
type HeldError struct {
	// PID is its process id, 0 where it is in a PID namespace that we do not see.
	PID int
	// Comm is its name, and Started when it started; empty and zero where unknown.
	Comm    string
	Started time.Time
}

// Error names the holder, and what to do.
func (e *HeldError) Error() string {
	who := "another exporter, in a container or PID namespace that is not visible here,"
	if e.PID != 0 {
		who = fmt.Sprintf("another exporter (%s, pid %d", e.Comm, e.PID)
		if !e.Started.IsZero() {
			who += ", started " + e.Started.UTC().Format(time.RFC3339)
		}
		who += ")"
	}
	return who + " watches this host already, and two would call memory cold that is in use: stop it first"
}

// Acquire takes the host's lock, or returns a *HeldError. Any other error says
// why there is no lock to be had here; another exporter is not known of then.
//
// It is a flock on the file cgroup.procs of the memory controller's root, as
// mounted for us. That file is the same in all containers that see the host's tree,
// is there where nothing can be written, and keeps no lock of a process that was
// killed. In a cgroup namespace of its own an exporter sees another root, and so
// not the lock of one outside.
//
// Any user may open that file. A holder that is neither root nor our own user is no
// exporter, and is an error that names it instead of a HeldError.
func Acquire(procRoot string) (*Lock, error) {
	cgroups, err := memcg.Open(procRoot)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(filepath.Join(cgroups.Dir(), "cgroup.procs"))
	if err != nil {
		return nil, err
	}
	if err := flock(file); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = heldBy(procRoot, file)
		} else {
			err = fmt.Errorf("lock %s: %w", file.Name(), err)
		}
		file.Close()
		return nil, err
	}
	return &Lock{file}, nil
}

// Release lets another exporter have the lock.
func (l *Lock) Release() error { return l.file.Close() }

func flock(f *os.File) error {
	for {
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// heldBy returns the error for a file that another process has locked.
func heldBy(procRoot string, f *os.File) error {
	pid, err := holder(procRoot, f)
	if err != nil || pid == 0 {
		return &HeldError{}
	}
	uid, err := effectiveUID(procRoot, pid)
	switch {
	case err != nil: // gone, or about to be
		return &HeldError{PID: pid, Comm: "?"}
	case uid != 0 && uid != os.Geteuid():
		return fmt.Errorf("lock %s: process %d of user %d, which is no exporter, has locked it", f.Name(), pid, uid)
	}
	comm, started := describe(procRoot, pid)
	return &HeldError{PID: pid, Comm: comm, Started: started}
}

// holder finds in /proc/locks which process has locked a file. A line is, as
// lock_get_status() in fs/locks.c writes it:
//
//	3: FLOCK  ADVISORY  WRITE 6023 00:20:2 0 EOF
func holder(procRoot string, f *os.File) (pid int, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return 0, err
	}
	want := fmt.Sprintf("%02x:%02x:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
	b, err := os.ReadFile(filepath.Join(procRoot, "locks"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if w := strings.Fields(line); len(w) >= 6 && w[1] == "FLOCK" && w[5] == want {
			return strconv.Atoi(w[4])
		}
	}
	return 0, nil
}

// effectiveUID returns the effective user id of a process. The owner of its
// directory is root where the process has made itself undumpable.
func effectiveUID(procRoot string, pid int) (int, error) {
	b, err := os.ReadFile(filepath.Join(procRoot, strconv.Itoa(pid), "status"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if ids, ok := strings.CutPrefix(line, "Uid:"); ok {
			if w := strings.Fields(ids); len(w) > 1 {
				return strconv.Atoi(w[1])
			}
		}
	}
	return 0, errors.New("its status has no user")
}

// describe returns the name of a process, and when it started, as far as they are
// known.
func describe(procRoot string, pid int) (comm string, started time.Time) {
	comm = "?"
	stat, err := os.ReadFile(filepath.Join(procRoot, strconv.Itoa(pid), "stat"))
	if err != nil {
		return comm, started
	}
	open, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	if open < 0 || end < open {
		return comm, started
	}
	comm = strings.ToValidUTF8(string(stat[open+1:end]), "?")
	const startTime, ticks = 22 - 3, 100 // field 22, in USER_HZ
	w := strings.Fields(string(stat[end+1:]))
	if len(w) <= startTime {
		return comm, started
	}
	since, err := strconv.ParseInt(w[startTime], 10, 64)
	boot, bootErr := bootTime(procRoot)
	if err != nil || bootErr != nil {
		return comm, started
	}
	return comm, time.Unix(boot+since/ticks, 0)
}

// bootTime returns when the machine booted, in seconds since 1970.
func bootTime(procRoot string) (int64, error) {
	b, err := os.ReadFile(filepath.Join(procRoot, "stat"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if n, ok := strings.CutPrefix(line, "btime "); ok {
			return strconv.ParseInt(strings.TrimSpace(n), 10, 64)
		}
	}
	return 0, errors.New("no boot time")
}
