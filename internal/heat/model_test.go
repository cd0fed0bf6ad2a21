package heat

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
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

// nameOf is the name of the mapping that a page is in.
func nameOf(mappings []Mapping, page uint64) string {
	for _, m := range mappings {
		if m.Start <= page*PageSize && page*PageSize < m.End {
			return m.Name
		}
	}
	return UnknownMapping
}

// topNever sorts the names of the areas' mappings and merges those beyond the top.
func (m *model) topNever(areas map[areaKey]*Area) {
	total := map[string]uint64{}
	for _, a := range areas {
		for _, n := range a.Never {
			total[n.Mapping] += n.Bytes
		}
	}
	names := slices.SortedFunc(maps.Keys(total), func(a, b string) int {
		return cmp.Or(cmp.Compare(total[b], total[a]), cmp.Compare(a, b))
	})
	for _, a := range areas {
		var never []MappingBytes
		var others uint64
		for _, n := range a.Never {
			if slices.Index(names, n.Mapping) < m.params.NeverTop {
				never = append(never, n)
			} else {
				others += n.Bytes
			}
		}
		if others > 0 {
			never = append(never, MappingBytes{OtherMappings, others})
			m.seen["merged mapping"]++
		}
		slices.SortFunc(never, func(a, b MappingBytes) int {
			return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Mapping, b.Mapping))
		})
		a.Never = never
	}
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

// endWindow returns the verdicts by process and page, and the series.
func (m *model) endWindow(residency map[int]*Residency) (map[int]map[uint64]verdict, []Series) {
	verdicts := map[int]map[uint64]verdict{}
	m.details = map[int]ProcessWindow{}
	sizes := map[int]uint64{}
	groups := map[seriesKey][]*modelProcess{}
	groupSize := map[seriesKey]uint64{}
	for tgid, res := range residency {
		p := m.procs[tgid]
		if p == nil {
			continue
		}
		for _, part := range res.Parts {
			sizes[tgid] += uint64(part.Pages.Count())
		}
		for _, u := range res.Unscanned {
			sizes[tgid] += u.Pages
		}
		k := seriesKey{}
		if m.params.LabelPID {
			k.pid = tgid
		}
		if m.params.LabelComm {
			k.comm = p.Comm
		}
		if k == (seriesKey{}) && m.params.LabelComm {
			k.pid = PIDOther
		}
		groups[k] = append(groups[k], p)
		groupSize[k] += sizes[tgid]
	}
	keys := make([]seriesKey, 0, len(groups))
	for k := range groups {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b seriesKey) int {
		return cmp.Or(cmp.Compare(groupSize[b], groupSize[a]), cmp.Compare(a.pid, b.pid), cmp.Compare(a.comm, b.comm))
	})
	areas := map[seriesKey]map[areaKey]*Area{}
	swapped := map[seriesKey]uint64{}
	bands := map[seriesKey][]Band{}
	hists := map[seriesKey]map[areaKey]*modelCounter{}
	left := m.params.MaxRegions
	m.untracked = 0
	for rank, k := range keys {
		procs := groups[k]
		slices.SortFunc(procs, func(a, b *modelProcess) int {
			return cmp.Or(cmp.Compare(sizes[b.TGID], sizes[a.TGID]), cmp.Compare(a.TGID, b.TGID))
		})
		out := k
		small := m.params.Top > 0 && rank >= m.params.Top || groupSize[k]*PageSize < m.params.MinResident
		if small && (m.params.LabelPID || m.params.LabelComm) {
			out = seriesKey{pid: PIDOther}
		}
		if areas[out] == nil {
			areas[out] = map[areaKey]*Area{}
		}
		for _, p := range procs {
			hist := m.merged[out]
			if out.pid > 0 {
				hist = p.own
			} else if hist == nil {
				hist = map[areaKey]*modelCounter{}
				m.merged[out] = hist
			}
			hists[out] = hist
			res := residency[p.TGID]
			swapped[out] += res.SwappedPages * PageSize
			verdicts[p.TGID] = map[uint64]verdict{}
			m.ages(p, res)
			m.sum(p, res, areas[out], hist, verdicts[p.TGID])
			m.details[p.TGID] = ProcessWindow{
				Process: p.Process, End: m.ends[m.pass-1], Passes: m.pass - m.first,
				Regions: m.regions(p, res, verdicts[p.TGID]), Mappings: res.Mappings,
			}
			if out.pid > 0 && m.params.AddressBands > 0 {
				bands[out] = foldBands(res.Mappings, m.details[p.TGID].Regions, m.params.AddressBands)
			}

			regions := map[uint64]bool{}
			next := map[uint64]int16{}
			for _, part := range res.Parts {
				regions[part.Region] = true
				for i := range PagesPerRegion {
					if part.Pages.Has(i) {
						next[part.Region*PagesPerRegion+uint64(i)] = part.Node
					}
				}
				if part.Node >= 0 && part.Node < 64 && p.walks[m.pass-1]>>part.Node&1 == 0 {
					p.unwalked[m.pass-1] = true
				}
			}
			p.resident = nil
			since := map[uint64]int{}
			if m.params.MaxRegions == 0 || len(regions) <= left {
				p.resident = next
				left -= len(regions)
				for page, node := range next {
					if node >= 64 {
						continue
					}
					since[page] = m.pass - 1
					if first, ok := p.since[page]; ok {
						since[page] = first
					}
				}
			} else {
				m.untracked += len(regions)
			}
			p.since = since
		}
	}
	for tgid, p := range m.procs {
		if residency[tgid] == nil {
			p.resident = nil
			p.since = map[uint64]int{}
		}
		p.early = false
		for _, passes := range p.young {
			if passes[m.pass] {
				p.early = true
				p.gaps[m.pass] = true
			}
		}
		p.young = map[uint64]map[int]bool{}
	}
	series := m.series(areas, hists, swapped)
	for i, s := range series {
		series[i].Bands = bands[seriesKey{s.PID, s.Comm}]
	}
	m.first = m.pass
	return verdicts, series
}

