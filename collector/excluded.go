package collector

import (
	"mglru_exporter/internal/heat"
)

// excluded is what the config's regions leave out of all else.
type excluded struct {
	bytes *family
}

func newExcluded(area []string) excluded {
	return excluded{
		bytes: desc("excluded_bytes",
			"Resident bytes that no other metric of the process counts, because they are in none of the mappings that the config names in the memcg's regions. Absent where there are none."+shared, area...),
	}
}

func (x excluded) descs() []*family { return []*family{x.bytes} }

func (x excluded) emit(e *emitter, r *row) {
	for i := range r.excluded {
		b := &r.excluded[i]
		e.gauge(x.bytes, float64(b.Bytes), r.areaLabels(&heat.Area{Node: b.Node, Type: b.Type})...)
	}
}

// excludedSeries is the number of series that emit makes.
func (r *row) excludedSeries() uint64 { return uint64(len(r.excluded)) }
