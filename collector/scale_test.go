package collector_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"

	"mglru_exporter/collector"
	"mglru_exporter/internal/heat"
)

// TestFleet holds 5,000 processes in 200 memcgs, which are born, exit, exec and
// move, to what the limits promise: series never exceed the cap, and no counter goes
// down for as long as its process lives.
func TestFleet(t *testing.T) {
	for _, c := range []struct {
		name      string
		opts      collector.Options
		top       int
		least     uint64 // resident pages for series of their own
		windows   int
		mustExist bool // the cap leaves room for all
	}{
		{"each process", collector.Options{LabelPID: true, LabelComm: true, MaxSeries: 20_000}, 20, 64, 8, false},
		{"top 3, merged others", collector.Options{LabelPID: true, LabelComm: true, MaxSeries: 200_000}, 3, 64, 8, true},
		{"without pid", collector.Options{LabelComm: true, MaxSeries: 20_000}, 20, 64, 8, false},
		{"without pid and comm", collector.Options{MaxSeries: 5_000}, 20, 64, 8, false},
		// The names of a memcg, and the whole of it, have about as much.
		{"without pid, across min_resident", collector.Options{LabelComm: true, MaxSeries: 200_000}, 20, 2_300, 8, true},
		{"without pid and comm, across min_resident", collector.Options{MaxSeries: 200_000}, 20, 13_000, 8, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFleet(t, 200, 25, c.opts, c.top, c.least)
			var snap *heat.Snapshot
			col := collector.New(func() *heat.Snapshot { return snap }, c.opts)
			seen := map[string]float64{}
			var dropped float64
			for window := range c.windows {
				snap = f.window(window)
				forget(seen, f.gone)
				clear(f.gone)
				families := gather(t, col)
				n, processes := 0, 0
				for _, family := range families {
					for _, m := range family.GetMetric() {
						n += seriesOf(m)
						if slices.Contains(processFamilies, strings.TrimPrefix(family.GetName(), "mglru_")) {
							processes++
						}
						checkRises(t, seen, family, m, window)
					}
					if family.GetName() == "mglru_series_dropped_total" {
						now := family.GetMetric()[0].GetCounter().GetValue()
						if c.mustExist && now > 0 {
							t.Errorf("window %d: %v series dropped, though there is room", window, now)
						}
						dropped = now
					}
				}
				if n > c.opts.MaxSeries {
					t.Errorf("window %d: %d series, at most %d are allowed", window, n, c.opts.MaxSeries)
				}
				if processes == 0 {
					t.Fatalf("window %d: no series of processes", window)
				}
			}
			if !c.mustExist && dropped == 0 {
				t.Error("nothing was dropped: the cap was not put to the test")
			}
		})
	}
}

// processFamilies are those that max_series bounds.
var processFamilies = []string{
	"hot_bytes", "warm_bytes", "cold_bytes", "unobserved_bytes", "resident_bytes", "swapped_bytes",
	"region_accesses", "idle_bytes", "reaccessed_bytes_total", "heat_ratio",
	"excluded_bytes", "mapping_never_accessed_bytes", "address_accesses", "address_resident_bytes", "address_band_info",
}

