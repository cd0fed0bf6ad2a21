package vm

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A Kernel is what there is to boot.
type Kernel struct {
	// Path is that of a bzImage.
	Path string
	// Modules are the modules that the guest cannot do without, in the order in
	// which they are to be loaded.
	Modules []string
	// CPU is QEMU's -cpu, where that of the machine will not do.
	CPU string
	// Append is added to the kernel's command line. What the kernel does not
	// know becomes a variable of init.
	Append string
}

// debian are Debian's own kernels, by name. They make huge pages of all memory
// that they can, so that nobody knows which page is which; the first has MGLRU
// switched off, and is to be given what an administrator must write there.
var debian = map[string]Kernel{
	"debian-6.1":  {CPU: "max", Append: "transparent_hugepage=madvise lru_gen=0x3"},
	"debian-6.12": {CPU: withoutCX16, Append: "transparent_hugepage=madvise"},
	// DAMON_STAT would clear accessed bits from the start; a test has it do so.
	"debian-7": {CPU: withoutCX16, Append: "transparent_hugepage=madvise damon_stat.enabled=N"},
}

// withoutCX16 is a CPU that cannot do cmpxchg16b, which QEMU 7.2 does wrong once
// in a while, and which the allocator of newer kernels does all the time.
const withoutCX16 = "qemu64,+pcid,-cx16"

// IsDebian tells whether a kernel is one of Debian's own.
func IsDebian(name string) bool { _, ok := debian[name]; return ok }

// FindKernel builds a variant of ours, or fetches a kernel of Debian's. A name
// with a slash is the path of a bzImage. It reports its progress on w.
func FindKernel(ctx context.Context, name string, w io.Writer) (Kernel, error) {
	if strings.Contains(name, "/") {
		return Kernel{Path: name}, nil
	}
	k, ok := debian[name]
	if !ok {
		dir, err := BuildKernel(ctx, name, w)
		return Kernel{Path: filepath.Join(dir, "bzImage")}, err
	}
	cmd := command(ctx, filepath.Join(Root(), "test/vm/kernel/fetch"), name)
	cmd.Stderr = w
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.Output()
	if err != nil {
		return Kernel{}, fmt.Errorf("fetch kernel %s: %w", name, err)
	}
	dir := strings.TrimSpace(string(out))
	k.Path = filepath.Join(dir, "vmlinuz")
	if k.Modules, err = filepath.Glob(filepath.Join(dir, "modules/*.ko")); err != nil {
		return Kernel{}, err
	}
	return k, nil
}
