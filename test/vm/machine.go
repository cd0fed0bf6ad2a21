package vm

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// A Machine is the hardware of a guest.
type Machine struct {
	// Accel, CPU and Extra are QEMU's -accel, -cpu and further arguments.
	Accel string
	CPU   string
	Extra []string
	// CPUs is the number of CPUs, Nodes that of NUMA nodes, to which the CPUs
	// are dealt out in turn.
	CPUs, Nodes int
	// NodeMiB is the memory of each node.
	NodeMiB int
}

// DefaultMachine has two CPUs and two nodes of 1.5 GiB, and runs under TCG.
func DefaultMachine() Machine {
	return Machine{Accel: "tcg,thread=multi", CPU: "max", CPUs: 2, Nodes: 2, NodeMiB: 1536}
}

// kvmMachine is DefaultMachine under KVM.
func kvmMachine() Machine {
	m := DefaultMachine()
	m.Accel, m.CPU = "kvm", "host"
	return m
}

// CountingMachine has one CPU whose clock counts instructions, so that times
// taken in it repeat within about 1 %. It has one node: a walk for a second one
// would go over the same page tables, and find nothing.
func CountingMachine() Machine {
	return Machine{
		Accel: "tcg,thread=single", CPU: "qemu64", Extra: []string{"-icount", "shift=1"},
		CPUs: 1, Nodes: 1, NodeMiB: 2560,
	}
}

// machine returns DefaultMachine, under KVM where that works. Of a System it is not
// tried, but MGLRU_ACCEL=kvm holds for it, too.
func (g *Guest) machine(ctx context.Context) Machine {
	kernel, kvm := g.Kernel, os.Getenv("MGLRU_ACCEL") == "kvm"
	if g.System != nil {
		kernel = g.System.Kernel
	} else {
		kvm = tryKVM(ctx, g.Kernel)
	}
	if kvm {
		return kvmMachine()
	}
	m := DefaultMachine()
	if kernel.CPU != "" {
		m.CPU = kernel.CPU
	}
	return m
}

// media are what a boot reads: append is for the kernel's command line, and drives
// are the ends of QEMU's -drive.
type media struct {
	kernel Kernel
	initrd string
	append string
	drives []string
}

// args returns QEMU's arguments for a boot.
func (g *Guest) args(m Machine, boot media) []string {
	args := []string{
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
		"-accel", m.Accel, "-cpu", m.CPU,
		"-smp", fmt.Sprintf("%d,sockets=%d,cores=1,threads=1", m.CPUs, m.CPUs), "-m", fmt.Sprintf("%dM", m.Nodes*m.NodeMiB),
	}
	for node := range m.Nodes {
		cpus := ""
		for cpu := node; cpu < m.CPUs; cpu += m.Nodes {
			cpus += fmt.Sprintf(",cpus=%d", cpu)
		}
		args = append(args,
			"-object", fmt.Sprintf("memory-backend-ram,id=m%d,size=%dM", node, m.NodeMiB),
			"-numa", fmt.Sprintf("node,nodeid=%d,memdev=m%d%s", node, node, cpus))
	}
	// Level 5 shows warnings, which "quiet" would hide.
	cmdline := "console=ttyS0 loglevel=5 panic=-1 oops=panic"
	args = append(args,
		"-serial", "stdio",
		"-device", "virtio-serial-pci",
		"-chardev", "file,id=port,path=/dev/fd/3", "-device", "virtserialport,chardev=port,name=jobs")
	for i, drive := range boot.drives {
		args = append(args, "-drive", fmt.Sprintf("if=none,id=disk%d,format=raw,%s", i, drive), "-device", fmt.Sprintf("virtio-blk-pci,drive=disk%d", i))
	}
	if len(g.Ports) > 0 {
		user := "user,id=net"
		for _, port := range g.Ports {
			user += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:%d-:%d", port, port)
		}
		args = append(args, "-netdev", user, "-device", "virtio-net-pci,netdev=net,romfile=")
		cmdline += " ip=10.0.2.15::10.0.2.2:255.255.255.0::eth0:off"
	}
	for _, words := range []string{boot.append, boot.kernel.Append, g.Append} {
		if words != "" {
			cmdline += " " + words
		}
	}
	args = append(args, m.Extra...)
	return append(args, "-kernel", boot.kernel.Path, "-initrd", boot.initrd, "-append", cmdline)
}

// makeDisk makes an empty ext4 file system in dir, for file pages that are not
// tmpfs's. It is sparse.
func makeDisk(ctx context.Context, dir string) (string, error) {
	disk := filepath.Join(dir, "disk")
	out, err := exec.CommandContext(ctx, "/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", disk, "2G").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("mke2fs: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return disk, nil
}

// dieWithUs has the kernel kill the command when this process dies, however it
// does.
func dieWithUs(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