// TestProcessFamiliesAreAllOfThem: those are all that have the label pid, but for
// what names the few processes that block reads, which has a bound of its own.
func TestProcessFamiliesAreAllOfThem(t *testing.T) {
	var got []string
	for _, f := range gather(t, collector.New(fixed(twoNodes()), all())) {
		if slices.ContainsFunc(f.GetMetric()[0].GetLabel(), func(l *dto.LabelPair) bool { return l.GetName() == "pid" }) &&
			f.GetName() != "mglru_process_blocked_timestamp_seconds" {
			got = append(got, strings.TrimPrefix(f.GetName(), "mglru_"))
		}
	}
	if diff := cmp.Diff(slices.Sorted(slices.Values(processFamilies)), slices.Sorted(slices.Values(got))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// seriesOf is how many series Prometheus makes of a metric.
func seriesOf(m *dto.Metric) int {
	if h := m.GetHistogram(); h != nil {
		n := len(h.GetBucket()) + 3
		if h.CreatedTimestamp != nil {
			n++
		}
		return n
	}
	if m.GetCounter().GetCreatedTimestamp() != nil {
		return 2
	}
	return 1
}

// checkRises checks that a counter, or each count of a histogram, is no less than
// when it was last seen.
func checkRises(t *testing.T, seen map[string]float64, family *dto.MetricFamily, m *dto.Metric, window int) {
	t.Helper()
	key := family.GetName()
	for _, l := range m.GetLabel() {
		key += fmt.Sprintf(",%s=%q", l.GetName(), l.GetValue())
	}
	rises := func(part string, v float64) {
		if last, ok := seen[key+part]; ok && v < last {
			t.Errorf("window %d: %s%s went down from %v to %v", window, key, part, last, v)
		}
		seen[key+part] = v
	}
	switch {
	case m.GetCounter() != nil:
		rises("", m.GetCounter().GetValue())
	case m.GetHistogram() != nil:
		h := m.GetHistogram()
		rises(" count", float64(h.GetSampleCount()))
		rises(" sum", h.GetSampleSum())
		for _, b := range h.GetBucket() {
			rises(fmt.Sprint(" le ", b.GetUpperBound()), float64(b.GetCumulativeCount()))
		}
	}
}

// forget drops what was seen of processes: others with their pids begin at 0.
func forget(seen map[string]float64, pids map[int]bool) {
	maps.DeleteFunc(seen, func(key string, _ float64) bool {
		_, after, _ := strings.Cut(key, `,pid="`)
		pid, _, _ := strings.Cut(after, `"`)
		n, err := strconv.Atoi(pid)
		return err == nil && pids[n]
	})
}

// A fleet is many memcgs, each with its tracker, and processes that come and go.
type fleet struct {
	t      *testing.T
	rng    *rand.Rand
	memcgs []*fleetMemcg
	nextID int
	now    time.Time
	// gone are the pids whose history was dropped since the last look.
	gone map[int]bool
}

type fleetMemcg struct {
	path    string
	tracker *heat.Tracker
	procs   []heat.Process
}

// fleetPaths are the forms that the paths of memcgs have, see
// internal/memcg/container_test.go.
var fleetPaths = []string{
	"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod%08[1]x_b29f_11e7_9350_020968147796.slice/cri-containerd-%064[1]x.scope",
	"/kubepods/burstable/pod%08[1]x-b29f-11e7-9350-020968147796/%064[1]x",
	"/kubepods.slice/kubepods-pod%08[1]x_b29f_11e7_9350_020968147796.slice/crio-%064[1]x.scope/container",
	"/system.slice/docker-%064[1]x.scope",
	"/system.slice/service-%[1]d.service",
}

func newFleet(t *testing.T, memcgs, procs int, opts collector.Options, top int, least uint64) *fleet {
	f := &fleet{t: t, rng: rand.New(rand.NewPCG(1, 2)), nextID: 1000, now: time.Unix(1_000_000, 0), gone: map[int]bool{}}
	for i := range memcgs {
		tracker, err := heat.NewTracker(heat.Params{
			PassesPerWindow: 4, HotFraction: 0.5, RegionBuckets: []uint64{0, 1, 8, 64, 256, 512, 1024, 2048},
			Top: top, MinResident: least * heat.PageSize, LabelPID: opts.LabelPID, LabelComm: opts.LabelComm,
			IdleAges: []time.Duration{time.Minute, 5 * time.Minute}, Average: 10 * time.Minute,
		})
		if err != nil {
			t.Fatal(err)
		}
		m := &fleetMemcg{path: fmt.Sprintf(fleetPaths[i%len(fleetPaths)], i), tracker: tracker}
		for range procs {
			m.procs = append(m.procs, f.newProcess())
		}
		f.memcgs = append(f.memcgs, m)
	}
	return f
}

// newProcess is one of a few names, one of which is no UTF-8, and one empty.
func (f *fleet) newProcess() heat.Process {
	f.nextID++
	comm := []string{"postgres", "java", "nginx", "sh\xff", "a\nb", ""}[f.rng.IntN(6)]
	return heat.Process{ProcessID: heat.ProcessID{TGID: f.nextID, Start: uint64(f.nextID), Image: 1}, Comm: comm}
}

// window runs one window of each memcg.
func (f *fleet) window(n int) *heat.Snapshot {
	snap := &heat.Snapshot{Source: heat.SourceInfo{Name: "hooks", Granularity: "page"}}
	for i, m := range f.memcgs {
		f.comeAndGo(i)
		residency := map[int]*heat.Residency{}
		for pass := range 4 {
			f.now = f.now.Add(25 * time.Millisecond)
			m.tracker.Begin(f.now, m.procs, func(heat.ProcessID) bool { return true })
			for _, p := range m.procs {
				if pass == 3 {
					residency[p.TGID] = f.residency(p)
				}
				m.tracker.Walked(p.TGID, 0)
				var young heat.Bitmap
				young.SetRange(f.rng.IntN(100), 100+f.rng.IntN(300))
				m.tracker.Fold(p.TGID, 16+uint64(f.rng.IntN(3)), &young)
			}
			m.tracker.EndPass(f.now, 1, f.rng.IntN(50) == 0)
		}
		series, err := m.tracker.EndWindow(residency, heat.Observers{})
		if err != nil {
			f.t.Fatal(err)
		}
		snap.Memcgs = append(snap.Memcgs, &heat.MemcgSnapshot{
			Path: m.path, WindowEnd: f.now, WindowPasses: 4, Series: series,
			IdleAges: []time.Duration{time.Minute, 5 * time.Minute}, Passes: heat.PassStats{Passes: uint64(4 * (n + 1))},
		})
	}
	f.now = f.now.Add(2 * time.Minute)
	return snap
}

// comeAndGo has some processes of a memcg exit, exec or move to the next memcg,
// and others begin.
func (f *fleet) comeAndGo(i int) {
	m := f.memcgs[i]
	next := f.memcgs[(i+1)%len(f.memcgs)]
	kept := m.procs[:0]
	for _, p := range m.procs {
		switch f.rng.IntN(40) {
		case 0: // exits, and another begins
			f.gone[p.TGID] = true
			kept = append(kept, f.newProcess())
		case 1: // exec
			f.gone[p.TGID] = true
			p.Image++
			kept = append(kept, p)
		case 2:
			f.gone[p.TGID] = true
			next.procs = append(next.procs, p)
		default:
			kept = append(kept, p)
		}
	}
	m.procs = kept
}

// residency is up to three regions, of one process as big as its number says.
func (f *fleet) residency(p heat.Process) *heat.Residency {
	res := &heat.Residency{SwappedPages: uint64(f.rng.IntN(10))}
	for r := range uint64(1 + p.TGID%3) {
		var pages heat.Bitmap
		pages.SetRange(0, 10+(p.TGID*37+f.rng.IntN(200))%heat.PagesPerRegion)
		res.Parts = append(res.Parts, heat.ResidentPart{Region: 16 + r, Type: heat.Type(p.TGID % 3), Pages: pages})
	}
	return res
}
