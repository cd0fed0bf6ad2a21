package collector

import (
	"slices"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/name"
)

// never is the memory that nobody has ever been seen to access.
type never struct {
	bytes *family
}

func newNever(area []string) never {
	return never{
		bytes: desc("mapping_never_accessed_bytes",
			"Resident bytes that no pass has found accessed through a mapping since they came under watch, which was at least heat.never_accessed.windows windows ago, none of which missed them; by the name of the mapping that they are in, as in /proc/PID/maps, with [anon] for memory without a name. The mappings with the most such bytes of each process are named, the rest is mapping=\"other\". Pages that were accessed before the exporter began to watch, or by read() and write(), count too. Absent where there is none, and where the source sees whole mappings only."+shared, slices.Concat(area, []string{"mapping"})...),
	}
}

func (n never) descs() []*family { return []*family{n.bytes} }

func (n never) emit(e *emitter, r *row) {
	for i := range r.areas {
		a := &r.areas[i]
		for _, m := range a.Never {
			e.gauge(n.bytes, float64(m.Bytes), append(r.areaLabels(a), name.Escape(m.Mapping))...)
		}
	}
}

// neverSeries is the number of series that emit makes of an area.
func neverSeries(a *heat.Area) uint64 { return uint64(len(a.Never)) }

// mergeNever adds b's bytes to a's, name by name. The slice of a is changed.
func mergeNever(a, b *heat.Area) {
	for _, m := range b.Never {
		if i := slices.IndexFunc(a.Never, func(n heat.MappingBytes) bool { return n.Mapping == m.Mapping }); i >= 0 {
			a.Never[i].Bytes += m.Bytes
		} else {
			a.Never = append(a.Never, m)
		}
	}
}
