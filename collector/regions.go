package collector

import (
	"github.com/prometheus/client_golang/prometheus"

	"mglru_exporter/internal/heat"
)

// regions is how often the regions of a process are accessed.
type regions struct {
	accesses *prometheus.Desc
}

func newRegions(area []string) regions {
	return regions{
		accesses: desc("region_accesses",
			"Accesses of each 2 MiB region in each window: how many pages were found accessed through a mapping, added up over the window's passes, so 0 is an untouched region and 512 times the passes one that is touched all over all the time. Regions are observed once a window; a rate over less than a window is 0. Absent where the source sees whole mappings only.", area...),
	}
}

func (g regions) descs() []*prometheus.Desc { return []*prometheus.Desc{g.accesses} }

func (g regions) emit(e *emitter, r *row) {
	var bounds []float64
	for i := range r.areas {
		a := &r.areas[i]
		h := &a.Accesses
		if len(h.Counts) == 0 { // the source sees no regions
			continue
		}
		bounds = bounds[:0]
		for _, b := range h.Bounds {
			bounds = append(bounds, float64(b))
		}
		e.histogram(g.accesses, bounds, h.Counts, float64(h.Sum), r.areaLabels(a)...)
	}
}

// regionSeries is the number of series of a histogram: its buckets, the one
// above all bounds, its sum and its count; 0 where there is none.
func regionSeries(h *heat.Histogram) uint64 {
	if len(h.Counts) == 0 {
		return 0
	}
	return uint64(len(h.Bounds)) + 3
}