// sum adds a process's pages to the areas of its series.
func (m *model) sum(p *modelProcess, res *Residency, areas map[areaKey]*Area, hist map[areaKey]*modelCounter, verdicts map[uint64]verdict) {
	area := func(node int16, typ Type) *Area {
		k := areaKey{node, typ}
		if areas[k] == nil {
			areas[k] = &Area{Node: int(node), Type: typ, Idle: make([]uint64, len(m.params.IdleAges))}
		}
		return areas[k]
	}
	counter := func(part *ResidentPart) *modelCounter {
		k := areaKey{part.Node, part.Type}
		if hist[k] == nil {
			hist[k] = &modelCounter{Histogram: Histogram{Counts: make([]uint64, len(m.params.RegionBuckets)+1), Native: make([]uint64, nativeBuckets)}, reaccessed: map[time.Duration]uint64{}}
		}
		return hist[k]
	}
	for _, part := range res.Parts {
		var accesses uint64
		watched := false
		a := area(part.Node, part.Type)
		for i := range PagesPerRegion {
			if !part.Pages.Has(i) {
				continue
			}
			page := part.Region*PagesPerRegion + uint64(i)
			v := m.judge(p, page)
			verdicts[page] = v
			a.Resident += PageSize
			switch v.Class {
			case "hot":
				a.Hot += PageSize
			case "warm":
				a.Warm += PageSize
			case "cold":
				a.Cold += PageSize
			default:
				a.Unobserved += PageSize
			}
			if v.Class != "unobserved" {
				watched = true
				accesses += uint64(v.Young)
				counter(&part).judged++
			}
			if _, tracked := p.since[page]; !tracked {
				continue
			}
			if m.params.NeverWindows > 0 && m.params.NeverTop > 0 && len(res.Mappings) > 0 && part.Node < 64 && m.never(p, page) {
				name := nameOf(res.Mappings, page)
				at := slices.IndexFunc(a.Never, func(n MappingBytes) bool { return n.Mapping == name })
				if at < 0 {
					at = len(a.Never)
					a.Never = append(a.Never, MappingBytes{Mapping: name})
				}
				a.Never[at].Bytes += PageSize
				m.seen["never accessed"]++
				if name == UnknownMapping {
					m.seen["unknown mapping"]++
				}
			}
			for i, d := range m.params.IdleAges {
				if part.Node < 64 && m.idle(p, page, m.pass-1) >= d {
					a.Idle[i] += PageSize
					m.seen["idle"]++
				}
			}
			m.reaccesses(p, page, func(idle time.Duration) {
				for _, d := range m.params.IdleAges {
					if idle >= d {
						counter(&part).reaccessed[d] += PageSize
						m.seen["reaccessed"]++
					}
				}
			})
		}
		if !watched {
			continue
		}
		k := areaKey{part.Node, part.Type}
		hist[k].accesses += int(accesses)
		bucket := 0
		for bucket < len(m.params.RegionBuckets) && accesses > m.params.RegionBuckets[bucket] {
			bucket++
		}
		hist[k].Counts[bucket]++
		native := 0
		if accesses > 0 {
			for native = 1; float64(accesses) > math.Exp2(float64(native-1)/4); {
				native++
			}
		}
		hist[k].Native[native]++
		hist[k].Sum += accesses
	}
	for _, u := range res.Unscanned {
		a := area(u.Node, u.Type)
		a.Resident += u.Pages * PageSize
		a.Unobserved += u.Pages * PageSize
	}
}

