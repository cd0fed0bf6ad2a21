package recording

import (
	"time"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/memcg"
)

// A Kind says what an Event tells.
type Kind uint8

// The kinds of events. Their numbers are in files and never change.
//
// A recording is what a sampler was told, in this order: Generations, or not, any
// number of Group and Ungroup, then Discovered, for each look at the cgroup
// tree; and Pass to Done for each pass. Records may come anywhere: before Pass they
// belong to the time before it, after Pass to the pass.
const (
	// Group: the memcg Text with Inode is there.
	Group Kind = iota + 1
	// Ungroup: the memcg Text is there no more.
	Ungroup
	// Discovered: the tree was looked through at At, with the error Text.
	Discovered
	// Young, Skip and Walk are harvest records, in Record.
	Young
	Skip
	Walk
	// Pass: a pass of the memcg Text began at At. Result tells whether its
	// processes could be listed.
	Pass
	// PID: the memcg lists the process TGID.
	PID
	// Identity: the process Process.TGID was identified with Result. Those of
	// one process are in the order in which it was asked for.
	Identity
	// Refused: the process TGID could not be watched.
	Refused
	// Residency: what the process TGID has in memory was read with Result.
	// Swapped is its swapped pages. Its Mapping, Part and Unscanned events follow
	// at once.
	Residency
	// Part is one part of the last residency.
	Part
	// Unscanned is one element of Unscanned of the last residency.
	Unscanned
	// Aging: the source was asked to age. Residency comes before it.
	Aging
	// LostBy: records of the process TGID were lost.
	LostBy
	// Aged: aging ended with Result. Outcome tells the rest.
	Aged
	// Clock: the sampler looked at the clock, after Aged.
	Clock
	// Walker: the walker Text was active. After its name and a blank is what that
	// leaves unobserved, "none" or "shared"; a name alone leaves all.
	Walker
	// Observed: what a source of the granularity mapping found of the process
	// TGID, with Result. Swapped is its swapped bytes. Its Area and Unsure events
	// follow at once. Such a pass has neither Aging nor Aged.
	Observed
	// Area is bytes of one node and type of what was last observed.
	Area
	// Unsure is a reason, Text, for which some of it is unobserved.
	Unsure
	// Generations: the kernel's generations were read, with the error Text. Its
	// GenMemcg, GenNode and Gen events follow at once, those of a node after it
	// and those of a memcg after it. They replace what was known before.
	Generations
	// GenMemcg is the memcg Text.
	GenMemcg
	// GenNode is the node Node of that memcg.
	GenNode
	// Gen is one generation of that node, the oldest first.
	Gen
	// Done: the pass is over. A pass without it was cut short and means nothing.
	Done
	// End: the recorder was asked to stop at At. A recording without it was cut.
	End
	// Mapping is one mapping of the last residency, before its parts. They are in
	// the order of addresses and none overlaps another.
	Mapping

	lastKind = Mapping
)

// A Result is how a question to the machine was answered.
type Result uint8

// The results.
const (
	OK       Result = iota
	Gone            // the process, or the memcg, is no more
	NoMemory        // the process has no memory of its own
	Failed          // any other error
	Blocked         // reading the process did not come back
	lastResult
)

// An Event is one fact. Which fields have a meaning depends on the kind; the
// others are left over from events before.
type Event struct {
	Kind   Kind
	At     time.Duration // since the recording's start
	Text   string        // a path, an error, a name
	Reason string        // of Aged: the failure's reason
	Inode  uint64
	TGID   int
	Result Result

	Process   heat.Process
	Record    heat.Record
	Mapping   heat.Mapping
	Part      heat.ResidentPart
	Unscanned heat.UnscannedPages
	Area      heat.Area
	Node      int
	Gen       memcg.Generation
	Swapped   uint64
	Outcome   Outcome
}

// An Outcome is what Aged tells beside its Result.
type Outcome struct {
	Nodes uint64
	Lost  uint64
	// CPU is the CPU time that aging took; Memory what the source held in the
	// kernel.
	CPU    time.Duration
	Memory uint64
}
