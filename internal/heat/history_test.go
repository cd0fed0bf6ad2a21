package heat

import (
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
	"github.com/google/go-cmp/cmp/cmpopts"
)

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
	// When counters began is not the model's: TestReloadOfOneCounterKeepsTheOthers has it.
	return gocmp.Diff(want, got, cmpopts.IgnoreFields(Area{}, "Since"), cmpopts.IgnoreFields(Histogram{}, "Since"))
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
