package heatmap

import (
	"cmp"
	"encoding/binary"
	"iter"
	"slices"

	"mglru_exporter/internal/heat"
)

// A run is regions without a hole, from first to last.
type run struct{ first, last uint64 }

// appendRuns appends the numbers of regions, which ascend, as runs: how far each
// is from the last one's end, and how long it is.
func appendRuns(dst []byte, regions []heat.RegionHeat) []byte {
	next := uint64(0)
	for i := 0; i < len(regions); {
		n := 1
		for i+n < len(regions) && regions[i+n].Region == regions[i].Region+uint64(n) {
			n++
		}
		dst = binary.AppendUvarint(dst, regions[i].Region-next)
		dst = binary.AppendUvarint(dst, uint64(n))
		next = regions[i].Region + uint64(n)
		i += n
	}
	return dst
}

// runs reads what appendRuns has written.
func runs(b []byte) iter.Seq[run] {
	return func(yield func(run) bool) {
		next := uint64(0)
		for left := b; len(left) > 0; {
			gap, n := binary.Uvarint(left)
			left = left[n:]
			length, n := binary.Uvarint(left)
			left = left[n:]
			first := next + gap
			next = first + length
			if !yield(run{first, next - 1}) {
				return
			}
		}
	}
}

// A stretch is a run whose first region has a position.
type stretch struct {
	run
	position int
}

// union gives a position to each region that any of the windows has.
func union(windows []*window) (out []stretch, positions int) {
	const few = 4096
	var all []run
	limit := few
	for i, w := range windows {
		if i > 0 && sameSlice(w.regions, windows[i-1].regions) {
			continue
		}
		for r := range runs(w.regions) {
			all = append(all, r)
		}
		if len(all) > limit { // do not let them pile up
			all = merge(all)
			limit = max(few, 2*len(all))
		}
	}
	for _, r := range merge(all) {
		out = append(out, stretch{r, positions})
		positions += int(r.last - r.first + 1)
	}
	return out, positions
}

// merge sorts runs and joins those that overlap or touch.
func merge(runs []run) []run {
	slices.SortFunc(runs, func(a, b run) int { return cmp.Compare(a.first, b.first) })
	out := runs[:0]
	for _, r := range runs {
		if n := len(out); n > 0 && r.first <= out[n-1].last+1 {
			out[n-1].last = max(out[n-1].last, r.last)
			continue
		}
		out = append(out, r)
	}
	return out
}

func sameSlice[T any](a, b []T) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}
