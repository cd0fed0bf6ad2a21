package collector

import (
	"mglru_exporter/internal/heat"
)

// The numbers of series that memory emits: for each area, and for each process.
const (
	memorySeries  = 5
	swappedSeries = 1
)

// memory is how much of a process's memory is in which state.
type memory struct {
	hot, warm, cold, unobserved, resident, swapped *family
}

// shared is what every reader of per-process bytes has to know.
const shared = " Shared pages count in every process that maps them, so processes must not be summed to a total of the memcg."

func newMemory(process, area []string) memory {
	return memory{
		hot: desc("hot_bytes",
			"Resident bytes whose pages were accessed through a mapping in at least hot_fraction of the passes of the last window."+shared, area...),
		warm: desc("warm_bytes",
			"Resident bytes whose pages were accessed through a mapping in some passes of the last window, but in fewer than make them hot."+shared, area...),
		cold: desc("cold_bytes",
			"Resident bytes whose pages were watched in every pass of the last window and accessed through a mapping in none; read() and write() do not count as accesses."+shared, area...),
		unobserved: desc("unobserved_bytes",
			"Resident bytes of which the last window cannot say whether they were accessed: not walked, missed, locked, huge pages of hugetlb, or not yet watched for a whole window. They may be hot."+shared, area...),
		resident: desc("resident_bytes",
			"Bytes of the process, or of its mappings that the config names in regions, that were in memory at the end of the last window: hot + warm + cold + unobserved. Includes hugetlb, which the kernel's RSS leaves out."+shared, area...),
		swapped: desc("swapped_bytes",
			"Bytes of the process, in all its mappings, that had an entry in swap at the end of the last window. They are in no node, and not resident."+shared, process...),
	}
}

func (m memory) descs() []*family {
	return []*family{m.hot, m.warm, m.cold, m.unobserved, m.resident, m.swapped}
}

func (m memory) emit(e *emitter, r *row) {
	for i := range r.areas {
		a := &r.areas[i]
		labels := r.areaLabels(a)
		e.gauge(m.hot, float64(a.Hot), labels...)
		e.gauge(m.warm, float64(a.Warm), labels...)
		e.gauge(m.cold, float64(a.Cold), labels...)
		e.gauge(m.unobserved, float64(a.Unobserved), labels...)
		e.gauge(m.resident, float64(a.Resident), labels...)
	}
	e.gauge(m.swapped, float64(r.swapped), r.labels...)
}

// areaLabels returns the label values of one area. They are overwritten by the
// next call.
func (r *row) areaLabels(a *heat.Area) []string {
	return append(r.labels, nodeLabel(a.Node), a.Type.String())
}
