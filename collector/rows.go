package collector

import (
	"slices"
	"strconv"
	"time"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/name"
)

// A row is all process series that share one set of process labels.
type row struct {
	memcg    *heat.MemcgSnapshot
	labels   []string // values, in the order of the descriptors
	resident uint64
	swapped  uint64
	idleAges []time.Duration
	areas    []heat.Area
	bands    []heat.Band // none of more than one process
	excluded []heat.Excluded
	shared   bool // areas and excluded are a snapshot's and must not be changed
}

// makeRows returns the rows of all memcgs that have had a window. Series that
// get the same labels, because a label is off, are merged: twice the same series
// would make Prometheus refuse the scrape.
func makeRows(memcgs []*heat.MemcgSnapshot, opts Options) []*row {
	var rows []*row
	for _, m := range memcgs {
		if m.WindowEnd.IsZero() {
			continue
		}
		index := make(map[[2]string]*row, len(m.Series))
		for j := range m.Series {
			s := &m.Series[j]
			labels := make([]string, 1, 6) // leaves room for node, type and one more
			labels[0] = name.Escape(m.Path)
			var key [2]string
			if opts.LabelPID {
				key[0] = pidLabel(s.PID)
				labels = append(labels, key[0])
			}
			if opts.LabelComm {
				key[1] = name.Escape(s.Comm)
				labels = append(labels, key[1])
			}
			if r := index[key]; r != nil {
				r.merge(s)
				continue
			}
			r := &row{memcg: m, labels: labels, swapped: s.SwappedBytes, idleAges: m.IdleAges, areas: s.Areas, bands: s.Bands, excluded: s.Excluded, shared: true}
			for k := range s.Areas {
				r.resident += s.Areas[k].Resident
			}
			index[key] = r
			rows = append(rows, r)
		}
	}
	return rows
}

// merge adds a series to a row.
func (r *row) merge(s *heat.Series) {
	if r.shared {
		r.areas, r.excluded, r.shared = slices.Clone(r.areas), slices.Clone(r.excluded), false
		for i := range r.areas {
			own(&r.areas[i])
		}
	}
	r.swapped += s.SwappedBytes
	r.bands = nil
	for _, x := range s.Excluded {
		r.excluded = heat.Exclude(r.excluded, x.Node, x.Type, x.Bytes)
	}
	for _, a := range s.Areas {
		r.resident += a.Resident
		i := slices.IndexFunc(r.areas, func(b heat.Area) bool { return b.Node == a.Node && b.Type == a.Type })
		if i < 0 {
			own(&a)
			r.areas = append(r.areas, a)
			continue
		}
		b := &r.areas[i]
		mergeIdle(b, &a)
		mergeNever(b, &a)
		b.Since = earlier(b.Since, a.Since)
		b.Hot += a.Hot
		b.Warm += a.Warm
		b.Cold += a.Cold
		b.Unobserved += a.Unobserved
		b.Resident += a.Resident
		b.Accesses = mergeHistograms(b.Accesses, a.Accesses)
	}
}

// own gives an area slices that may be changed.
func own(a *heat.Area) {
	a.Accesses.Counts = slices.Clone(a.Accesses.Counts)
	a.Accesses.Native = slices.Clone(a.Accesses.Native)
	a.Idle = slices.Clone(a.Idle)
	a.Reaccessed = slices.Clone(a.Reaccessed)
	a.Never = slices.Clone(a.Never)
}

// mergeHistograms adds b to a, whose counts it may change. Both come from one
// tracker and so have the same bounds; if one has none it saw nothing.
func mergeHistograms(a, b heat.Histogram) heat.Histogram {
	switch {
	case !slices.Equal(a.Bounds, b.Bounds) || len(a.Counts) != len(b.Counts) || len(a.Native) != len(b.Native):
		if b.Count() <= a.Count() {
			return a
		}
		b.Counts, b.Native = slices.Clone(b.Counts), slices.Clone(b.Native)
		return b
	default:
		for i, n := range b.Counts {
			a.Counts[i] += n
		}
		for i, n := range b.Native {
			a.Native[i] += n
		}
		a.Sum += b.Sum
		a.Since = earlier(a.Since, b.Since)
		return a
	}
}

// earlier returns the earlier of two times, of which zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// size is the number of series of a row.
func (r *row) size() uint64 {
	n := uint64(swappedSeries) + r.excludedSeries() + bandSeries*uint64(len(r.bands))
	for i := range r.areas {
		n += memorySeries + regionSeries(&r.areas[i].Accesses) + r.idleSeries(&r.areas[i]) + neverSeries(&r.areas[i])
	}
	return n
}

// pidLabel is the value of the label pid. That of merged processes, whose window
// is from before a reload turned the label on, is empty: as if there were none.
func pidLabel(pid int) string {
	switch pid {
	case heat.PIDOther:
		return "other"
	case heat.PIDOff:
		return ""
	}
	return strconv.Itoa(pid)
}

func nodeLabel(node int) string {
	if node < 0 {
		return "unknown"
	}
	return strconv.Itoa(node)
}

// uniqueMemcgs returns the memcgs of a snapshot, each path once: of two entries
// for one path, which a cgroup that is made anew may leave for a moment, the one
// with more passes.
func uniqueMemcgs(snap *heat.Snapshot) []*heat.MemcgSnapshot {
	out := make([]*heat.MemcgSnapshot, 0, len(snap.Memcgs))
	index := make(map[string]int, len(snap.Memcgs))
	for i := range snap.Memcgs {
		m := snap.Memcgs[i]
		j, twice := index[m.Path]
		switch {
		case !twice:
			index[m.Path] = len(out)
			out = append(out, m)
		case m.Passes.Passes > out[j].Passes.Passes:
			out[j] = m
		}
	}
	return out
}
