package bench

import "time"

// A Watch is one way to watch a process under load, or not to.
type Watch struct {
	// Source is the exporter's; empty for no exporter.
	Source string
	// Interval is the time between passes.
	Interval time.Duration
	// Again marks the second run without an exporter, last of all.
	Again bool
}

// The time between passes by default, and at ten times that rate.
const (
	DefaultInterval = 30 * time.Second
	FastInterval    = DefaultInterval / 10
)

// Unwatched is what all others are compared with.
var Unwatched = Watch{}

// Watches are all ways to watch, in the order in which they are measured.
func Watches() []Watch {
	all := []Watch{Unwatched}
	for _, interval := range []time.Duration{DefaultInterval, FastInterval} {
		for _, source := range []string{"hooks", "stock", "referenced"} {
			all = append(all, Watch{Source: source, Interval: interval})
		}
	}
	return append(all, Watch{Again: true})
}

// String names the way in tables and, without blanks, in test names.
func (w Watch) String() string {
	switch {
	case w.Again:
		return "unwatched-again"
	case w.Source == "":
		return "unwatched"
	}
	return w.Source + "-" + w.Interval.String()
}

// Harms are the names of the two tests in the guest: Counted, on one CPU in a time
// that counts instructions, and Locks, on two CPUs by the host's clock.
const (
	Counted = "TestHarm"
	Locks   = "TestLocks"
)

// Loads are the loads that are put on a watched process.
func Loads() []string { return []string{"memcached", "reader"} }

// Harm is what one load found while its process was watched in one way.
type Harm struct {
	Load  string
	Watch string
	// Open are requests that arrive at random, at a fixed rate; Closed is how many
	// a second are answered at most.
	Open   Latency
	Closed float64
	// Resident is the memory of the watched process, in bytes.
	Resident uint64
	// Exporter is what the exporter did while Open was measured.
	Exporter Effort
}

// Latency is in nanoseconds, from a request's arrival to its answer. Blocked are
// the requests in which the reader waited for a lock, BlockedMax is the longest.
type Latency struct {
	Requests              int
	P50, P99, P999, Max   int64
	Blocked               int
	BlockedNS, BlockedMax int64
}

// Effort is what an exporter used over a time. Parts are of its
// mglru_cpu_seconds_total, CPU is all of it, and so in seconds.
type Effort struct {
	Over, CPU, Delay float64
	Passes           int
	Parts            map[string]float64
}
