// Package source has what ages memcgs and harvests accessed bits, behind one
// interface that asks for no more than the sampler needs.
package source

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mglru_exporter/bpf"
	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/memcg"
)

// A Sink takes the records of any walk that found pages of watched processes
// young. A source calls it from one goroutine; it must not keep the slice.
type Sink func(records []heat.Record)

// A Source ages memcgs and harvests.
type Source interface {
	// Info names the source and tells its granularity.
	Info() heat.SourceInfo
	// Start begins to harvest into the sink. It is called once.
	Start(sink Sink) error
	// Watch removes and then adds processes, by tgid. It returns those that cannot
	// be watched for want of room. A process that has moved to another memcg is in
	// both: what the source knew of it is void.
	Watch(add, remove []int) (refused []int, err error)
	// Age runs one pass of one memcg. When it returns, the sink has had every
	// record of the pass. The error is a *Failure where the kernel refused.
	Age(ctx context.Context, req Request) (Outcome, error)
	// OtherWalkers returns what else clears accessed bits now. What a pass did not
	// find young while a walker with heat.UnobservedAll was active may have been
	// accessed all the same. For a MappingSource, Observe takes care of that.
	OtherWalkers() []heat.Walker
	// MemoryBytes is what the source holds in the kernel.
	MemoryBytes() uint64
	// Close detaches from the kernel. The sink is not called after it returns.
	Close() error
}

// A MappingSource sees how much of each mapping was accessed, but not which
// pages. It ages processes, not memcgs: Age is never called, and no record comes.
// A window is one pass.
type MappingSource interface {
	Source
	// Observe ends the window of a process and begins its next one. What it
	// returns is of the mappings that the selection touches, whole, and the others
	// are excluded. In a process's first window in a memcg all is unobserved: the
	// window before may have begun a moment ago, in another memcg. Processes may be
	// observed at the same time. The error is process.ErrGone or
	// process.ErrNoMemory where there is nothing to be observed.
	Observe(p heat.Process, s *heat.Selection) (*heat.MappingWindow, error)
	// SkipReasons are the reasons that a heat.MappingWindow may have.
	SkipReasons() []string
}

// A Limiter is a MappingSource that leaves large processes alone.
type Limiter interface {
	// SetMaxProcess sets how many bytes a process may have, resident and swapped out,
	// from the next Observe on; 0 is no limit, and what a source begins with.
	SetMaxProcess(bytes uint64)
}

// Cgroups is the memory controller's cgroup tree.
type Cgroups interface {
	// Walk lists all cgroups that there are. On an error it lists those that it
	// could.
	Walk() ([]memcg.Group, error)
	// Procs lists the processes of one memcg; memcg.ErrGone if it was removed. Each
	// process belongs to one at a time.
	Procs(path string) ([]int, error)
}

// Processes reads /proc.
type Processes interface {
	// Identify returns process.ErrGone or process.ErrNoMemory where there is
	// nothing to watch; after any other error nobody can tell.
	Identify(pid int) (heat.Process, error)
	// Residency replaces what is in res by what the process has in memory. Its
	// errors are those of Identify.
	Residency(ctx context.Context, pid int, res *heat.Residency) error
}

// A Request asks for one pass.
type Request struct {
	// Path is the memcg, from the cgroup root.
	Path string
	// Inode is that of the memcg's directory: a memcg that is made anew under
	// the same path has another.
	Inode uint64
	// CanSwap ages anonymous memory too, with or without swap.
	CanSwap bool
	// OnlyWatched lets the kernel leave out processes that are not watched.
	OnlyWatched bool
	// Processes are those whose records are wanted.
	Processes []heat.Process
	// Residency is what they have in memory, by tgid, where the pass ends a
	// window; nil otherwise. It must not be changed.
	Residency map[int]*heat.Residency
}

// An Outcome is what a pass did, also if it failed half-way.
type Outcome struct {
	// Nodes has a bit for each NUMA node that was to be aged.
	Nodes uint64
	// Lost counts records lost since the pass before, of any memcg; LostBy are the
	// tgids of the processes they were about. Without these they were about anybody.
	Lost   uint64
	LostBy []int
	// CPU is the CPU time that aging took.
	CPU time.Duration
}

// SkipReasons are the reasons that a source which ages memcgs may have to skip
// memory, for counters that begin at 0.
func SkipReasons() []string { return append(bpf.SkipReasons(), skipGuest) }

// A Failure is why a pass failed.
type Failure struct {
	// Reason is a value of mglru_pass_failures_total's label reason.
	Reason string
	// Err is the cause.
	Err error
}

// Reasons of failures.
const (
	ReasonGone        = "memcg_gone"  // the memcg was removed
	ReasonRaced       = "raced"       // another walker made the generation
	ReasonInterrupted = "interrupted" // a signal came
	ReasonDisabled    = "disabled"    // MGLRU was switched off
	ReasonProbesOff   = "probes_off"  // somebody switched our probes off
	ReasonNoMemory    = "no_memory"   // the kernel had none for the walk
	ReasonUnknownID   = "unknown_id"  // the kernel's id of the memcg cannot be had
	ReasonKernel      = "kernel"      // any other error of the kernel
)

// Reasons returns the reasons of failures that the source of that name can give, for
// counters that begin at 0. Those of a replay are another source's.
func Reasons(source string) []string {
	switch source {
	case "stock":
		return []string{ReasonGone, ReasonRaced, ReasonDisabled, ReasonUnknownID, ReasonKernel}
	case "referenced":
		return []string{ReasonGone, ReasonKernel}
	}
	return []string{ReasonGone, ReasonRaced, ReasonInterrupted, ReasonDisabled, ReasonProbesOff, ReasonNoMemory, ReasonUnknownID, ReasonKernel}
}

// Error tells the reason and its cause.
func (f *Failure) Error() string { return fmt.Sprintf("%s: %v", f.Reason, f.Err) }

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// ReasonOf returns the reason for an error of Age.
func ReasonOf(err error) string {
	if f := (*Failure)(nil); errors.As(err, &f) {
		return f.Reason
	}
	return ReasonKernel
}
