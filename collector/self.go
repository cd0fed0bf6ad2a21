package collector

import (
	"maps"
	"slices"
	"strconv"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/name"
)

// self is what the exporter tells of itself, beyond single memcgs.
type self struct {
	source, walker            *family
	blocked                   *family
	matched, omitted, removed *family
	dropped, bpfMemory, cpus  *family
}

func newSelf() self {
	return self{
		source: desc("source_info",
			"A constant 1, labelled by the source that ages memory and harvests accesses, and by how finely it sees: page or mapping.", "source", "granularity"),
		walker: desc("other_walker_active",
			"1 for each kernel feature that also clears accessed bits, and what that leaves unobserved.", "walker", "unobserved"),
		blocked: desc("process_blocked_timestamp_seconds",
			"When a read of a process's memory began that has not come back.", "memcg", "pid", "comm"),
		matched: desc("memcgs_matched",
			"Memcgs that exist and that the config matches."),
		omitted: desc("memcgs_omitted",
			"Memcgs that match the config but are not watched, because of limits.max_memcgs."),
		removed: desc("memcgs_removed_total",
			"Memcgs that were removed while they were watched. Their series go with them."),
		dropped: desc("series_dropped_total",
			"Series left out because of limits.max_series, counted once for each snapshot that is scraped."),
		bpfMemory: desc("bpf_memory_bytes",
			"Kernel memory that the exporter's BPF maps and programs hold."),
		cpus: desc("cpu_seconds_total",
			"CPU time that watching took, by part, without scrapes.", "part"),
	}
}

func (s self) descs() []*family {
	return []*family{s.source, s.walker, s.blocked, s.matched, s.omitted, s.removed, s.dropped, s.bpfMemory, s.cpus}
}

func (s self) emit(e *emitter, snap *heat.Snapshot, dropped uint64) {
	if snap.Source.Name != "" {
		e.gauge(s.source, 1, snap.Source.Name, snap.Source.Granularity)
	}
	seen := make(map[heat.Walker]bool)
	for _, w := range snap.Self.OtherWalkers {
		if !seen[w] {
			seen[w] = true
			e.gauge(s.walker, 1, w.Name, string(w.Unobserved))
		}
	}
	for _, p := range snap.Self.Blocked {
		e.gauge(s.blocked, float64(p.Since.UnixMilli())/1e3, name.Escape(p.Memcg), strconv.Itoa(p.PID), name.Escape(p.Comm))
	}
	e.gauge(s.matched, float64(snap.Self.MemcgsMatched))
	e.gauge(s.omitted, float64(snap.Self.MemcgsOmitted))
	e.counter(s.removed, float64(snap.Self.MemcgsRemoved), snap.Self.Since)
	e.counter(s.dropped, float64(dropped), snap.Self.Since)
	e.gauge(s.bpfMemory, float64(snap.Self.BPFMemoryBytes))
	for _, part := range slices.Sorted(maps.Keys(snap.Self.CPUSeconds)) {
		e.counter(s.cpus, snap.Self.CPUSeconds[part], snap.Self.Since, part)
	}
}
