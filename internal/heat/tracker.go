package heat

import (
	"fmt"
	"math"
	"slices"
)

// MaxPassesPerWindow is how many passes the bit-sliced frequency planes of a
// slab can count.
const MaxPassesPerWindow = 1<<planes - 1

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
	// MaxRegions bounds the regions that are watched, the biggest processes
	// first; what is beyond is unobserved. 0 means no bound.
	MaxRegions int
}

// A Tracker holds what is known of the processes of one memcg. It is not safe
// for concurrent use.
//
// A pass is Begin, then any number of Fold, Skip, Walked and Lose in any order,
// then EndPass. Residency for the end of a window is read before the window's
// last pass begins to walk: then a page that became resident, or moved in,
// after the last pass cannot be in it, and one that did so earlier was found
// young or is not watched yet. Fold is also right between passes: what others
// harvest belongs to the pass under way or, between two, to the next.
type Tracker struct {
	params Params
	need   int
	pass   uint32
	failed bool
	procs  map[int]*process
	last   *process
	hist   map[seriesKey]*Histogram

	spareRegions []uint64
	spareSlabs   []slab
}

type process struct {
	Process
	regions []uint64
	slabs   []slab
	cursor  int
	// walked has a bit for each node whose walk took this process up.
	walked uint64
	// fresh is set until the process has been through a whole pass.
	fresh bool
	// missed is set when this window has missed a whole pass of the process.
	missed bool
}

// NewTracker returns a Tracker that knows no process.
func NewTracker(p Params) (*Tracker, error) {
	t := &Tracker{procs: map[int]*process{}, hist: map[seriesKey]*Histogram{}, pass: 1}
	return t, t.SetParams(p)
}

// SetParams changes the parameters between two windows.
func (t *Tracker) SetParams(p Params) error {
	if p.PassesPerWindow < 1 || p.PassesPerWindow > MaxPassesPerWindow {
		return fmt.Errorf("passes per window: %d is not in 1..%d", p.PassesPerWindow, MaxPassesPerWindow)
	}
	if !(p.HotFraction > 0 && p.HotFraction <= 1) {
		return fmt.Errorf("hot fraction: %v is not in (0, 1]", p.HotFraction)
	}
	if !slices.Equal(p.RegionBuckets, t.params.RegionBuckets) {
		clear(t.hist)
	}
	t.params = p
	t.params.RegionBuckets = slices.Clone(p.RegionBuckets)
	// The tolerance keeps 0.1 × 10 passes from needing 2 of them.
	t.need = max(1, int(math.Ceil(p.HotFraction*float64(p.PassesPerWindow)-1e-9)))
	return nil
}

// A Reset says that the history of a process was dropped.
type Reset string

// Reasons for a Reset.
const (
	ResetExit   Reset = "exit"   // the process is gone
	ResetReused Reset = "reused" // its pid is another process's now
	ResetExec   Reset = "exec"   // it runs another program image
	ResetMoved  Reset = "moved"  // it left the memcg, or is no longer selected
)

// Begin starts a pass over the given processes. Those that the tracker knows
// and the list lacks are forgotten; gone tells whether they have exited, or
// only left. It returns how many histories were dropped and why.
func (t *Tracker) Begin(procs []Process, gone func(ProcessID) bool) map[Reset]int {
	resets := map[Reset]int{}
	listed := make(map[int]bool, len(procs))
	for _, info := range procs {
		listed[info.TGID] = true
		p := t.procs[info.TGID]
		if p != nil && p.ProcessID != info.ProcessID {
			resets[t.changed(p, info.ProcessID)]++
			p = nil
		}
		if p == nil {
			p = &process{Process: info, fresh: true}
			t.procs[info.TGID] = p
		}
		if p.Comm != info.Comm {
			t.forgetSeries(p.TGID)
			p.Comm = info.Comm
		}
		p.walked = 0
	}
	for tgid, p := range t.procs {
		if listed[tgid] {
			continue
		}
		if gone(p.ProcessID) {
			resets[ResetExit]++
		} else {
			resets[ResetMoved]++
		}
		t.drop(p)
	}
	return resets
}

// changed drops a process whose identity is no longer p's, and says why.
func (t *Tracker) changed(p *process, now ProcessID) Reset {
	t.drop(p)
	if p.Start != now.Start {
		return ResetReused
	}
	return ResetExec
}

