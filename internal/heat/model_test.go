package heat

import (
	"slices"
	"time"
)

// The model is what the tracker should be, written to be plain and slow. It
// keeps, for each process and page, the numbers of the passes in which something
// happened, and judges a page at the end of a window by these rules.
//
//   - A page is watched if it was in the residency that the same process image
//     had at the end of the window before, that process was within MaxRegions
//     then, the node of the page can be told apart, and the last pass of that
//     window did not skip the page.
//   - If the last pass of the window before did not walk the process, then all
//     passes up to the first that does are missed, and what they find young
//     proves nothing.
//   - A pass misses a process if it failed, if records of the process or of
//     anyone were lost, or if it did not walk the process on each node that it
//     aged and each node with watched pages; the last one of a window, if it did
//     not on a node on which the residency shows pages then. It misses a page that
//     it skipped.
//   - A page is hot if it is watched and was young in at least the wanted share
//     of the passes; else warm if it is watched, no pass missed it, and some pass
//     found it young; else cold if it is watched, no pass missed it, and none
//     found it young; else unobserved.
//   - A page is tracked since the first pass at the end of whose window it was
//     resident, if it was so at the end of all windows since, and on nodes that
//     can be told apart. Its age counts from the last of: that pass, a pass that
//     found it young, one that missed it or its process. A pass misses a process
//     for this purpose also if it was the first to walk after passes that did
//     not, and if records came between a window and its end before it.
//   - If page's age counts from pass k, then as seen by pass n it has been idle
//     from the end of k to the beginning of n. At the end of a window it is idle
//     for as long as the last pass saw it to be, if its node can be told apart.
//   - A page was never accessed, at the end of a window, if it is resident on a node
//     that can be told apart, and its age then counts from a pass that is at least
//     NeverWindows times PassesPerWindow before the last, and no pass has found it
//     young since it is tracked.
//   - A page found young by a pass is reaccessed after having been idle for as
//     long as the pass before saw it to be. It counts if it was tracked before
//     the window and is resident at its end.
type model struct {
	params Params
	frac   [2]int // HotFraction as a fraction
	pass   int    // the number of the pass under way, or next
	first  int    // the first pass of the window
	procs  map[int]*modelProcess
	merged map[seriesKey]map[areaKey]*modelCounter
	// untracked is how many regions were beyond MaxRegions as the last window ended.
	untracked int
	lossy     map[int]bool // passes that lost anyone's records
	lives     int
	seen      map[string]int
	// details are what the last window said region by region.
	details map[int]ProcessWindow
	begins  map[int]time.Time
	ends    map[int]time.Time
}

type modelCounter struct {
	Histogram
	reaccessed map[time.Duration]uint64 // bytes
	heat       float64
	heatAt     time.Time
	// The window's.
	accesses, judged int
}

type modelProcess struct {
	Process
	life     int // changes whenever counters may start again
	own      map[areaKey]*modelCounter
	resident map[uint64]int16 // page to node, at the window before; nil if not watched
	walks    map[int]uint64   // pass to nodes walked
	lost     map[int]bool     // passes that lost records
	missed   map[int]bool     // passes that missed the whole process
	unwalked map[int]bool     // those of them whose walk left it out
	young    map[uint64]map[int]bool
	skipped  map[uint64]map[int]bool // only of pages the history uses
	early    bool                    // records came between the last window's last pass and its end
	since    map[uint64]int          // page to the first pass that it is tracked of
	gaps     map[int]bool            // passes that missed the process, as to ages
	found    map[uint64]map[int]bool // as young, but over all windows, and without what proves nothing
}

func (m *model) record(facts map[uint64]map[int]bool, page uint64) {
	if facts[page] == nil {
		facts[page] = map[int]bool{}
	}
	facts[page][m.pass] = true
}

func newModelProcess(p Process) *modelProcess {
	return &modelProcess{
		Process: p, own: map[areaKey]*modelCounter{}, walks: map[int]uint64{}, lost: map[int]bool{}, missed: map[int]bool{},
		unwalked: map[int]bool{}, young: map[uint64]map[int]bool{}, skipped: map[uint64]map[int]bool{},
		since: map[uint64]int{}, gaps: map[int]bool{}, found: map[uint64]map[int]bool{},
	}
}

func (m *model) begin(procs []Process) {
	now := map[int]*modelProcess{}
	for _, info := range procs {
		p := m.procs[info.TGID]
		if p == nil || p.ProcessID != info.ProcessID {
			m.lives++
			p = newModelProcess(info)
			p.life = m.lives
		}
		if p.Comm != info.Comm {
			p.Comm = info.Comm
			if m.params.LabelComm {
				m.lives++
				p.life, p.own = m.lives, map[areaKey]*modelCounter{}
			}
		}
		now[info.TGID] = p
	}
	m.procs = now
}

