package source

import (
	"fmt"
	"slices"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/preflight"
)

// pageSizeRequirement asks for the page size that sources which see pages count in.
func pageSizeRequirement(size int) preflight.Requirement {
	r := preflight.Requirement{Name: "pages of 4 KiB", Met: size == heat.PageSize, Detail: fmt.Sprintf("pages have %d KiB", size>>10)}
	if !r.Met {
		r.Repair = "boot a kernel with 4 KiB pages, or use source referenced, which works with any"
	}
	return r
}

// hooksArches are the architectures that the kernel patches are for. Elsewhere
// aging does not look into page tables.
var hooksArches = []string{"amd64", "arm64"}

// hooksArchRequirement asks for one of them.
func hooksArchRequirement(arch string) preflight.Requirement {
	r := preflight.Requirement{Name: "x86-64 or arm64", Met: slices.Contains(hooksArches, arch), Detail: arch}
	if !r.Met { // nothing repairs that
		r.Detail += ": the kernel patches are not for it; source referenced works there"
	}
	return r
}
