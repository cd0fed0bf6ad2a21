// Package heatmap keeps what the last windows said of each process, region by
// region, in little memory, and folds it into the rows and columns of a heatmap.
package heatmap

import (
	"bytes"
	"cmp"
	"container/heap"
	"maps"
	"slices"
	"sync"
	"time"

	"mglru_exporter/internal/api"
	"mglru_exporter/internal/heat"
)

const (
	// maxWindows is how many windows are kept of a process at most.
	maxWindows = api.MaxWindows
	// minWindows is how many a process keeps for as long as there are others with
	// more, when room is short.
	minWindows = 8
)

// A History keeps the last windows of processes, within a number of bytes. Its
// methods may be called from several goroutines.
//
// When there are more bytes than that, the process that has the most loses its
// oldest window, again and again: all come to have an equal share, except that
// those who need less have all their windows. None goes below minWindows that
// way. If all are there, the processes with the fewest regions lose theirs.
type History struct {
	mu     sync.Mutex // guards what follows; the windows themselves never change
	limit  int
	bytes  int
	memcgs map[string]map[int]*process
	added  map[string][]added // since the last Commit, by memcg
	// memcgSet is Snapshot.MemcgSet as dropMissing last ran.
	memcgSet uint64
}

// An added is a window that is not yet kept.
type added struct {
	id heat.ProcessID
	*window
}

// A process is what is kept of one process in one memcg.
type process struct {
	id      heat.ProcessID
	windows []*window // the oldest first
	bytes   int
}

// A window is what one window said of one process. It is immutable, and so are
// its parts, some of which it may share with the window before it.
type window struct {
	end     time.Time
	passes  int
	regions []byte // as appendRuns makes them
	count   int    // of regions
	cells   []byte // as appendCells makes them, one for each region
	places  *places
	nodes   []int16 // ascending, without -1
}

// New returns a History that keeps about as many bytes as limit; 0 keeps nothing.
func New(limit int) *History {
	return &History{limit: limit, memcgs: map[string]map[int]*process{}, added: map[string][]added{}}
}

// SetLimit changes how many bytes are kept.
func (h *History) SetLimit(limit int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.limit = limit
	if limit == 0 { // then nobody is left out for want of room
		h.bytes = 0
		clear(h.memcgs)
		clear(h.added)
	}
	if h.bytes > limit {
		h.trim()
	}
}

// Add takes in a window of a process of a memcg, and is done with w when it
// returns. The window is kept, and seen, after Commit.
func (h *History) Add(memcg string, w *heat.ProcessWindow) {
	last, ok := h.last(memcg, w.ProcessID)
	if !ok {
		return
	}
	now := newWindow(w, last)
	h.mu.Lock()
	defer h.mu.Unlock()
	before := h.added[memcg]
	if len(before) > 0 && !before[0].end.Equal(now.end) {
		before = nil // of a window that was not published: nobody will commit it
	}
	h.added[memcg] = append(before, added{w.ProcessID, now})
}

// Commit keeps what was added of the window of a memcg that a snapshot tells of,
// and of that only the processes with series of their own. Those of which it has
// none any more are dropped, and so are all of memcgs that it lacks. A process
// that is another one now, or runs another program, loses what was kept.
func (h *History) Commit(snap *heat.Snapshot, memcg string) {
	now := snap.Memcg(memcg)
	h.mu.Lock()
	defer h.mu.Unlock()
	if snap.MemcgSet == 0 || snap.MemcgSet != h.memcgSet {
		h.memcgSet = snap.MemcgSet
		h.dropMissing(snap)
	}
	windows := h.added[memcg]
	delete(h.added, memcg)
	if now == nil || h.limit == 0 {
		return
	}
	listed := make(map[int]bool, len(now.Series))
	for i := range now.Series {
		listed[now.Series[i].PID] = true
	}
	procs := h.memcgs[memcg]
	if procs == nil {
		procs = map[int]*process{}
		h.memcgs[memcg] = procs
	}
	h.dropIf(procs, func(pid int) bool { return !listed[pid] })
	for _, w := range windows {
		if listed[w.id.TGID] && w.end.Equal(now.WindowEnd) {
			h.add(procs, w)
		}
	}
	if h.bytes > h.limit {
		h.trim()
	}
}

// dropMissing drops all windows of the memcgs that a snapshot lacks.
func (h *History) dropMissing(snap *heat.Snapshot) {
	for path, procs := range h.memcgs {
		if snap.Memcg(path) == nil {
			h.dropIf(procs, func(int) bool { return true })
			delete(h.memcgs, path)
		}
	}
	maps.DeleteFunc(h.added, func(path string, _ []added) bool { return snap.Memcg(path) == nil })
}

// last returns the last window of a process, nil without one. It is false where
// nothing is to be kept.
func (h *History) last(memcg string, id heat.ProcessID) (*window, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.limit == 0 {
		return nil, false
	}
	if p := h.memcgs[memcg][id.TGID]; p != nil && p.id == id && len(p.windows) > 0 {
		return p.windows[len(p.windows)-1], true
	}
	return nil, true
}

