package heat

import (
	"time"
)

// A Tracker holds what is known of the processes of one memcg. It is not safe
// for concurrent use.
//
// A pass is Begin, then any number of Fold, Skip, Walked and Lose in any order,
// then EndPass. Residency for the end of a window is read before the window's
// last pass begins to walk: then a page that became resident, or moved in,
// after the last pass cannot be in it, and one that did so earlier was found
// young or is not watched yet. Fold is also right between passes: what others
// harvest belongs to the pass under way or, between two, to the next. Only
// between the last pass of a window and EndWindow there should be none: it costs
// its process the next window's certainty.
//
// A page's first walk only wipes the slate. So what the last pass of a window
// did not walk is not judged by the next one until a pass has.
//
// The idle age of a page outlives windows: it counts from the pass that last
// found the page young, or from the last pass of the window at whose end it was
// first resident. A pass that missed the page makes it count anew, too: the
// accessed bit that the pass did not read may be set. So nothing missed makes a
// page look older than it is; it may look younger, until it has been watched for
// long enough again. That the page was missed is no reaccess, nor is what a later
// pass finds of the time before.
type Tracker struct {
	params Params
	need   int
	failed bool
	clock  clock
	cuts   cuts
	procs  map[int]*process
	last   *process
	// merged has the counters of series that are not of a single process. They
	// outlive the processes, or they would go down.
	merged map[seriesKey]counters
	// region is what EndWindow knows of the region that it is at, sweep which
	// skips reach into it, and spare a list of regions that is in no use.
	region regionWindow
	sweep  sweep
	spare  []uint64
	// detail is room for the regions of the process that EndWindow is at.
	detail []RegionHeat
	// never is what is kept of a page of Area.Never at least, 0 if there is none.
	never int
	// untracked is how many regions MaxRegions left no room for.
	untracked int
	// birth is of the pages whose ages begin in the window.
	birth birth
}

type process struct {
	Process
	// regions are the numbers of the watched regions, ascending; slabs go with
	// them, and so does what each pass of the window found young. A pass that
	// found nothing of the process may have no bitmaps.
	regions []uint64
	slabs   []slab
	young   [slots][]Bitmap
	// runs are the regions again, for find, and cursor is where it last was.
	runs   []run
	cursor int
	// own has the counters of the process's own series.
	own counters
	// layout is of the residency at the end of the window.
	layout layout
	// resident is how many bytes group found resident.
	resident uint64
	// nodes has a bit for each node that the watched pages are on, walked for
	// each node whose walk took this process up in this pass. Skips is what
	// the walks of the window could not look at.
	nodes, walked uint64
	skips         []skip
	// gaps has a bit for each pass of the window that missed the process: what
	// it did not find young has no age.
	gaps uint8
	// folded is set once a pass has had records of the process.
	folded bool
	// fresh is set until the process has been through a whole pass.
	fresh bool
	// lost is set when this pass lost records of the process, missed when
	// this window has missed a whole pass of it.
	lost, missed bool
	// unwalked is set when the last pass did not walk the process, stale while
	// no pass has since before this window: the next one finds bits of any age.
	unwalked, stale bool
}

// A skip is pages [from, to), counted from address 0, that a pass of the window
// could not look at: the pass of that index, or lastPass of the window before.
type skip struct {
	from, to uint64
	pass     int
}

const lastPass = -1

