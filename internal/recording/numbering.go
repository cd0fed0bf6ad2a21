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

type numbered struct{ region, number uint64 }

const (
	// lowest to highest is where numbers are that are in order, from the middle.
	lowest, middle, highest = 1 << 41, 1 << 42, maxRegion
	// island is how far from the others a region gets that is above or below
	// all of them, and stride one that is between two, if that fits.
	island = 1 << 26
	stride = 1 << 10
	// scarce is into how many steps at least what room is left is divided.
	scarce = 64
)

// Number returns a region's number, and gives it one if it has none.
func (n *Numbering) Number(region uint64) uint64 {
	i, ok := n.search(region)
	if ok {
		return n.known[i].number
	}
	number, ok := n.between(i, region)
	if !ok {
		number = n.spare
		n.spare++
	}
	n.known = slices.Insert(n.known, i, numbered{region, number})
	return number
}

func (n *Numbering) search(region uint64) (int, bool) {
	return slices.BinarySearchFunc(n.known, region, func(k numbered, r uint64) int {
		switch {
		case k.region < r:
			return -1
		case k.region > r:
			return 1
		}
		return 0
	})
}

// between returns a free number for a region that belongs at index i.
func (n *Numbering) between(i int, region uint64) (uint64, bool) {
	switch {
	case len(n.known) == 0:
		return middle, true
	case n.spare > 0: // the neighbours may be anywhere
		return 0, false
	case i == len(n.known):
		below := n.known[i-1]
		if below.region+1 == region {
			return below.number + 1, below.number+1 < highest
		}
		step := min(island, (highest-below.number)/scarce)
		return below.number + step, step > 0
	case i == 0:
		above := n.known[0]
		if region+1 == above.region {
			return above.number - 1, above.number > lowest
		}
		step := min(island, (above.number-lowest)/scarce)
		return above.number - step, step > 0
	}
	below, above := n.known[i-1], n.known[i]
	room := above.number - below.number
	step := max(1, min(stride, room/scarce))
	switch {
	case room < 2:
		return 0, false
	case below.region+1 == region:
		return below.number + 1, true
	case region+1 == above.region:
		return above.number - 1, true
	case region-below.region <= above.region-region:
		return below.number + step, true
	default:
		return above.number - step, true
	}
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
	if n.spare > 0 {
		lo, hi := n.known[i].number, n.known[i].number
		for _, k := range n.known[i : j+1] {
			lo, hi = min(lo, k.number), max(hi, k.number)
		}
		return lo * heat.RegionSize, (hi + 1) * heat.RegionSize
	}
	from, to := n.known[i].number*heat.RegionSize, (n.known[j].number+1)*heat.RegionSize
	if n.known[i].region == first {
		from += start % heat.RegionSize
	}
	if n.known[j].region == last {
		to -= heat.RegionSize - 1 - (end-1)%heat.RegionSize
	}
	return from, to
}
