// Package bench measures, in the guest of test/vm, what watching adds to the
// aging of memory; see docs/BENCHMARKS.md. What runs in the guest has the build
// tag "guest".
//
// It imports cilium/ebpf, which in the product package bpf alone does: its
// programs are what the product is compared with, and no part of it.
package bench

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -tags guest -target bpfel -cflags "-O2 -g -Wall -Wextra -Werror -Wno-unused-parameter -I../../../bpf -I/usr/include/x86_64-linux-gnu" -strip llvm-strip -type age_args -type region_key -type region_count rivals rivals.bpf.c

// Pages is how many young pages each pass ages: 1 GiB.
const Pages = 1 << 18

// Phases is after how many forced passes their cost repeats, as measured on 6.1.
// The likely reason: a walk leaves a folio on the list of the generation where it
// was, and a forced pass that finds no room for one more generation moves what is
// on the oldest one's. With four generations at most, that meets all folios of this
// bench at once, in every third pass.
const Phases = 3

// The ways to age, each a Result.Variant. Where it does not say debugfs, it is by
// bpf_run_aging().
const (
	Debugfs   = "debugfs"    // lru_gen of debugfs, nothing attached
	Stock     = "stock"      // the same with what stock attaches
	Base      = "base"       // nothing attached
	RegionBit = "region bit" // the kernel gathers regions, nothing attached
	Region    = "region"     // hooks with the region probe
	PageBit   = "page bit"   // the kernel calls the per-page probes, nothing attached
	PerPage   = "per-page"   // hooks with the per-page probes
	RFC       = "rfc"        // the RFC's way
	InPlace   = "in-place"   // the same, but counting in place
	BaseAgain = "base again" // Base once more, after all others

	// Of a private mapping of a file; all others are of anonymous memory.
	FileDebugfs = "file, debugfs"
	FileStock   = "file, stock"
)

// Timed lines of the guest's output begin with Mark; a Result in JSON follows,
// or one of the words that frame what is timed.
const (
	Mark = "@"
	Go   = "go"
	Stop = "stop"
)

// A Result is what one pass took by the guest's clock, which counts
// instructions.
type Result struct {
	Variant string
	// Seq is the generation that the pass made. Compare only passes of which
	// it is the same modulo Phases.
	Seq uint64
	// Whole tells that NS is that of the pass until user space has all that
	// was found, not of the aging call alone.
	Whole bool
	NS    int64
}
