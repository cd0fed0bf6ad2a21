package recording

import (
	"slices"

	"mglru_exporter/internal/heat"
)

// A Numbering gives the regions of one process numbers that do not tell where
// they are. The number of a region never changes, adjacent regions have adjacent
// numbers, and, as long as there is room, numbers are in the order of addresses.
// All else about them is arbitrary.
type Numbering struct {
	known []numbered // by region
	// shuffled is set once a region found no room where it belongs; top is the
	// highest number.
	shuffled bool
	top      uint64
}

type numbered struct{ region, number uint64 }

const (
	// firstNumber is in the middle of where numbers can be.
	firstNumber = 1 << 40
	// island is how far apart regions get that have nothing between them yet,
	// and are not adjacent; between others it is stride, or what fits.
	island = 1 << 20
	stride = 1 << 10
)

// Number returns a region's number, and gives it one if it has none.
func (n *Numbering) Number(region uint64) uint64 {
	i, ok := n.search(region)
	if ok {
		return n.known[i].number
	}
	number, ok := n.between(i, region)
	if !ok {
		n.shuffled = true
		number = n.top + island
	}
	n.top = max(n.top, number)
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
		return firstNumber, true
	case n.shuffled:
		return 0, false
	case i == len(n.known):
		below := n.known[i-1]
		if below.region+1 == region {
			return below.number + 1, true
		}
		return below.number + island, true
	case i == 0:
		above := n.known[0]
		step := uint64(island)
		if region+1 == above.region {
			step = 1
		}
		return above.number - step, above.number > step
	}
	below, above := n.known[i-1], n.known[i]
	room := above.number - below.number
	step := min(stride, room/2)
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
	if n.shuffled {
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
