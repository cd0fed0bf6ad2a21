package source

import (
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// TestEnterInitialCgroups goes from a cgroup namespace of its own into that of process
// 1, and back.
func TestEnterInitialCgroups(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: needs root, to make a cgroup namespace")
	}
	runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
	here := func() string {
		link, err := os.Readlink("/proc/thread-self/ns/cgroup")
		if err != nil {
			t.Fatal(err)
		}
		return link
	}
	before := here()
	leave, err := enterInitialCgroups("/proc")
	if err != nil {
		t.Fatal(err)
	}
	if err := leave(); err != nil || here() != before {
		t.Errorf("after nothing had to be done we are in %s, not %s: %v", here(), before, err)
	}
	initial, err := os.Readlink("/proc/1/ns/cgroup")
	if err != nil {
		t.Skip("NOT TESTED here, but by TestContainer in a guest: ", err)
	}
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		t.Skip("NOT TESTED: no cgroup namespaces here: ", err)
	}
	own := here()
	if leave, err = enterInitialCgroups("/proc"); err != nil {
		t.Fatal(err)
	}
	if here() != initial {
		t.Errorf("we are in %s, not in that of process 1, %s", here(), initial)
	}
	if err := leave(); err != nil || here() != own {
		t.Errorf("we are in %s, not back in %s: %v", here(), own, err)
	}
}
