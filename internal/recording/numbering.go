package recording

import (
	"slices"

	"mglru_exporter/internal/heat"
)

// A Numbering gives the regions of one process numbers that do not tell where
// they are. The number of a region never changes and, as long as there is room,
// numbers are in the order of addresses. Adjacent regions have adjacent numbers,
// unless both were there before what joined them. All else is arbitrary.
type Numbering struct {
	known []numbered // by region
	// spare is how many regions found no room where they belong. They have the
	// lowest numbers.
	spare uint64
}

// numbered is regions in a row, first to last, whose numbers begin with number.
type numbered struct{ first, last, number uint64 }

func (k *numbered) of(region uint64) uint64 { return k.number + region - k.first }

// top is the last one's number.
func (k *numbered) top() uint64 { return k.of(k.last) }

const (
	// lowest to highest is where numbers are that are in order, from the middle.
	lowest, middle, highest = 1 << 41, 1 << 42, maxRegion
	// island is how far from the others a region gets that is above or below
	// all of them, and stride one that is between two, if that fits.
	island = 1 << 28
	stride = 1 << 13
	// scarce is into how many steps at least what room is left is divided.
	scarce = 64
)

// Number returns a region's number, and gives it one if it has none.
func (n *Numbering) Number(region uint64) uint64 {
	n.cover(region, region)
	i, _ := n.search(region)
	return n.known[i].of(region)
}

// Cover gives numbers to all regions of [start, end): what has none yet gets
// numbers in a row.
func (n *Numbering) Cover(start, end uint64) {
	if start < end {
		n.cover(start/heat.RegionSize, (end-1)/heat.RegionSize)
	}
}

func (n *Numbering) cover(first, last uint64) {
	for first <= last {
		i, has := n.search(first)
		to := last
		if has {
			to = n.known[i].last
		} else {
			if i < len(n.known) && n.known[i].first <= last {
				to = n.known[i].first - 1
			}
			n.insert(i, first, to)
		}
		first = to + 1
	}
}

// search returns the index of the row that a region is in, or of the first one
// above it.
func (n *Numbering) search(region uint64) (int, bool) {
	return slices.BinarySearchFunc(n.known, region, func(k numbered, r uint64) int {
		switch {
		case k.last < r:
			return -1
		case k.first > r:
			return 1
		}
		return 0
	})
}

// insert numbers regions that belong at index i.
func (n *Numbering) insert(i int, first, last uint64) {
	number, ok := n.between(i, first, last)
	if !ok {
		number = n.spare
		n.spare += last - first + 1
	}
	row := numbered{first, last, number}
	from, to := i, i
	if i > 0 && n.known[i-1].joins(&row) {
		row.first, row.number = n.known[i-1].first, n.known[i-1].number
		from--
	}
	if i < len(n.known) && row.joins(&n.known[i]) {
		row.last = n.known[i].last
		to++
	}
	n.known = slices.Replace(n.known, from, to, row)
}

// joins tells whether above goes on where k ends, in regions and numbers.
func (k *numbered) joins(above *numbered) bool {
	return k.last+1 == above.first && k.top()+1 == above.number
}

// between returns the first of free numbers in a row for regions that belong at
// index i.
func (n *Numbering) between(i int, first, last uint64) (uint64, bool) {
	more := last - first // regions after the first
	switch {
	case len(n.known) == 0:
		return middle, more < highest-middle
	case n.spare > 0: // the neighbours may be anywhere
		return 0, false
	case i == len(n.known):
		below := &n.known[i-1]
		step := uint64(1)
		if below.last+1 < first {
			step = min(island, (highest-below.top())/scarce)
		}
		return below.top() + step, step > 0 && step+more < highest-below.top()
	case i == 0:
		above := &n.known[0]
		step := uint64(1)
		if last+1 < above.first {
			step = min(island, (above.number-lowest)/scarce)
		}
		return above.number - step - more, step > 0 && step+more <= above.number-lowest
	}
	below, above := &n.known[i-1], &n.known[i]
	room := above.number - below.top()
	if room < more+2 {
		return 0, false
	}
	step := max(1, min(stride, (room-more-1)/scarce))
	switch {
	case below.last+1 == first:
		return below.top() + 1, true
	case last+1 == above.first:
		return above.number - 1 - more, true
	case first-below.last <= above.first-last:
		return below.top() + step, true
	default:
		return above.number - step - more, true
	}
}

// A Piece is addresses that stand for a part of a range.
type Piece struct {
	// Start and End bound the addresses.
	Start, End uint64
	// Skipped is how far into the range the part begins, in bytes.
	Skipped uint64
}

// Pieces returns the addresses that stand for [start, end), all of which Cover has
// numbered, in as few pieces as there are rows of numbers in it.
func (n *Numbering) Pieces(start, end uint64) []Piece {
	var pieces []Piece
	for at := start; at < end; {
		i, ok := n.search(at / heat.RegionSize)
		if !ok {
			return pieces
		}
		k := &n.known[i]
		to := min(end, (k.last+1)*heat.RegionSize)
		from := k.of(at/heat.RegionSize)*heat.RegionSize + at%heat.RegionSize
		pieces = append(pieces, Piece{Start: from, End: from + (to - at), Skipped: at - start})
		at = to
	}
	return pieces
}

// Span returns the addresses that stand for [start, end): a span over the same
// ones of the regions that have numbers. It is empty if there are none. Where
// numbers are not in order it may cover more.
func (n *Numbering) Span(start, end uint64) (uint64, uint64) {
	if start >= end {
		return 0, 0
	}
	first, last := start/heat.RegionSize, (end-1)/heat.RegionSize
	i, _ := n.search(first)
	j, found := n.search(last)
	if !found {
		j--
	}
	if i > j {
		return 0, 0
	}
	rows := n.known[i : j+1]
	if n.spare > 0 {
		lo, hi := uint64(highest), uint64(0)
		for k := range rows {
			row := &rows[k]
			lo, hi = min(lo, row.of(max(first, row.first))), max(hi, row.of(min(last, row.last)))
		}
		return lo * heat.RegionSize, (hi + 1) * heat.RegionSize
	}
	from, to := rows[0].number*heat.RegionSize, (rows[len(rows)-1].top()+1)*heat.RegionSize
	if k := &rows[0]; k.first <= first {
		from = k.of(first)*heat.RegionSize + start%heat.RegionSize
	}
	if k := &rows[len(rows)-1]; last <= k.last {
		to = k.of(last)*heat.RegionSize + (end-1)%heat.RegionSize + 1
	}
	return from, to
}