func newWindow(w *heat.ProcessWindow, before *window) *window {
	now := &window{
		end: w.End, passes: w.Passes, count: len(w.Regions),
		regions: bytes.Clone(appendRuns(nil, w.Regions)),
		cells:   bytes.Clone(appendCells(make([]byte, 0, 4*len(w.Regions)), w.Regions)),
		places:  newPlaces(w.Regions, w.Mappings),
	}
	for i := range w.Regions {
		node := w.Regions[i].Node
		if j, found := slices.BinarySearch(now.nodes, node); !found && node >= 0 && node < maxNodes {
			now.nodes = slices.Insert(now.nodes, j, node)
		}
	}
	if before == nil {
		return now
	}
	if bytes.Equal(now.regions, before.regions) {
		now.regions = before.regions
	}
	if bytes.Equal(now.cells, before.cells) {
		now.cells = before.cells
	}
	if now.places.equal(before.places) {
		now.places = before.places
	}
	if slices.Equal(now.nodes, before.nodes) {
		now.nodes = before.nodes
	}
	return now
}

// size is how many bytes w takes beyond those of its neighbour.
func (w *window) size(neighbour *window) int {
	const (
		fixed  = 192 // the struct, and what the allocator rounds up
		aPlace = 32
		aName  = 16
	)
	n := fixed
	if neighbour == nil || !sameSlice(w.regions, neighbour.regions) {
		n += len(w.regions)
	}
	if neighbour == nil || !sameSlice(w.cells, neighbour.cells) {
		n += len(w.cells)
	}
	if neighbour == nil || w.places != neighbour.places {
		n += aPlace * len(w.places.list)
		for _, name := range w.places.names {
			n += aName + len(name)
		}
	}
	return n
}

func (h *History) add(procs map[int]*process, a added) {
	p := procs[a.id.TGID]
	if p == nil || p.id != a.id {
		if p != nil {
			h.clear(p)
		}
		p = &process{id: a.id}
		procs[a.id.TGID] = p
	}
	var before *window
	if n := len(p.windows); n > 0 {
		before = p.windows[n-1]
	}
	n := a.size(before)
	p.windows = append(p.windows, a.window)
	p.bytes += n
	h.bytes += n
	if len(p.windows) > maxWindows {
		h.shorten(p)
	}
}

// shorten drops the oldest window of a process.
func (h *History) shorten(p *process) {
	var after *window
	if len(p.windows) > 1 {
		after = p.windows[1]
	}
	n := p.windows[0].size(after)
	p.windows[0] = nil
	p.windows = p.windows[1:]
	p.bytes -= n
	h.bytes -= n
}

// clear drops all windows of a process.
func (h *History) clear(p *process) {
	h.bytes -= p.bytes
	p.windows, p.bytes = nil, 0
}

// dropIf drops processes of a memcg.
func (h *History) dropIf(procs map[int]*process, gone func(pid int) bool) {
	for pid, p := range procs {
		if gone(pid) {
			h.clear(p)
			delete(procs, pid)
		}
	}
}

// trim makes room, and a little more than needed so that it is not called for
// each window.
func (h *History) trim() {
	target := h.limit - h.limit/16
	var large bySize
	var all []*process
	for _, procs := range h.memcgs {
		for _, p := range procs {
			all = append(all, p)
			if len(p.windows) > minWindows {
				large = append(large, p)
			}
		}
	}
	heap.Init(&large)
	for h.bytes > target && len(large) > 0 {
		p := large[0]
		h.shorten(p)
		if len(p.windows) > minWindows {
			heap.Fix(&large, 0)
		} else {
			heap.Pop(&large)
		}
	}
	if h.bytes <= target {
		return
	}
	slices.SortFunc(all, func(a, b *process) int {
		return cmp.Or(cmp.Compare(a.regions(), b.regions()), cmp.Compare(a.id.TGID, b.id.TGID))
	})
	for _, p := range all {
		if h.bytes <= target {
			return
		}
		h.clear(p)
	}
}

// regions is how many regions a process last had.
func (p *process) regions() int {
	if len(p.windows) == 0 {
		return 0
	}
	return p.windows[len(p.windows)-1].count
}

// bySize is a heap of processes, the largest first.
type bySize []*process

func (s bySize) Len() int { return len(s) }
func (s bySize) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(s[j].bytes, s[i].bytes), cmp.Compare(s[i].id.TGID, s[j].id.TGID)) < 0
}
func (s bySize) Swap(i, j int) { s[i], s[j] = s[j], s[i] }

// Push implements heap.Interface.
func (s *bySize) Push(p any) { *s = append(*s, p.(*process)) }

// Pop implements heap.Interface.
func (s *bySize) Pop() any {
	last := len(*s) - 1
	p := (*s)[last]
	*s = (*s)[:last]
	return p
}

// Stats say what a History holds.
type Stats struct {
	// Bytes is about how much memory the windows take.
	Bytes int
	// Processes is how many processes have windows, Omitted how many have none
	// for want of room.
	Processes, Omitted int
}

// Stats returns what the History holds now.
func (h *History) Stats() Stats {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := Stats{Bytes: h.bytes}
	for _, procs := range h.memcgs {
		for _, p := range procs {
			if len(p.windows) > 0 {
				s.Processes++
			} else {
				s.Omitted++
			}
		}
	}
	return s
}

// Enabled tells whether anything is kept at all.
func (h *History) Enabled() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.limit > 0
}

// Windows returns how many windows are kept of a process.
func (h *History) Windows(memcg string, pid int) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if p := h.memcgs[memcg][pid]; p != nil {
		return len(p.windows)
	}
	return 0
}

// windows returns the last n windows of a process, the oldest first.
func (h *History) windows(memcg string, pid, n int) []*window {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.memcgs[memcg][pid]
	if p == nil {
		return nil
	}
	return slices.Clone(p.windows[max(0, len(p.windows)-n):])
}