func (m *model) endPass(nodes uint64, failed bool) (unwalked int) {
	for _, p := range m.procs {
		want := nodes
		for _, n := range p.resident {
			if n >= 0 && n < 64 {
				want |= 1 << n
			}
		}
		walked := nodes != 0 && p.walks[m.pass]&want == want
		p.unwalked[m.pass] = !walked || failed
		p.missed[m.pass] = !walked || failed || p.lost[m.pass] || m.lossy[m.pass]
		if _, old := p.missed[m.pass-1]; old && !walked && !failed && !m.lossy[m.pass] {
			unwalked++
		}
	}
	m.pass++
	return unwalked
}

// A verdict is one page's class and in how many passes it was young.
type verdict struct {
	Class string
	Young int
}

func (m *model) judge(p *modelProcess, page uint64) verdict {
	missed, wiped := p.early, !p.unwalked[m.first-1]
	young := 0
	for pass := m.first; pass < m.pass; pass++ {
		switch {
		case p.missed[pass], p.skipped[page][pass], !wiped:
			missed = true
		}
		if wiped && p.young[page][pass] {
			young = min(young+1, MaxPassesPerWindow)
		}
		if !p.unwalked[pass] {
			wiped = true
		}
	}
	node, resident := p.resident[page]
	watched := resident && node < 64 && !p.skipped[page][m.first-1]
	switch {
	case !watched:
		return verdict{"unobserved", 0}
	// young ÷ passes ≥ fraction, in whole numbers.
	case young > 0 && young*m.frac[1] >= m.frac[0]*m.params.PassesPerWindow:
		return verdict{"hot", young}
	case missed:
		return verdict{"unobserved", 0}
	case young > 0:
		return verdict{"warm", young}
	}
	return verdict{"cold", 0}
}

// ages settles what the window's passes said of ages.
func (m *model) ages(p *modelProcess, res *Residency) {
	wiped := !p.unwalked[m.first-1]
	for pass := m.first; pass < m.pass; pass++ {
		if !wiped || p.missed[pass] {
			p.gaps[pass] = true
		}
		for page, passes := range p.young {
			if wiped && passes[pass] {
				if p.found[page] == nil {
					p.found[page] = map[int]bool{}
				}
				p.found[page][pass] = true
			}
		}
		if !p.unwalked[pass] {
			wiped = true
		}
	}
	for _, part := range res.Parts {
		if part.Node >= 0 && part.Node < 64 && p.walks[m.pass-1]>>part.Node&1 == 0 {
			p.gaps[m.pass-1], p.missed[m.pass-1] = true, true
		}
	}
}

// from is the pass that a tracked page's age counts from, as seen by another.
func (m *model) from(p *modelProcess, page uint64, pass int) int {
	from := pass
	for from > p.since[page] && !p.gaps[from] && !p.skipped[page][from] && !p.found[page][from] {
		from--
	}
	return from
}

// idle is for how long a tracked page has been idle, as seen by a pass.
func (m *model) idle(p *modelProcess, page uint64, pass int) time.Duration {
	return m.begins[pass].Sub(m.ends[max(m.from(p, page, pass), pass-maxAge)])
}

// never tells whether a tracked page was never accessed.
func (m *model) never(p *modelProcess, page uint64) bool {
	for pass := range p.found[page] {
		if pass > p.since[page] {
			return false
		}
	}
	return m.pass-1-m.from(p, page, m.pass-1) >= m.params.NeverWindows*m.params.PassesPerWindow
}

// reaccesses counts for how long a page that was tracked before the window had
// been idle each time that it was found young.
func (m *model) reaccesses(p *modelProcess, page uint64, add func(time.Duration)) {
	for pass := m.first; pass < m.pass; pass++ {
		if p.found[page][pass] {
			add(m.idle(p, page, pass-1))
		}
	}
}

// setCounted is a change of the config.
func (m *model) setCounted(ages []time.Duration, buckets []uint64) {
	same := slices.Equal(buckets, m.params.RegionBuckets)
	m.params.IdleAges, m.params.RegionBuckets = ages, buckets
	forget := func(counters map[areaKey]*modelCounter) {
		for _, c := range counters {
			if !same {
				c.Histogram = Histogram{Counts: make([]uint64, len(buckets)+1), Native: make([]uint64, nativeBuckets)}
			}
			for d := range c.reaccessed {
				if !slices.Contains(ages, d) {
					delete(c.reaccessed, d)
				}
			}
		}
	}
	for _, c := range m.merged {
		forget(c)
	}
	for _, p := range m.procs {
		forget(p.own)
	}
}
