package vm

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

//go:embed system.sh
var systemScript []byte

// A System is a distribution as its installer leaves it, with its own kernel,
// initramfs and systemd. A unit on its disk unpacks the guest's Image and runs the
// jobs. Nothing that a guest writes is kept.
type System struct {
	Kernel Kernel
	// Initrd is the distribution's own; Disk has its root file system.
	Initrd, Disk string
}

// systems are the distributions, by name, with what their kernels need of QEMU.
var systems = map[string]Kernel{
	"debian-12": {CPU: "max"},
	"debian-13": {CPU: withoutCX16},
}

// FindSystem installs a distribution, unless it is in the cache. It reports its
// progress on w.
func FindSystem(ctx context.Context, name string, w *os.File) (*System, error) {
	cmd := command(ctx, filepath.Join(Root(), "test/distro/rootfs"), name)
	cmd.Stderr = w
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("install %s: %w", name, err)
	}
	dir := strings.TrimSpace(string(out))
	s := &System{Kernel: systems[name], Initrd: filepath.Join(dir, "initrd.img"), Disk: filepath.Join(dir, "disk.img")}
	s.Kernel.Path = filepath.Join(dir, "vmlinuz")
	return s, nil
}