// Forget drops a process that another tracker has taken over.
func (t *Tracker) Forget(tgid int) {
	if p := t.procs[tgid]; p != nil {
		t.drop(p)
	}
}

func (t *Tracker) drop(p *process) {
	delete(t.procs, p.TGID)
	t.forgetSeries(p.TGID)
	t.last = nil
}

// Tracks tells whether the tracker knows a process with this tgid.
func (t *Tracker) Tracks(tgid int) bool { return t.process(tgid) != nil }

// Processes calls f for each known process, in no order.
func (t *Tracker) Processes(f func(Process)) {
	for _, p := range t.procs {
		f(p.Process)
	}
}

// Verify compares the identity of a process after a pass with the one before
// it. Where they differ, whatever the pass harvested belongs to nobody known:
// the process is dropped. It returns why, or "".
func (t *Tracker) Verify(tgid int, now ProcessID, exists bool) Reset {
	p := t.procs[tgid]
	switch {
	case p == nil:
		return ""
	case !exists:
		t.drop(p)
		return ResetExit
	case p.ProcessID != now:
		return t.changed(p, now)
	}
	return ""
}

// process finds a process; records come in runs of one process.
func (t *Tracker) process(tgid int) *process {
	if t.last == nil || t.last.TGID != tgid {
		t.last = t.procs[tgid]
	}
	return t.last
}

// Fold takes in pages of a region that were found young. Pages that the tracker
// does not watch make no difference. It reports whether the process is known.
func (t *Tracker) Fold(tgid int, region uint64, young *Bitmap) bool {
	p := t.process(tgid)
	if p == nil {
		return false
	}
	if i := p.find(region); i >= 0 {
		p.slabs[i].fold(t.pass, young)
	}
	return true
}

// find returns the index of a region's slab, or -1. Walks go up the address
// space, so the slab after the last one found is tried before searching.
func (p *process) find(region uint64) int {
	i := p.cursor
	if i < len(p.regions) && p.regions[i] == region {
		return i
	}
	if i++; i < len(p.regions) && p.regions[i] == region {
		p.cursor = i
		return i
	}
	i, found := slices.BinarySearch(p.regions, region)
	if !found {
		return -1
	}
	p.cursor = i
	return i
}

// Skip notes that the walk could not look at [start, end) of a process: no page
// there can be cold in this window.
func (t *Tracker) Skip(tgid int, start, end uint64) {
	p := t.process(tgid)
	if p == nil || start >= end {
		return
	}
	first := start / RegionSize
	last := (end - 1) / RegionSize
	i, _ := slices.BinarySearch(p.regions, first)
	for ; i < len(p.regions) && p.regions[i] <= last; i++ {
		from, to := 0, PagesPerRegion
		if r := p.regions[i]; r == first {
			from = int(start % RegionSize / PageSize)
		}
		if r := p.regions[i]; r == last {
			to = int((end-1)%RegionSize/PageSize) + 1
		}
		p.slabs[i].missed.SetRange(from, to)
	}
}

// Walked notes that the pass's walk on a node took a process up. Without this
// word for each node a process counts as missed.
func (t *Tracker) Walked(tgid, node int) {
	if p := t.process(tgid); p != nil && node >= 0 && node < 64 {
		p.walked |= 1 << node
	}
}

// Lose notes that records of a process were lost.
func (t *Tracker) Lose(tgid int) {
	if p := t.process(tgid); p != nil {
		p.missed = true
	}
}

// LoseAll notes that records were lost and nobody knows whose.
func (t *Tracker) LoseAll() { t.failed = true }

// EndPass ends a pass that aged the nodes of the mask. It returns how many
// watched processes no walk took up on one of these nodes. A failed pass
// counts, and everything that it did not find young is missed.
func (t *Tracker) EndPass(nodes uint64, failed bool) (unwalked int) {
	failed = failed || t.failed
	for _, p := range t.procs {
		if p.walked&nodes != nodes || nodes == 0 {
			p.missed = true
			if !failed && !p.fresh {
				unwalked++
			}
		}
		if failed {
			p.missed = true
		}
		p.cursor = 0
		p.fresh = false
	}
	t.failed = false
	t.pass++
	return unwalked
}
