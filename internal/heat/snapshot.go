package heat

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"mglru_exporter/internal/name"
)

// PID values of a Series that stand for no single process.
const (
	// PIDOff is the PID of series that the config merges over processes.
	PIDOff = 0
	// PIDOther is the PID of the processes beyond a memcg's top N.
	PIDOther = -1
)

// A Snapshot is all that the exporter knows at one moment. It is immutable: a
// scrape reads one and never waits for anything.
type Snapshot struct {
	// Source says what aged and harvested.
	Source SourceInfo
	// Memcgs are sorted by path, and each is as immutable as the Snapshot: two
	// snapshots share the memcgs that have not changed between them.
	Memcgs []*MemcgSnapshot
	// MemcgSet changes whenever a memcg is added or removed, so that readers need
	// not compare the lists. 0 means that nothing counted the changes.
	MemcgSet uint64
	// Self is what the exporter tells of itself, beyond single memcgs.
	Self SelfStats
}

// Memcg returns the memcg of that path, or nil.
func (s *Snapshot) Memcg(path string) *MemcgSnapshot {
	i, ok := slices.BinarySearchFunc(s.Memcgs, path, func(m *MemcgSnapshot, path string) int { return cmp.Compare(m.Path, path) })
	if !ok {
		return nil
	}
	return s.Memcgs[i]
}

// SourceInfo describes the source in use.
type SourceInfo struct {
	// Name is "hooks", "stock", "referenced" or "replay".
	Name string
	// Granularity is "page" or "mapping".
	Granularity string
}

// A MemcgSnapshot is the last complete window of one memcg, and the counters
// of all its passes.
type MemcgSnapshot struct {
	// Path is the memcg's path from the cgroup root, "/" for the root.
	Path string
	// WindowEnd is when the window's last pass ended; zero before the first.
	WindowEnd time.Time
	// WindowPasses is how many passes the window had.
	WindowPasses int
	// IdleAges are those of Area.Idle and Area.Reaccessed, ascending.
	IdleAges []time.Duration
	// Series are the process series, sorted by PID and Comm.
	Series []Series
	// Generations are by node, ascending; none where the kernel does not tell.
	Generations []NodeGenerations
	// TrackedProcesses and TrackedRegions are what the tracker watches.
	TrackedProcesses, TrackedRegions int
	// UntrackedRegions are unobserved in the window for want of room below
	// Params.MaxRegions.
	UntrackedRegions int
	// Passes counts the memcg's passes.
	Passes PassStats
}

// A Series is one process, or what the config has merged into one.
type Series struct {
	// PID is the process's tgid, PIDOff or PIDOther.
	PID int
	// Comm is the process's name; empty where the config leaves it out.
	Comm string
	// SwappedBytes is the size of the pages that have an entry in swap.
	SwappedBytes uint64
	// Areas are sorted by Node and Type; those with no byte and no
	// observation are left out.
	Areas []Area
	// Excluded is resident memory that a Selection has left out of Areas: each
	// node and type once, in any order.
	Excluded []Excluded
	// Bands are Params.AddressBands or fewer, if the series is of a single
	// process whose mappings are known.
	Bands []Band
}

// An Area is the memory of one series that has one node and one type.
type Area struct {
	// Node is the NUMA node, -1 where it is not known.
	Node int
	// Type is the type of the pages.
	Type Type
	// Hot, Warm, Cold and Unobserved are bytes; their sum is Resident.
	Hot, Warm, Cold, Unobserved uint64
	// Resident is counted by itself, when residency is read.
	Resident uint64
	// Since is when Reaccessed began to count; zero where that is not known.
	Since time.Time
	// Accesses has one observation for each watched region and window since
	// the series began.
	Accesses Histogram
	// Idle are the resident bytes known to have been idle for at least each of
	// the idle ages; Reaccessed, since the series began, are the bytes found
	// young after they had been. Both have no element where the source does not
	// see pages.
	Idle, Reaccessed []uint64
	// HeatRatio is the moving average of accesses ÷ (passes × pages that were
	// hot, warm or cold), 0 to 1. HeatKnown is false where the window had no such
	// page.
	HeatRatio float64
	HeatKnown bool
	// Never are the resident bytes that have been watched for at least
	// Params.NeverWindows windows and have never been found young, by mapping:
	// most bytes first, then by name.
	Never []MappingBytes
}

// MappingBytes is bytes of the mappings of one name.
type MappingBytes struct {
	// Mapping is a Mapping's Name, UnknownMapping or OtherMappings.
	Mapping string
	Bytes   uint64
}

// Values of MappingBytes.Mapping that name no mapping. None can have such a name:
// those of the kernel's are paths or a word for a file, or in brackets.
const (
	// UnknownMapping is the memory that no mapping was listed for.
	UnknownMapping = "[unknown]"
	// OtherMappings are those beyond Params.NeverTop.
	OtherMappings = "other"
)

