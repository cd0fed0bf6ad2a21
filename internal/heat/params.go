package heat

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// MaxPassesPerWindow is how many passes the bit-sliced frequency planes of a
// slab can count.
const MaxPassesPerWindow = 1<<planes - 1

// maxNodes is how many nodes the tracker can tell apart; pages on others are
// unobserved.
const maxNodes = 64

// Params say how a Tracker classifies and what it reports.
type Params struct {
	// PassesPerWindow is 1 to MaxPassesPerWindow.
	PassesPerWindow int
	// HotFraction, in (0, 1], is the share of a window's passes in which a
	// page must be young to be hot.
	HotFraction float64
	// RegionBuckets are the upper bounds of the histogram of accesses per
	// region, ascending.
	RegionBuckets []uint64
	// Top is how many processes get series of their own; the others are
	// merged. 0 means all.
	Top int
	// MinResident is how many resident bytes a process needs for series of its
	// own; smaller ones are merged with those beyond Top.
	MinResident uint64
	// LabelPID and LabelComm say by what series are told apart.
	LabelPID, LabelComm bool
	// IdleAges are for how long pages must have been idle to count in
	// Area.Idle and Area.Reaccessed: ascending, above 0, up to MaxIdleAges of
	// them. What is longer than maxAge passes took is never reached.
	IdleAges []time.Duration
	// Average is the time constant of Area.HeatRatio; 0 makes it that of the
	// last window.
	Average time.Duration
	// MaxRegions bounds the regions that are watched, the biggest processes
	// first; what is beyond is unobserved. 0 means no bound.
	MaxRegions int
	// AddressBands is how many Series.Bands there are to be; 0 means none.
	AddressBands int
	// NeverWindows is for how many windows a page must have been watched, and
	// not found young in any of them nor missed, to count in Area.Never: as many
	// as have MaxIdlePasses passes at most. NeverTop is how many mappings of a
	// series are named there, those with most bytes; the others are merged.
	// There is no Area.Never if either is 0, or for processes of which residency
	// does not tell the mappings.
	NeverWindows, NeverTop int
}

// SetParams changes the parameters between two windows.
func (t *Tracker) SetParams(p Params) error {
	if p.PassesPerWindow < 1 || p.PassesPerWindow > MaxPassesPerWindow {
		return fmt.Errorf("passes per window: %d is not in 1..%d", p.PassesPerWindow, MaxPassesPerWindow)
	}
	if !(p.HotFraction > 0 && p.HotFraction <= 1) {
		return fmt.Errorf("hot fraction: %v is not in (0, 1]", p.HotFraction)
	}
	if p.AddressBands < 0 {
		return fmt.Errorf("address bands: %d is below 0", p.AddressBands)
	}
	if p.NeverTop < 0 {
		return fmt.Errorf("never accessed: the top %d mappings are fewer than 0", p.NeverTop)
	}
	if most := MaxIdlePasses / p.PassesPerWindow; p.NeverWindows < 0 || p.NeverWindows > most {
		return fmt.Errorf("never accessed: %d windows of %d passes are not in 0..%d", p.NeverWindows, p.PassesPerWindow, most)
	}
	if len(p.IdleAges) > MaxIdleAges {
		return fmt.Errorf("idle ages: %d are more than %d", len(p.IdleAges), MaxIdleAges)
	}
	for i, d := range p.IdleAges {
		if d <= 0 || i > 0 && d <= p.IdleAges[i-1] {
			return fmt.Errorf("idle ages: %v at %d is not above 0 and the one before", d, i)
		}
	}
	for _, c := range t.merged {
		c.change(&t.params, &p)
	}
	for _, q := range t.procs {
		q.own.change(&t.params, &p)
	}
	t.params = p
	t.params.RegionBuckets = slices.Clone(p.RegionBuckets)
	t.params.IdleAges = slices.Clone(p.IdleAges)
	// The tolerance keeps 0.1 × 10 passes from needing 2 of them.
	t.need = max(1, int(math.Ceil(p.HotFraction*float64(p.PassesPerWindow)-1e-9)))
	return nil
}
