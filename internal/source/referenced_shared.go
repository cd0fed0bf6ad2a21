package source

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"mglru_exporter/internal/process"
)

// shares reports whether a process has the address space of another one that is
// observed: as the child of vfork(), of posix_spawn() and of clone(CLONE_VM) has,
// the first two until they execute a program. To clear one is to clear both, and
// the other's accesses before would be lost; so the first to be asked about owns
// it.
//
// The kernel orders address spaces, so that few of the processes that forked from one
// another need be compared.
func (r *Referenced) shares(o *observed) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if o.owner {
		return false
	}
	asked := o.asked
	o.asked = true
	list := r.owners[o.id.Image]
	lo, hi := 0, len(list)
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		other := list[mid]
		order, err := r.compareMemory(o.id.TGID, other)
		switch {
		case gone(err):
			// Another program's address space is in another place in the order.
			r.disown(r.procs[other])
			list = r.owners[o.id.Image]
			lo, hi = 0, len(list)
		case err != nil && !asked:
			// Where the kernel does not tell, the process is given the time of
			// a pass to execute a program.
			return true
		case err != nil:
			lo = hi
		case order == 0:
			return true
		case order < 0:
			hi = mid
		default:
			lo = mid + 1
		}
	}
	o.owner = true
	r.owners[o.id.Image] = slices.Insert(list, lo, o.id.TGID)
	return false
}

// disown takes the address space from a process that owns it. The caller holds mu.
func (r *Referenced) disown(o *observed) {
	if o == nil || !o.owner {
		return
	}
	o.owner = false
	list := r.owners[o.id.Image]
	if i := slices.Index(list, o.id.TGID); i >= 0 {
		list = slices.Delete(list, i, i+1)
	}
	if r.owners[o.id.Image] = list; len(list) == 0 {
		delete(r.owners, o.id.Image)
	}
}

// gone reports whether an error says that a process has ended, or has no memory.
func gone(err error) bool {
	return errors.Is(err, unix.ESRCH) || errors.Is(err, process.ErrGone) || errors.Is(err, process.ErrNoMemory)
}

// errSelf is why a process cannot be compared with any other.
var errSelf = errors.New("it cannot be asked about")

// compare is compareMemory on this machine. An error for which gone is true is about
// the other process: it has ended, or runs another program than when it became an
// owner.
func (r *Referenced) compare(tgid, other int) (order int, err error) {
	one, err := r.fs.Task(tgid)
	if err != nil {
		return 0, fmt.Errorf("process %d: %w: %s", tgid, errSelf, err.Error()) // gone(err) is about the other
	}
	two, err := r.fs.Task(other)
	if err != nil {
		return 0, err
	}
	if order, err = kcmpVM(one, two); err != nil || order == 0 {
		return order, err
	}
	p, err := r.fs.Identify(other)
	if o := r.procs[other]; err == nil && (o == nil || p.ProcessID != o.id) {
		err = fmt.Errorf("process %d runs another program: %w", other, process.ErrGone)
	}
	return order, err
}

// kcmpVM asks the kernel how it orders the address spaces of two threads: 0 if they
// share one, or both have none. A kernel without CONFIG_KCMP says ENOSYS.
func kcmpVM(tid, other int) (order int, err error) {
	const vm = 1 // KCMP_VM in include/uapi/linux/kcmp.h
	n, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(tid), uintptr(other), vm, 0, 0, 0)
	switch {
	case errno != 0:
		return 0, fmt.Errorf("kcmp: %w", errno)
	case n == 1:
		return -1, nil
	}
	return int(n), nil // 0, 2 for greater; 3, not ordered, is not of address spaces
}
