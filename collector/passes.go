package collector

import (
	"maps"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/name"
)

// passes is what the exporter did to each memcg, and what it missed.
type passes struct {
	passes, duration, failures, delay *family
	records, lost, skips, resets      *family
	processes, regions, untracked     *family
	window, number                    *family
}

func newPasses() passes {
	return passes{
		passes: desc("passes_total",
			"Aging passes that ran over the memcg, failed ones included.", "memcg"),
		duration: desc("pass_duration_seconds",
			"Time that aging passes over the memcg took, from start to end, on all nodes together.", "memcg"),
		failures: desc("pass_failures_total",
			"Failures in aging passes over the memcg, by reason. What a failed pass did not see is unobserved, not cold.", "memcg", "reason"),
		delay: desc("pass_delay_seconds_total",
			"Seconds that passes over the memcg began late, for want of CPU budget or because another memcg's pass was running. A steady rise means that passes come less often than the config asks.", "memcg"),
		records: desc("records_total",
			"Harvest records taken in from the kernel side. One record tells of one 2 MiB region.", "memcg"),
		lost: desc("records_lost_total",
			"Harvest records that a pass over the memcg found to be lost, of this or any other memcg: the ring buffer was full, the kernel left out a call of our programs, or they made no sense. What they told of is unobserved, not cold.", "memcg"),
		skips: desc("skipped_walks_total",
			"Times that the kernel's walk passed over memory of the memcg without looking at it, by reason. That memory is unobserved, not cold.", "memcg", "reason"),
		resets: desc("process_resets_total",
			"Processes whose history was dropped, by reason: they exited, ran another program, their pid was reused, or they moved out of the memcg.", "memcg", "reason"),
		processes: desc("tracked_processes",
			"Processes of the memcg that are watched.", "memcg"),
		regions: desc("tracked_regions",
			"2 MiB regions of the memcg's processes that are tracked page by page. Each takes about 1,000 bytes of the exporter's memory.", "memcg"),
		untracked: desc("untracked_regions",
			"2 MiB regions of the memcg's processes that are unobserved because limits.max_tracked_bytes leaves no room to track them: raise it, or watch fewer processes.", "memcg"),
		window: desc("last_window_timestamp_seconds",
			"Unix time at which the memcg's last window ended. All bytes by heat are of that moment; absent before the first window.", "memcg"),
		number: desc("window_passes",
			"Passes in the memcg's last window. The first window has only one, which proves nothing about cold memory; with the source referenced each has one.", "memcg"),
	}
}

func (p passes) descs() []*family {
	return []*family{
		p.passes, p.duration, p.failures, p.delay, p.records, p.lost,
		p.skips, p.resets, p.processes, p.regions, p.untracked, p.window, p.number,
	}
}

// emitFailures emits how often something failed in a memcg without processes, if it did.
func (p passes) emitFailures(e *emitter, m *heat.MemcgSnapshot) {
	s, path := &m.Passes, name.Escape(m.Path)
	failed := maps.Clone(s.Failures)
	maps.DeleteFunc(failed, func(_ string, n uint64) bool { return n == 0 })
	if len(failed) > 0 {
		e.counter(p.passes, float64(s.Passes), s.Since, path)
		e.byReason(p.failures, failed, path)
	}
	if s.Lost > 0 {
		e.counter(p.lost, float64(s.Lost), s.Since, path)
	}
}

func (p passes) emit(e *emitter, m *heat.MemcgSnapshot) {
	s, path := &m.Passes, name.Escape(m.Path)
	e.counter(p.passes, float64(s.Passes), s.Since, path)
	e.histogram(p.duration, s.DurationBounds, s.DurationCounts, s.DurationSum, s.Since, path)
	e.byReason(p.failures, s.Failures, path)
	e.counter(p.delay, s.Delay, s.Since, path)
	e.counter(p.records, float64(s.Records), s.Since, path)
	e.counter(p.lost, float64(s.Lost), s.Since, path)
	e.byReason(p.skips, s.Skips, path)
	e.byReason(p.resets, s.Resets, path)
	e.gauge(p.processes, float64(m.TrackedProcesses), path)
	e.gauge(p.regions, float64(m.TrackedRegions), path)
	e.gauge(p.untracked, float64(m.UntrackedRegions), path)
	if !m.WindowEnd.IsZero() {
		e.gauge(p.window, float64(m.WindowEnd.UnixMilli())/1e3, path)
		e.gauge(p.number, float64(m.WindowPasses), path)
	}
}
