package source

import (
	"errors"
	"math"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"mglru_exporter/bpf"
	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/process"
)

// TestGuests: all of a process that runs a guest is skipped, from the window in
// which it begins to to that in which it ends.
func TestGuests(t *testing.T) {
	const qemu, shell = 7, 8
	runs := map[int]bool{}
	var broken error
	var g guests
	g.maps = func(tgid int) ([]process.VMA, error) {
		if !g.mu.TryLock() {
			t.Error("who watches processes waits until all their mappings are read")
		} else {
			g.mu.Unlock()
		}
		maps := []process.VMA{{Name: "[heap]"}, {Name: "/dev/kvm"}, {Name: "anon_inode:[eventfd]"}}
		if runs[tgid] {
			maps = append(maps, process.VMA{Name: "anon_inode:kvm-vcpu:0"})
		}
		return maps, broken
	}
	procs := []heat.Process{{ProcessID: heat.ProcessID{TGID: qemu}}, {ProcessID: heat.ProcessID{TGID: shell}}}
	expect := func(what string, windowEnds bool, want ...int) {
		t.Helper()
		req := Request{Processes: procs}
		if windowEnds { // a selection may have left none of the mappings
			req.Residency = map[int]*heat.Residency{qemu: {}, shell: {}}
		}
		var skips []heat.Record
		for _, tgid := range want {
			skips = append(skips, heat.Record{Kind: heat.KindSkip, TGID: tgid, End: math.MaxUint64, Reason: "guest_memory"})
		}
		if diff := cmp.Diff(skips, g.pass(req)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	expect("no guest", true)
	runs[qemu] = true
	expect("it has begun in the window", false)
	expect("the window ends", true, qemu)
	expect("the next one begins", false, qemu)
	expect("and ends", true, qemu)
	runs[qemu] = false
	expect("it has ended in the window", false, qemu)
	expect("which ends", true, qemu)
	expect("without a guest", false)
	expect("in all of the window", true)
	broken = errors.New("no memory")
	expect("nobody knows", true, qemu, shell)
	g.forget([]int{qemu})
	expect("one is not watched any more", false, shell)
}

// TestGuestOfThisMachine makes a virtual CPU, and looks for it as Hooks does.
func TestGuestOfThisMachine(t *testing.T) {
	const createVM, vcpuSize, createVCPU = 0xae01, 0xae04, 0xae41 // KVM_CREATE_VM and so on in include/uapi/linux/kvm.h
	kvm, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		t.Skip("NOT TESTED: needs KVM: ", err)
	}
	defer kvm.Close()
	vm, err := unix.IoctlRetInt(int(kvm.Fd()), createVM)
	if err != nil {
		t.Skip("NOT TESTED: KVM makes no virtual machine: ", err)
	}
	defer unix.Close(vm)
	vcpu, err := unix.IoctlRetInt(vm, createVCPU)
	if err != nil {
		t.Skip("NOT TESTED: KVM makes no virtual CPU: ", err)
	}
	defer unix.Close(vcpu)
	size, err := unix.IoctlRetInt(int(kvm.Fd()), vcpuSize)
	if err != nil {
		t.Fatal(err)
	}
	g := &NewHooks(bpf.HooksOptions{}, process.NewFS("/proc"), "", "/sys").guests
	req := Request{
		Processes: []heat.Process{{ProcessID: heat.ProcessID{TGID: os.Getpid()}}},
		Residency: map[int]*heat.Residency{os.Getpid(): {}},
	}
	if skips := g.pass(req); len(skips) != 0 {
		t.Errorf("without a virtual CPU: %+v", skips)
	}
	state, err := unix.Mmap(vcpu, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(state) //nolint:errcheck // the process ends
	if skips := g.pass(req); len(skips) != 1 || skips[0].TGID != os.Getpid() {
		t.Errorf("with a virtual CPU: %+v", skips)
	}
}
