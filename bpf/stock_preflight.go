package bpf

import (
	"fmt"
	"runtime"
	"sync"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"mglru_exporter/internal/preflight"
)

// PreflightStock returns what Stock needs of the kernel and whether it is there. The
// kernel's files and BTF decide: distributions have MGLRU in kernels of any number.
// It attaches nothing.
func PreflightStock() []preflight.Requirement {
	arch := preflight.Requirement{Name: "x86-64", Met: runtime.GOARCH == "amd64", Detail: runtime.GOARCH}
	if !arch.Met { // nothing repairs that
		arch.Detail += ": here the kernel clears accessed bits inline, where nothing can be attached"
	}
	kernel, err := btf.LoadKernelSpec()
	enabled := lruGenRequirement()
	if kernel != nil { // nonleafHides remembers what it found
		enabled = stockEnabledRequirement()
	}
	reqs := []preflight.Requirement{arch, enabled,
		requirement("BTF of the kernel", err, "/sys/kernel/btf/vmlinux", btfRepair),
		tracingRequirement(kernel, "fexit can be loaded"), syscallRequirement()}
	if kernel == nil {
		return reqs
	}
	return append(reqs, stockRequirements(kernel)...)
}

func stockEnabledRequirement() preflight.Requirement {
	r := lruGenRequirement()
	if !r.Met {
		if r.Repair == EnableRepair && nonleafHides() {
			r.Repair = EnableLeavesRepair
		}
		return r
	}
	if err := StockEnabled(); err != nil {
		r.Met, r.Detail, r.Repair, r.Effect = false, err.Error(), EnableLeavesRepair, leavesEffect
	}
	return r
}

// StockEnabled tells why a pass would not see all pages, as far as the bits of
// EnabledPath decide that.
func StockEnabled() error {
	now, err := Enabled()
	switch {
	case err != nil:
		return err
	case now&EnabledCore == 0:
		return fmt.Errorf("MGLRU is disabled: %s is %#04x", EnabledPath, now)
	case now&EnabledWalk == 0:
		return fmt.Errorf("MGLRU does not walk page tables: %s is %#04x", EnabledPath, now)
	case now&EnabledNonleafYoung != 0 && nonleafHides():
		return fmt.Errorf("bit 0x4 of %s (now %#04x) hides pages in this kernel: once one node's walk, or reclaim, has cleared the bit of a page-table page, no other walk looks into it", EnabledPath, now)
	}
	return nil
}

// nonleafHides reports whether a forced walk may pass over a page-table page because
// its own accessed bit is clear. Another walk may have cleared that bit and left those
// of the pages below.
var nonleafHides = sync.OnceValue(func() bool {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return true
	}
	kernel, err := btf.LoadKernelSpec()
	return err != nil || !forcedWalksIgnoreNonleaf(kernel, unix.ByteSliceToString(u.Release[:]))
})