// regions is what there is to say of each region, page by page.
func (m *model) regions(p *modelProcess, res *Residency, verdicts map[uint64]verdict) []RegionHeat {
	out := []RegionHeat{}
	for region := uint64(100); region < 109; region++ {
		h := RegionHeat{Region: region, Node: -1, Idle: math.MaxInt64}
		nodes := map[int16]int{}
		for _, part := range res.Parts {
			for i := range PagesPerRegion {
				if part.Region != region || !part.Pages.Has(i) {
					continue
				}
				page := region*PagesPerRegion + uint64(i)
				h.Resident++
				switch part.Type {
				case Anon:
					h.Anon++
				case Shmem:
					h.Shmem++
				}
				switch v := verdicts[page]; v.Class {
				case "hot":
					h.Hot++
					h.Accesses += uint32(v.Young)
				case "warm":
					h.Warm++
					h.Accesses += uint32(v.Young)
				case "cold":
					h.Cold++
				}
				if part.Node >= 0 {
					nodes[part.Node]++
				}
				if _, tracked := p.since[page]; !tracked && part.Node < 64 {
					h.Idle = 0
				} else if tracked && part.Node < 64 {
					h.Idle = min(h.Idle, max(0, m.idle(p, page, m.pass-1)))
				}
			}
		}
		if h.Resident == 0 {
			continue
		}
		for _, node := range slices.Sorted(maps.Keys(nodes)) {
			if h.Node < 0 || nodes[node] > nodes[h.Node] {
				h.Node = node
			}
		}
		if h.Idle == math.MaxInt64 { // nothing that can be watched
			h.Idle = 0
		}
		m.seen["idle region"] += min(1, int(h.Idle))
		out = append(out, h)
	}
	return out
}

func (m *model) series(areas map[seriesKey]map[areaKey]*Area, hists map[seriesKey]map[areaKey]*modelCounter, swapped map[seriesKey]uint64) []Series {
	var out []Series
	for k, byArea := range areas {
		s := Series{PID: k.pid, Comm: k.comm, SwappedBytes: swapped[k]}
		m.topNever(byArea)
		for ak := range hists[k] {
			if byArea[ak] == nil {
				byArea[ak] = &Area{Node: int(ak.node), Type: ak.typ, Idle: make([]uint64, len(m.params.IdleAges))}
			}
		}
		for ak, a := range byArea {
			a.Accesses = Histogram{
				Bounds: m.params.RegionBuckets, Counts: make([]uint64, len(m.params.RegionBuckets)+1), Native: make([]uint64, nativeBuckets),
			}
			a.Reaccessed = make([]uint64, len(m.params.IdleAges))
			if h := hists[k][ak]; h != nil {
				copy(a.Accesses.Counts, h.Counts)
				copy(a.Accesses.Native, h.Native)
				a.Accesses.Sum = h.Sum
				for i, d := range m.params.IdleAges {
					a.Reaccessed[i] = h.reaccessed[d]
				}
				m.heat(a, h)
			}
			s.Areas = append(s.Areas, *a)
		}
		slices.SortFunc(s.Areas, func(a, b Area) int { return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Type, b.Type)) })
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b Series) int { return cmp.Or(cmp.Compare(a.PID, b.PID), cmp.Compare(a.Comm, b.Comm)) })
	return out
}

