package bench

import "time"

// A Watch is one way to watch a process under load, or not to.
type Watch struct {
	// Source is the exporter's; empty for no exporter.
	Source string
	// Interval is the time between passes.
	Interval time.Duration
	// Variant is what else is different; empty for nothing.
	Variant Variant
}

// A Variant is a difference that shows a cause.
type Variant string

// The variants of a watch.
const (
	Unscraped Variant = "unscraped" // nobody reads its metrics meanwhile
	Nice      Variant = "nice-10"   // the exporter has less of a busy CPU
	Again     Variant = "again"     // the same, last of all
)

// The time between passes by default, and at ten times that rate.
const (
	DefaultInterval = 30 * time.Second
	FastInterval    = DefaultInterval / 10
)

// Unwatched is what all others are compared with.
var Unwatched = Watch{}

// Watches returns all ways to watch, in the order of their measurement.
func Watches() []Watch {
	all := []Watch{Unwatched}
	for _, interval := range []time.Duration{DefaultInterval, FastInterval} {
		for _, source := range []string{"hooks", "stock", "referenced"} {
			all = append(all, Watch{Source: source, Interval: interval})
		}
	}
	for _, v := range []Variant{Unscraped, Nice} {
		all = append(all, Watch{Source: "hooks", Interval: DefaultInterval, Variant: v})
	}
	return append(all, Watch{Variant: Again})
}

// String names the way in tables and, without blanks, in test names.
func (w Watch) String() string {
	name := "unwatched"
	if w.Source != "" {
		name = w.Source + "-" + w.Interval.String()
	}
	if w.Variant != "" {
		name += "-" + string(w.Variant)
	}
	return name
}

// Counted and Locks are the tests in the guest: on one CPU, with a clock that counts
// instructions, and on two CPUs by the host's clock.
const (
	Counted = "TestHarm"
	Locks   = "TestLocks"
)

// Loads returns the names of the loads that a watched process is under.
func Loads() []string { return []string{"memcached", "reader"} }

// Harm is the result of one load on a process that is watched in one way.
type Harm struct {
	Load  string
	Watch string
	// Open is the latency of requests that arrive at random, at a fixed rate. Closed
	// is the number of requests a second if each follows the one before; 0 is unknown.
	Open   Latency
	Closed float64
	// Resident is the memory of the watched process, in bytes.
	Resident uint64
	// Exporter is the work of the exporter during Open.
	Exporter Effort
}

// Latency is in nanoseconds, from a request's arrival to its answer. Blocked counts
// the requests in which the sender slept: the reader sleeps for locks alone.
type Latency struct {
	Requests              int
	P50, P99, P999, Max   int64
	Blocked               int
	BlockedNS, BlockedMax int64
}

// Effort is the work of an exporter over a time. All times are seconds. CPU is that of
// the whole exporter, Parts are those of mglru_cpu_seconds_total.
type Effort struct {
	Over, CPU, Delay float64
	Passes           int
	Parts            map[string]float64
}