// A Histogram counts observations, cumulative over time but not over buckets.
type Histogram struct {
	// Bounds are the upper bounds of the buckets, inclusive, ascending. It is
	// shared between histograms and must not be changed.
	Bounds []uint64
	// Counts has one more element than Bounds: the last is above all bounds.
	Counts []uint64
	// Sum is the sum of all observations.
	Sum uint64
	// Since is when the histogram began to count; zero where that is not known.
	Since time.Time
	// Native counts the same observations by the buckets of a native histogram of
	// NativeSchema: element 0 those of 0, element i+1 those above 2^((i-1)/4) and
	// up to 2^(i/4).
	Native []uint64
}

// NativeSchema is the schema of Histogram.Native, as Prometheus numbers them: four
// buckets to each power of two.
const NativeSchema = 2

// nativeBuckets is how many elements Histogram.Native needs for the most accesses
// that a region can have.
const nativeBuckets = 2 + 48 // 2^(48/4) is above MaxPassesPerWindow * PagesPerRegion

// Count returns the number of observations.
func (h *Histogram) Count() uint64 {
	var n uint64
	for _, c := range h.Counts {
		n += c
	}
	return n
}

// PassStats counts the passes of one memcg since it came under watch.
type PassStats struct {
	// Since is when these counters began; zero where that is not known.
	Since time.Time
	// Passes is the number of passes that ran, failed ones included.
	Passes uint64
	// Failures counts failed passes by reason.
	Failures map[string]uint64
	// DurationBounds are upper bounds in seconds of the passes' durations;
	// DurationCounts has one more element, for those above all.
	DurationBounds []float64
	DurationCounts []uint64
	// DurationSum is the passes' total duration in seconds.
	DurationSum float64
	// Delay is how long passes waited beyond their time, in seconds.
	Delay float64
	// Records is the number of harvest records taken in.
	Records uint64
	// Lost is the number of harvest records, of any memcg, that these passes found
	// to be lost.
	Lost uint64
	// Skips counts, by reason, what the walk said it could not look at.
	Skips map[string]uint64
	// Resets counts processes whose history was dropped, by reason: "exit",
	// "exec", "reused", "moved".
	Resets map[string]uint64
}

// SelfStats is what the exporter tells of itself.
type SelfStats struct {
	// Since is when these counters began; zero where that is not known.
	Since time.Time
	// BPFMemoryBytes is the memory locked by BPF maps and programs.
	BPFMemoryBytes uint64
	// CPUSeconds is the CPU time used since start, by part. It has all that the
	// exporter uses but what answers HTTP requests; docs/METRICS.md names the parts.
	CPUSeconds map[string]float64
	// MemcgsMatched is how many memcgs there are that the config matches.
	MemcgsMatched int
	// Blocked are the processes whose memory cannot be read, because a read of it
	// hangs, sorted by PID.
	Blocked []BlockedProcess
	// MemcgsOmitted is how many memcgs are not watched because there are too many.
	MemcgsOmitted int
	// MemcgsRemoved counts sampled memcgs that were removed.
	MemcgsRemoved uint64
	// OtherWalkers are the kernel features that clear accessed bits beside the
	// source, as of its last pass.
	OtherWalkers []Walker
}

// A BlockedProcess is a process that blocks reads of its memory.
type BlockedProcess struct {
	// PID is its tgid, Comm its name, Memcg the path of its memcg.
	PID         int
	Comm, Memcg string
	// Since is when the read began that hangs.
	Since time.Time
}

// A Walker is a kernel feature that clears accessed bits beside the source.
type Walker struct {
	// Name is the kernel's, such as "damon_stat".
	Name string
	// Unobserved is the memory that the source cannot judge while it is active.
	Unobserved Unobserved
}

// Unobserved says which memory a Walker keeps a source from judging.
type Unobserved string

// How much a Walker makes unobserved.
const (
	// UnobservedNone: the source sees what the walker clears.
	UnobservedNone Unobserved = "none"
	// UnobservedShared: memory that more than one process maps.
	UnobservedShared Unobserved = "shared"
	// UnobservedAll: all memory that a pass did not find young.
	UnobservedAll Unobserved = "all"
)

// Check returns an error if the snapshot breaks the one invariant: for each
// area hot + warm + cold + unobserved = resident.
func (m *MemcgSnapshot) Check() error {
	for i := range m.Series {
		s := &m.Series[i]
		for _, a := range s.Areas {
			if sum := a.Hot + a.Warm + a.Cold + a.Unobserved; sum != a.Resident {
				return fmt.Errorf("memcg %s pid %d node %d type %v: hot %d + warm %d + cold %d + unobserved %d = %d bytes, but %d are resident",
					name.Escape(m.Path), s.PID, a.Node, a.Type, a.Hot, a.Warm, a.Cold, a.Unobserved, sum, a.Resident)
			}
		}
	}
	return nil
}
