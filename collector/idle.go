package collector

import (
	"slices"
	"strconv"
	"time"

	"mglru_exporter/internal/heat"
)

// idle is for how long a process's memory has been idle, what of it was accessed
// again, and how hot it has been over time.
type idle struct {
	bytes, reaccessed, heat *family
}

func newIdle(area []string) idle {
	aged := slices.Concat(area, []string{"min_idle_seconds"})
	return idle{
		bytes: desc("idle_bytes",
			"Resident bytes that were seen not to be accessed through a mapping for at least min_idle_seconds, up to the beginning of the last pass. Each age contains all longer ones, so ages must not be summed. Counted from the end of the pass that last found a page accessed, missed it, or first saw it; so it is short by up to a pass interval, begins at 0 with the exporter, and takes one interval more than the age to show. Absent where the source sees whole mappings only, and for ages longer than 254 pass intervals."+shared, aged...),
		reaccessed: desc("reaccessed_bytes_total",
			"Bytes of pages accessed through a mapping after they had been idle for at least min_idle_seconds: what would have had to come back, had memory of that age been taken away. Each age contains all longer ones, so ages must not be summed. Counts at the end of the window, once for each access after such a time; leaves out pages that are gone by then, and the first access after a pass that missed the page."+shared, aged...),
		heat: desc("heat_ratio",
			"Moving average, 0 to 1, of the share of pages that a pass found accessed through a mapping: x = accesses / (passes * pages that were hot, warm or cold) of each window, and r += (x - r) * (1 - exp(-t / heat.average)), t after the window before; the first r is x. Says nothing about unobserved memory; absent while all is. An average of ratios over processes has to be weighed by their bytes.", area...),
	}
}

func (d idle) descs() []*family { return []*family{d.bytes, d.reaccessed, d.heat} }

func (d idle) emit(e *emitter, r *row) {
	for i := range r.areas {
		a := &r.areas[i]
		labels := r.areaLabels(a)
		for k, age := range r.ages(a) {
			aged := slices.Concat(labels, []string{ageLabel(age)})
			e.gauge(d.bytes, float64(a.Idle[k]), aged...)
			e.counter(d.reaccessed, float64(a.Reaccessed[k]), a.Since, aged...)
		}
		if a.HeatKnown {
			e.gauge(d.heat, a.HeatRatio, labels...)
		}
	}
}

// idleSeries is the number of series that emit makes of an area: of each age the
// bytes, the counter and its start.
func (r *row) idleSeries(a *heat.Area) uint64 {
	n := 3 * uint64(len(r.ages(a)))
	if a.HeatKnown {
		n++
	}
	return n
}

// ages are the idle ages of an area: the memcg's, or none where the source does
// not see pages.
func (r *row) ages(a *heat.Area) []time.Duration {
	if len(a.Idle) != len(r.idleAges) || len(a.Reaccessed) != len(r.idleAges) {
		return nil
	}
	return r.idleAges
}

// ageLabel writes an age in seconds.
func ageLabel(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) }

// mergeIdle adds b's idle bytes and counters to a's, and weighs their heat by
// what it was measured on. The slices of a are changed.
func mergeIdle(a, b *heat.Area) {
	if len(a.Idle) == len(b.Idle) && len(a.Reaccessed) == len(b.Reaccessed) {
		for i, n := range b.Idle {
			a.Idle[i] += n
		}
		for i, n := range b.Reaccessed {
			a.Reaccessed[i] += n
		}
	}
	switch {
	case !b.HeatKnown:
	case !a.HeatKnown:
		a.HeatRatio, a.HeatKnown = b.HeatRatio, true
	default:
		// What is judged is at least a page each.
		x, y := float64(a.Hot+a.Warm+a.Cold), float64(b.Hot+b.Warm+b.Cold)
		if x+y > 0 {
			a.HeatRatio = (a.HeatRatio*x + b.HeatRatio*y) / (x + y)
		}
	}
}