func (m *model) heat(a *Area, c *modelCounter) {
	if c.judged > 0 {
		now := m.ends[m.pass-1]
		x := float64(c.accesses) / float64((m.pass-m.first)*c.judged)
		if c.heatAt.IsZero() {
			c.heat = x
		} else {
			c.heat += (x - c.heat) * (1 - math.Exp(-now.Sub(c.heatAt).Seconds()/m.params.Average.Seconds()))
		}
		c.heatAt = now
		a.HeatRatio, a.HeatKnown = c.heat, true
	}
	c.accesses, c.judged = 0, 0
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

// A history drives a tracker and the model through the same random events.
type history struct {
	*rand.Rand
	tb       testing.TB
	tracker  *Tracker
	model    *model
	alive    map[int]Process
	layouts  map[int]*Residency // who lives where, drifting between windows
	counters map[string]uint64  // by series, area and bucket
	nodes    uint64
	calm     bool // few faults, so that much is observed
	steady   bool // passes take as long as each other
	now      time.Time
	seen     map[string]int
}

const maxTGID = 6

// pages are where bugs of bit twiddling live; the rest is noise.
var pages = []int{0, 1, 2, 31, 62, 63, 64, 65, 127, 128, 255, 256, 257, 383, 447, 448, 510, 511}

func newHistory(tb testing.TB, seed uint64) *history {
	h := &history{
		Rand: rand.New(rand.NewPCG(seed, 0)), tb: tb, alive: map[int]Process{}, layouts: map[int]*Residency{},
		counters: map[string]uint64{}, nodes: 1, seen: map[string]int{}, now: time.Unix(1e9, 0),
	}
	h.calm, h.steady = h.chance(0.6), h.chance(0.5)
	if h.chance(0.6) {
		h.nodes = 3
	}
	passes := 1 + h.IntN(MaxPassesPerWindow)
	frac := [][2]int{{1, 2}, {1, 10}, {1, 1}, {3, 4}, {1, 3}, {3, 10}, {7, 10}}[h.IntN(7)]
	p := Params{
		PassesPerWindow: passes, HotFraction: float64(frac[0]) / float64(frac[1]),
		RegionBuckets: []uint64{0, 1, 4, 16, 64},
		IdleAges:      h.idleAges(), Average: time.Duration(1+h.IntN(100)) * time.Second,
		Top: h.IntN(4), LabelPID: h.chance(0.7), LabelComm: h.chance(0.5),
	}
	if h.chance(0.3) {
		p.MaxRegions = 1 + h.IntN(15)
	}
	if h.chance(0.3) {
		p.AddressBands = 1 + h.IntN(20)
	}
	if h.chance(0.7) {
		p.NeverWindows, p.NeverTop = 1+h.IntN(2), h.IntN(5)
	}
	if h.chance(0.2) {
		p.MinResident = uint64(h.IntN(40)*h.IntN(10)) * PageSize
	}
	t, err := NewTracker(p)
	if err != nil {
		tb.Fatal(err)
	}
	h.tracker = t
	t.birth = birthAt(h.IntN(30)) // or else no epoch would end
	h.model = &model{
		params: p, frac: frac, pass: 1, first: 1,
		procs: map[int]*modelProcess{}, merged: map[seriesKey]map[areaKey]*modelCounter{}, lossy: map[int]bool{},
		begins: map[int]time.Time{}, ends: map[int]time.Time{}, seen: h.seen,
	}
	return h
}

// idleAges are up to 16, on either side of what passes, windows and histories
// take.
func (h *history) idleAges() []time.Duration {
	var ages []time.Duration
	at := time.Duration(0)
	for range h.IntN(MaxIdleAges + 1) {
		at += time.Duration(1+h.IntN(40)) * time.Second / 4
		ages = append(ages, at)
	}
	return ages
}

// tick lets up to d pass by.
func (h *history) tick(d time.Duration) time.Time {
	if h.steady {
		h.now = h.now.Add(d / 2)
		return h.now
	}
	h.now = h.now.Add(time.Duration(h.Int64N(int64(d/time.Second)+1)) * time.Second)
	return h.now
}

func (h *history) chance(p float64) bool { return h.Float64() < p }

// fault is the chance of something that a calm history has little of.
func (h *history) fault(p float64) bool {
	if h.calm {
		p /= 20
	}
	return h.chance(p)
}

func (h *history) tgid() int      { return 1 + h.IntN(maxTGID+1) } // the last never lives
func (h *history) region() uint64 { return 100 + uint64(h.IntN(9)) }

// population lets processes be born, exit, exec, be replaced and be renamed.
func (h *history) population() []Process {
	var list []Process
	for tgid := 1; tgid <= maxTGID; tgid++ {
		p, ok := h.alive[tgid]
		switch {
		case !ok && h.chance(0.4):
			p = Process{ProcessID{tgid, h.Uint64N(4), h.Uint64N(4)}, h.comm()}
			ok = true
			h.layouts[tgid] = h.layout()
		case ok && h.fault(0.19): // one of four, about as often each
			switch h.IntN(4) {
			case 0:
				ok = false
			case 1:
				p.Start++
			case 2:
				p.Image++
			case 3:
				p.Comm = h.comm()
			}
		}
		delete(h.alive, tgid)
		if ok {
			h.alive[tgid] = p
			list = append(list, p)
		}
	}
	h.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

func (h *history) comm() string { return []string{"a", "b", ""}[h.IntN(3)] }

// layout is a residency with regions at random places, whole or in parts.
func (h *history) layout() *Residency {
	r := &Residency{SwappedPages: h.Uint64N(5)}
	for region := uint64(100); region < 109; region++ {
		if h.chance(0.4) {
			continue
		}
		parts := map[areaKey]*ResidentPart{}
		mixed := h.chance(0.3)
		node, typ := h.node(), Type(h.IntN(int(NumTypes)))
		for _, page := range pages {
			if h.chance(0.2) {
				continue
			}
			if mixed {
				node, typ = h.node(), Type(h.IntN(int(NumTypes)))
			}
			k := areaKey{node, typ}
			if parts[k] == nil {
				parts[k] = &ResidentPart{Region: region, Node: node, Type: typ}
			}
			parts[k].Pages.Set(page)
		}
		for _, p := range parts {
			r.Parts = append(r.Parts, *p)
		}
	}
	slices.SortFunc(r.Parts, func(a, b ResidentPart) int {
		return cmp.Or(cmp.Compare(a.Region, b.Region), cmp.Compare(a.Node, b.Node), cmp.Compare(a.Type, b.Type))
	})
	r.Mappings = h.mappings()
	if h.chance(0.2) {
		r.Unscanned = []UnscannedPages{{Node: h.node(), Type: File, Pages: 1 + h.Uint64N(9)}}
	}
	return r
}

// mappings are some that end and begin anywhere between and within the regions,
// several of them with one name.
func (h *history) mappings() []Mapping {
	if h.chance(0.2) {
		return nil
	}
	var edges []uint64
	for range 2 * h.IntN(12) {
		edges = append(edges, h.region()*PagesPerRegion+uint64(pages[h.IntN(len(pages))]))
	}
	slices.Sort(edges)
	var out []Mapping
	for i := 0; i+1 < len(edges); i += 1 + h.IntN(2) {
		if edges[i] < edges[i+1] {
			out = append(out, Mapping{
				Start: edges[i] * PageSize, End: edges[i+1] * PageSize,
				Name: []string{"[heap]", "/a", "/b", "[anon]", "[stack]"}[h.IntN(5)], NoAccess: h.chance(0.1),
			})
		}
	}
	return out
}

func (h *history) node() int16 {
	switch {
	case h.fault(0.05):
		return []int16{-1, 64, 2}[h.IntN(3)]
	case h.nodes == 1:
		return 0
	}
	return int16(h.IntN(2))
}

// fold gives a process's young pages of one region, or of its whole layout.
func (h *history) fold() {
	tgid := h.tgid()
	p := h.model.procs[tgid]
	regions := []uint64{h.region()}
	if h.chance(0.5) {
		regions = []uint64{100, 101, 102, 103, 104, 105, 106, 107, 108}
	}
	density := h.Float64()
	for _, region := range regions {
		var young Bitmap
		for _, page := range pages {
			if h.chance(density) {
				young.Set(page)
				if p != nil {
					h.model.record(p.young, region*PagesPerRegion+uint64(page))
				}
			}
		}
		if young == (Bitmap{}) {
			continue // a record of nothing, which nobody sends
		}
		if known := h.tracker.Fold(tgid, region, &young); known != (p != nil) {
			h.tb.Fatalf("Fold of %d: known %v, want %v", tgid, known, p != nil)
		}
	}
}

func (h *history) skip() {
	tgid := h.tgid()
	first := h.region()*PagesPerRegion + uint64(pages[h.IntN(len(pages))])
	last := first + h.Uint64N(40)
	switch h.IntN(8) {
	case 0:
		last = first + h.Uint64N(3*PagesPerRegion)
	case 1:
		first, last = 0, ^uint64(0)/PageSize
	}
	end := (last + 1) * PageSize
	if end == 0 {
		end = ^uint64(0)
	}
	h.tracker.Skip(tgid, first*PageSize, end)
	if p := h.model.procs[tgid]; p != nil {
		for region := uint64(100); region < 109; region++ {
			for _, i := range pages {
				if page := region*PagesPerRegion + uint64(i); first <= page && page <= last {
					h.model.record(p.skipped, page)
				}
			}
		}
	}
}

func (h *history) pass() {
	list := h.population()
	h.model.begin(list)
	h.model.begins[h.model.pass] = h.tick(6 * time.Second)
	h.tracker.Begin(h.now, list, func(ProcessID) bool { return h.chance(0.5) })
	nodes := h.nodes
	if h.fault(0.05) {
		nodes = h.Uint64N(4)
	}
	for tgid := range maxTGID + 1 {
		for _, node := range []int{0, 1, 2} {
			if !h.fault(0.1) {
				h.tracker.Walked(tgid, node)
				if p := h.model.procs[tgid]; p != nil {
					p.walks[h.model.pass] |= 1 << node
				}
			}
		}
	}
	for range h.IntN(25) {
		h.fold()
		if h.fault(0.1) {
			h.skip()
		}
		if h.fault(0.01) {
			tgid := h.tgid()
			h.tracker.Lose(tgid)
			if p := h.model.procs[tgid]; p != nil {
				p.lost[h.model.pass] = true
			}
		}
		if h.fault(0.004) {
			h.loseAll()
		}
	}
	failed := h.fault(0.08)
	h.model.ends[h.model.pass] = h.tick(2 * time.Second)
	got, want := h.tracker.EndPass(h.now, nodes, failed), h.model.endPass(nodes, failed)
	if got != want {
		h.tb.Fatalf("pass %d: EndPass says %d unwalked, want %d", h.model.pass-1, got, want)
	}
}

func (h *history) loseAll() {
	h.tracker.LoseAll()
	h.model.lossy[h.model.pass] = true
}

// between is what may happen between two passes.
func (h *history) between() {
	for range h.IntN(3) {
		h.fold()
	}
	if h.fault(0.02) {
		h.loseAll()
	}
}

func (h *history) window() {
	passes := h.model.params.PassesPerWindow
	if h.fault(0.1) {
		passes = 1 + h.IntN(MaxPassesPerWindow) // a window that ends early or late
	}
	for i := range passes {
		if i > 0 {
			h.between()
		}
		h.pass()
	}
	if h.fault(0.2) {
		h.between() // against the rules, and must do no harm
	}

	residency := map[int]*Residency{}
	for tgid := range h.alive {
		if h.chance(0.2) {
			h.layouts[tgid] = h.layout()
		}
		if !h.fault(0.1) {
			residency[tgid] = h.layouts[tgid]
		}
	}
	if h.chance(0.1) {
		// Counters of ages that are gone begin at 0, should these come back.
		for _, d := range h.model.params.IdleAges { // some of them stay, but who is to know
			maps.DeleteFunc(h.counters, func(k string, _ uint64) bool { return strings.HasSuffix(k, d.String()) })
		}
		ages := append(h.idleAges(), h.model.params.IdleAges...)
		slices.Sort(ages)
		ages = slices.Compact(ages)
		h.Shuffle(len(ages), func(i, j int) { ages[i], ages[j] = ages[j], ages[i] })
		ages = ages[:min(len(ages), h.IntN(MaxIdleAges+1))]
		slices.Sort(ages)
		buckets := h.model.params.RegionBuckets
		if h.chance(0.5) {
			buckets = [][]uint64{{0, 1, 4, 16, 64}, {0, 2}, nil}[h.IntN(3)]
			clear(h.counters)
		}
		h.model.setCounted(ages, buckets)
		if err := h.tracker.SetParams(h.model.params); err != nil {
			h.tb.Fatal(err)
		}
	}
	if h.chance(0.1) {
		h.reload()
	}
	gotPages := map[int]map[uint64]verdict{}
	for tgid := range residency {
		gotPages[tgid] = map[uint64]verdict{}
	}
	gotDetails := map[int]ProcessWindow{}
	observers := Observers{Part: func(p Process, part *ResidentPart, c *Classes) {
		h.visit(gotPages[p.TGID], part, c)
	}}
	if h.chance(0.5) {
		observers.Process = func(w *ProcessWindow) {
			own := *w
			own.Regions = append([]RegionHeat{}, w.Regions...)
			gotDetails[w.TGID] = own
		}
	}
	got, err := h.tracker.EndWindow(residency, observers)
	if err != nil {
		h.tb.Fatal(err)
	}
	wantPages, want := h.model.endWindow(residency)
	for tgid := range wantPages { // counts of passes are no part of Classes
		for page, v := range wantPages[tgid] {
			h.seen[v.Class]++
			wantPages[tgid][page] = verdict{Class: v.Class}
		}
	}
	if diff := diff(wantPages, gotPages); diff != "" {
		h.tb.Fatalf("pages up to pass %d (-want +got):\n%s", h.model.pass-1, diff)
	}
	if got, want := h.tracker.Untracked(), h.model.untracked; got != want {
		h.tb.Fatalf("up to pass %d %d regions are untracked, want %d", h.model.pass-1, got, want)
	}
	h.sameHeat(want, got)
	if diff := diff(want, got); diff != "" {
		h.tb.Fatalf("series up to pass %d (-want +got):\n%s", h.model.pass-1, diff)
	}
	if diff := diff(h.model.details, gotDetails); observers.Process != nil && diff != "" {
		h.tb.Fatalf("regions up to pass %d (-want +got):\n%s", h.model.pass-1, diff)
	}
	h.monotonic(got)
	if h.fault(0.1) {
		h.loseAll()
	}
}

// reload changes what another config may change as a window ends, which then has
// had as many passes as the windows to come, or fewer, or more.
func (h *history) reload() {
	p := &h.model.params
	p.PassesPerWindow = 1 + h.IntN(MaxPassesPerWindow)
	p.NeverWindows, p.NeverTop = h.IntN(3), h.IntN(5)
	p.MaxRegions = h.IntN(2) * h.IntN(20)
	p.AddressBands = h.IntN(20)
	p.Top, p.MinResident = h.IntN(4), uint64(h.IntN(40)*h.IntN(10))*PageSize
	p.LabelPID, p.LabelComm = h.chance(0.7), h.chance(0.5)
	clear(h.counters) // of which the labels may be others now
	if err := h.tracker.SetParams(*p); err != nil {
		h.tb.Fatal(err)
	}
}

// sameHeat compares the heat ratios, and makes those that differ only in how they
// were rounded the same.
func (h *history) sameHeat(want, got []Series) {
	for i := range min(len(want), len(got)) {
		for j := range min(len(want[i].Areas), len(got[i].Areas)) {
			w, g := &want[i].Areas[j], &got[i].Areas[j]
			if math.Abs(w.HeatRatio-g.HeatRatio) < 1e-9 {
				w.HeatRatio = g.HeatRatio
			}
			if g.HeatRatio < 0 || g.HeatRatio > 1 {
				h.tb.Fatalf("heat ratio %v", g.HeatRatio)
			}
		}
	}
}

// diff is cmp.Diff, which is slow to say that nothing differs.
func diff(want, got any) string {
	if reflect.DeepEqual(want, got) {
		return ""
	}
	return gocmp.Diff(want, got)
}

func (h *history) visit(verdicts map[uint64]verdict, part *ResidentPart, c *Classes) {
	for i := range PagesPerRegion {
		hot, warm, cold, resident := c.Hot.Has(i), c.Warm.Has(i), c.Cold.Has(i), part.Pages.Has(i)
		if !resident && (hot || warm || cold) || hot && warm || hot && cold || warm && cold {
			h.tb.Fatalf("page %d of region %d: resident %v, hot %v, warm %v, cold %v", i, part.Region, resident, hot, warm, cold)
		}
		class := "unobserved"
		switch {
		case !resident:
			continue
		case hot:
			class = "hot"
		case warm:
			class = "warm"
		case cold:
			class = "cold"
		}
		verdicts[part.Region*PagesPerRegion+uint64(i)] = verdict{Class: class}
	}
}

// monotonic checks that no counter of a series goes down while its process, or
// for merged series anything, lives.
func (h *history) monotonic(series []Series) {
	now := map[string]uint64{}
	for _, s := range series {
		id := fmt.Sprint(s.PID, s.Comm)
		if !h.model.params.LabelPID {
			id = s.Comm // is all the label there is
		}
		if s.PID > 0 {
			id = fmt.Sprint("own ", h.model.procs[s.PID].life)
		}
		for _, a := range s.Areas {
			for i, n := range a.Accesses.Counts {
				now[fmt.Sprint(id, a.Node, a.Type, i)] = n
			}
			now[fmt.Sprint(id, a.Node, a.Type, "sum")] = a.Accesses.Sum
			for i, n := range a.Reaccessed {
				now[fmt.Sprint(id, a.Node, a.Type, h.model.params.IdleAges[i])] = n
			}
		}
	}
	for k, n := range now {
		if was := h.counters[k]; n < was {
			h.tb.Fatalf("counter %s went from %d to %d", k, was, n)
		}
		h.counters[k] = n
	}
}

var seed = flag.Uint64("seed", 0, "the only random history to run")

func TestTrackerDoesWhatTheModelDoes(t *testing.T) {
	histories, windows := uint64(2000), 5
	if testing.Short() {
		histories = 200
	}
	base := uint64(time.Now().UnixNano())
	if *seed != 0 {
		base, histories = *seed, 1
	}
	seen := map[string]int{}
	for seed := base; seed < base+histories; seed++ {
		h := newHistory(t, seed)
		ok := t.Run(fmt.Sprintf("seed-%d", seed), func(t *testing.T) {
			h.tb = t
			for range windows {
				h.window()
			}
		})
		if !ok {
			t.Fatalf("repeat with -args -seed=%d; params %+v", seed, h.model.params)
		}
		for class, n := range h.seen {
			seen[class] += n
		}
	}
	t.Logf("seeds from %d; pages judged: %v", base, seen)
	if *seed != 0 {
		return
	}
	for _, class := range []string{"hot", "warm", "cold", "unobserved", "idle", "reaccessed", "idle region", "never accessed", "merged mapping", "unknown mapping"} {
		if seen[class] == 0 {
			t.Errorf("no history had a %s page", class)
		}
	}
}
