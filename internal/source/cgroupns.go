package source

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// initialCgroups is the inode of the initial cgroup namespace, the same on each machine
// (PROC_CGROUP_INIT_INO in include/linux/proc_ns.h). To know it spares a look at process
// 1, which takes CAP_SYS_PTRACE.
const initialCgroups = 0xEFFFFFFB

// enterInitialCgroups moves the calling thread, which must be locked to its goroutine,
// into the cgroup namespace of process 1, and returns what moves it back. Since Linux
// 7.3 debugfs' lru_gen takes only memcgs below the root of the writer's cgroup
// namespace: in a container with one of its own each write is refused. Where the thread
// is in that namespace already nothing changes. It takes CAP_SYS_ADMIN.
func enterInitialCgroups(procRoot string) (leave func() error, err error) {
	stay := func() error { return nil }
	own, err := openNamespace(procRoot + "/thread-self/ns/cgroup")
	if errors.Is(err, unix.ENOENT) { // a kernel without namespaces of cgroups
		return stay, nil
	}
	if err != nil {
		return stay, err
	}
	defer own.close()
	if own.inode == initialCgroups {
		return stay, nil
	}
	initial, err := openNamespace(procRoot + "/1/ns/cgroup")
	if err != nil {
		return stay, err
	}
	defer initial.close()
	if own.dev == initial.dev && own.inode == initial.inode {
		return stay, nil
	}
	if err := unix.Setns(initial.fd, unix.CLONE_NEWCGROUP); err != nil {
		return stay, fmt.Errorf("enter the initial cgroup namespace: %w", err)
	}
	back := own.keep()
	return func() error {
		defer unix.Close(back)
		if err := unix.Setns(back, unix.CLONE_NEWCGROUP); err != nil {
			return fmt.Errorf("leave the initial cgroup namespace: %w", os.NewSyscallError("setns", err))
		}
		return nil
	}, nil
}

// A namespace is an open file of one.
type namespace struct {
	fd         int
	dev, inode uint64
}

func openNamespace(path string) (*namespace, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("stat %s: %w", path, err)
	}
	return &namespace{fd, st.Dev, st.Ino}, nil
}

// keep returns the file, which close no longer closes.
func (n *namespace) keep() int {
	fd := n.fd
	n.fd = -1
	return fd
}

func (n *namespace) close() {
	if n.fd >= 0 {
		unix.Close(n.fd)
	}
}