// NewTracker returns a Tracker that knows no process.
func NewTracker(p Params) (*Tracker, error) {
	t := &Tracker{procs: map[int]*process{}, merged: map[seriesKey]counters{}}
	return t, t.SetParams(p)
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

// Begin starts a pass, at a time before it walks, over the given processes.
// Those that the tracker knows and the list lacks are forgotten; gone tells
// whether they have exited, or only left. It returns how many histories were
// dropped and why.
func (t *Tracker) Begin(at time.Time, procs []Process, gone func(ProcessID) bool) map[Reset]int {
	t.clock.begin(at)
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
			if t.params.LabelComm {
				p.own = nil
			}
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
	t.last = nil
}

// Tracks tells whether the tracker knows a process with this tgid.
func (t *Tracker) Tracks(tgid int) bool { return t.process(tgid) != nil }

// Untracked returns how many regions are unobserved for want of room below
// Params.MaxRegions, as of the end of the last window.
func (t *Tracker) Untracked() int { return t.untracked }

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
	p.folded = true
	if p.stale {
		return true
	}
	if i := p.find(region); i >= 0 {
		slot := t.clock.slot()
		if p.young[slot] == nil {
			p.young[slot] = make([]Bitmap, len(p.regions), cap(p.regions))
		}
		p.young[slot][i].Or(young)
	}
	return true
}

// find returns the index of a region, or -1. Walks go up the address space, so
// the run last found and the one after it are tried before searching.
func (p *process) find(region uint64) int {
	for r := p.cursor; r < min(p.cursor+2, len(p.runs)); r++ {
		if p.runs[r].has(region) {
			return p.found(r, region)
		}
	}
	// This is binary search by hand: the library's is slower, and this is the
	// one place where that shows.
	lo, hi := 0, len(p.runs)
	for lo < hi {
		if mid := int(uint(lo+hi) / 2); p.runs[mid].last < region {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < len(p.runs) && p.runs[lo].has(region) {
		return p.found(lo, region)
	}
	return -1
}

func (p *process) found(r int, region uint64) int {
	p.cursor = r
	return p.runs[r].index + int(region-p.runs[r].first)
}

// A run is regions in a row. Mappings make few of them, so that looking at runs
// instead of regions stays within the caches.
type run struct {
	first, last uint64
	index       int // of the first
}

func (r *run) has(region uint64) bool { return r.first <= region && region <= r.last }

// Skip notes that the walk could not look at [start, end) of a process: no page
// there can be cold in this window.
func (t *Tracker) Skip(tgid int, start, end uint64) {
	p := t.process(tgid)
	if p == nil || start >= end {
		return
	}
	now := skip{start / PageSize, (end-1)/PageSize + 1, t.clock.slot()}
	if n := len(p.skips); n > 0 {
		if last := &p.skips[n-1]; last.pass == now.pass && last.from <= now.from && now.from <= last.to {
			last.to = max(last.to, now.to)
			return
		}
	}
	p.skips = append(p.skips, now)
}

// Walked notes that the pass's walk on a node took a process up. Without this
// word for each node a process counts as missed.
func (t *Tracker) Walked(tgid, node int) {
	if p := t.process(tgid); p != nil && node >= 0 && node < maxNodes {
		p.walked |= 1 << node
	}
}

// Lose notes that records of a process were lost.
func (t *Tracker) Lose(tgid int) {
	if p := t.process(tgid); p != nil {
		p.lost = true
	}
}

// LoseAll notes that records were lost and nobody knows whose.
func (t *Tracker) LoseAll() { t.failed = true }

// EndPass ends a pass, at a time after it walked, that aged the nodes of the
// mask. It returns how many known processes no walk took up on one of these
// nodes, or on one that they have watched pages on. A failed pass counts, and
// everything that it did not find young is missed.
func (t *Tracker) EndPass(at time.Time, nodes uint64, failed bool) (unwalked int) {
	slot := t.clock.slot()
	t.clock.end(at)
	for _, p := range t.procs {
		want := nodes | p.nodes
		walked := nodes != 0 && p.walked&want == want
		if !walked && !failed && !t.failed && !p.fresh {
			unwalked++
		}
		p.unwalked = failed || !walked
		if p.unwalked || t.failed || p.lost {
			p.missed = true
			p.gaps |= 1 << slot
		}
		if p.stale { // what it found young was not taken in
			p.gaps |= 1 << slot
		}
		p.stale = p.stale && p.unwalked
		p.cursor = 0
		p.folded, p.fresh, p.lost = false, false, false
	}
	t.failed = false
	return unwalked
}
