package vm

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// kvmTimeout is how long a guest under KVM may take until init runs, which is
// about a second.
const kvmTimeout = 15 * time.Second

var (
	kvmOnce  sync.Once
	kvmWorks bool
)

// tryKVM tells whether guests can run under KVM. MGLRU_ACCEL=kvm or tcg decides;
// otherwise the kernel is booted under it once, since a /dev/kvm that opens, and
// even runs real-mode code, may still hang in a kernel. The answer is kept until
// the machine reboots.
func tryKVM(ctx context.Context, kernel Kernel) bool {
	kvmOnce.Do(func() {
		switch os.Getenv("MGLRU_ACCEL") {
		case "kvm":
			kvmWorks = true
			return
		case "tcg":
			return
		}
		dev, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
		if err != nil {
			return
		}
		dev.Close()
		note := filepath.Join(CacheDir(), "kvm")
		// Without an id nothing is kept: it is then never equal.
		id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
		boot := strings.TrimSpace(string(id))
		if known, err := os.ReadFile(note); err == nil && boot != "" {
			if of, answer, _ := strings.Cut(string(known), " "); of == boot {
				kvmWorks = answer == "works"
				return
			}
		}
		ctx, cancel := context.WithTimeout(ctx, kvmTimeout)
		defer cancel()
		probe := &Guest{Kernel: kernel, Image: &Image{}, Machine: kvmMachine()}
		kvmWorks = probe.Run(ctx, Handlers{}) == nil
		answer := "hangs"
		if kvmWorks {
			answer = "works"
		}
		if os.MkdirAll(CacheDir(), 0o755) == nil {
			// If this fails, the next process tries again.
			_ = os.WriteFile(note, []byte(boot+" "+answer), 0o644)
		}
	})
	return kvmWorks
}
