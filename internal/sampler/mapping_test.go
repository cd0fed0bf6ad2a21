package sampler

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/process"
	"mglru_exporter/internal/source"
)

// mappings is the fake machine with a source that sees whole mappings. Of each
// process the pages found young are hot, and the others cold, from the second
// time in a row on that it is observed in the same memcg.
type mappings struct {
	*machine
	observed map[int]int
	in       map[int]uint64
	fail     map[int]error
	limits   []uint64
}

func newMappings() *mappings {
	return &mappings{machine: newMachine(), observed: map[int]int{}, in: map[int]uint64{}, fail: map[int]error{}}
}

func (m *mappings) Info() heat.SourceInfo {
	return heat.SourceInfo{Name: "fake", Granularity: "mapping"}
}

func (m *mappings) SetMaxProcess(bytes uint64) { m.limits = append(m.limits, bytes) }

func (m *mappings) SkipReasons() []string { return []string{"fog"} }

func (m *mappings) Age(context.Context, source.Request) (source.Outcome, error) {
	panic("a memcg was aged")
}

func (m *mappings) Observe(id heat.Process, _ *heat.Selection) (*heat.MappingWindow, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.procs[id.TGID]
	if err := m.fail[id.TGID]; err != nil {
		return nil, err
	}
	if p == nil {
		return nil, process.ErrGone
	}
	if m.in[id.TGID] != id.Memcg {
		m.in[id.TGID], m.observed[id.TGID] = id.Memcg, 0
	}
	m.observed[id.TGID]++
	a := heat.Area{Type: heat.Anon, Resident: uint64(p.pages) * heat.PageSize}
	w := &heat.MappingWindow{SwappedBytes: heat.PageSize}
	if m.observed[id.TGID] == 1 {
		a.Unobserved = a.Resident
		w.Skips = []string{"fog"}
	} else {
		a.Hot = uint64(p.young) * heat.PageSize
		a.Cold = a.Resident - a.Hot
	}
	w.AddArea(a)
	if m.onAge != nil {
		m.onAge(p.cgroup)
	}
	return w, nil
}

// mappingConfig asks for windows of more than one pass, in vain.
const mappingConfig = `
aging: {passes_per_window: 4}
memcgs: [{path: /a, processes: {min_resident: 0B}}]
`

func newMappingSampler(t *testing.T, m *mappings) *Sampler {
	t.Helper()
	s := newSampler(t, m.machine, mappingConfig)
	s, err := New(s.plan.Load().cfg, m, s.deps)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	if err := s.Discover(time.Now()); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAWindowOfMappingsIsOnePass(t *testing.T) {
	m := newMappings()
	m.add(1, "/a", 100, 10)
	m.add(2, "/a", 50, 5)
	s := newMappingSampler(t, m)
	pass := func() heat.MemcgSnapshot {
		t.Helper()
		if _, err := s.Pass(t.Context(), "/a"); err != nil {
			t.Fatal(err)
		}
		return group1(t, s, "/a")
	}
	got := pass()
	if got.WindowPasses != 1 || got.WindowEnd.IsZero() || got.Passes.Skips["fog"] != 2 || got.Passes.Passes != 1 {
		t.Errorf("first pass: %+v", got)
	}
	got = pass()
	want := []heat.Series{
		{PID: 1, Comm: "p1", SwappedBytes: heat.PageSize, Areas: []heat.Area{{Hot: 10 * heat.PageSize, Cold: 90 * heat.PageSize, Resident: 100 * heat.PageSize}}},
		{PID: 2, Comm: "p2", SwappedBytes: heat.PageSize, Areas: []heat.Area{{Hot: 5 * heat.PageSize, Cold: 45 * heat.PageSize, Resident: 50 * heat.PageSize}}},
	}
	if diff := cmp.Diff(want, got.Series); diff != "" {
		t.Errorf("second pass (-want +got):\n%s", diff)
	}
	if got.WindowPasses != 1 || got.Passes.Passes != 2 || got.TrackedProcesses != 2 || got.TrackedRegions != 0 {
		t.Errorf("second pass: %+v", got)
	}

	// One is denied us, the other executes a program while it is looked at.
	m.fail[1] = errors.New("permission denied")
	m.onAge = func(string) { m.procs[2].Image = 2 }
	got = pass()
	if len(got.Series) != 0 || got.Passes.Failures["residency"] != 1 || got.Passes.Resets["exec"] != 1 {
		t.Errorf("third pass: %+v", got)
	}
	m.fail[1], m.onAge = process.ErrGone, nil
	if got = pass(); got.Passes.Failures["residency"] != 1 || len(got.Series) != 1 {
		t.Errorf("fourth pass: %+v", got)
	}
	if s.Snapshot().Self.CPUSeconds["residency"] != 0 {
		t.Error("residency was read as well")
	}
}

// TestAProcessThatMovesBeginsUnobserved: the source is told which memcg a process
// is in, and what it knew before says nothing there.
func TestAProcessThatMovesBeginsUnobserved(t *testing.T) {
	m := newMappings()
	p := m.add(1, "/a", 100, 10)
	m.add(2, "/b", 1, 0)
	s := newSampler(t, m.machine, "memcgs: [{path: /*, processes: {min_resident: 0B}}]\n")
	s, err := New(s.plan.Load().cfg, m, s.deps)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	discover(t, s)
	for i, tc := range []struct {
		in   string
		want [4]uint64
	}{
		{"/a", [4]uint64{0, 0, 0, 100}},
		{"/a", [4]uint64{10, 0, 90, 0}},
		{"/b", [4]uint64{0, 0, 0, 100}},
		{"/b", [4]uint64{10, 0, 90, 0}},
		{"/a", [4]uint64{0, 0, 0, 100}},
	} {
		p.cgroup = tc.in
		pass(t, s, tc.in, 1)
		if got := pages(t, group1(t, s, tc.in), 1); got != tc.want {
			t.Errorf("pass %d, in %s: hot, warm, cold and unobserved pages are %v, want %v", i, tc.in, got, tc.want)
		}
	}
}

func TestAPassOfMappingsThatIsInterruptedEndsNoWindow(t *testing.T) {
	m := newMappings()
	m.add(1, "/a", 100, 10)
	s := newMappingSampler(t, m)
	ctx, cancel := context.WithCancel(t.Context())
	m.onAge = func(string) { cancel() }
	if _, err := s.Pass(ctx, "/a"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if got := group1(t, s, "/a"); !got.WindowEnd.IsZero() {
		t.Errorf("window %+v", got)
	}
}

func TestTheSecondPassOfMappingsComesSoon(t *testing.T) {
	m := newMappings()
	m.add(1, "/a", 100, 10)
	s := newMappingSampler(t, m)
	g := s.groups["/a"]
	for i, tc := range []struct{ interval, want time.Duration }{
		{time.Minute, firstMappingWindow}, {time.Minute, time.Minute},
	} {
		g.entry.Interval = tc.interval
		g.due = time.Now()
		s.pass(t.Context(), g)
		if got := time.Until(g.due); got > tc.want || got < tc.want-5*time.Second {
			t.Errorf("pass %d: the next is due in %v, want %v", i, got, tc.want)
		}
	}
	if g.entry.Interval = time.Second; s.nextAfter(g, true) != time.Second {
		t.Error("a short interval was made longer")
	}
}

// TestMappingSourcesReportOtherWalkers: the snapshot names DAMON with a source
// that sees mappings only, too.
func TestMappingSourcesReportOtherWalkers(t *testing.T) {
	m := newMappings()
	m.add(1, "/a", 100, 10)
	s := newMappingSampler(t, m)
	want := []heat.Walker{{Name: "damon_stat", Unobserved: heat.UnobservedShared}}
	m.walkers = want
	pass(t, s, "/a", 1)
	if diff := cmp.Diff(want, s.Snapshot().Self.OtherWalkers); diff != "" {
		t.Errorf("with DAMON on (-want +got):\n%s", diff)
	}
	m.walkers = nil
	pass(t, s, "/a", 1)
	if got := s.Snapshot().Self.OtherWalkers; len(got) != 0 {
		t.Errorf("with DAMON off: %v", got)
	}
}

// TestTheLimitOfAProcessIsTheConfigs: a reload changes it.
func TestTheLimitOfAProcessIsTheConfigs(t *testing.T) {
	m := newMappings()
	s := newMappingSampler(t, m)
	for _, yaml := range []string{"referenced: {max_process: 2GiB}\n", "referenced: {max_process: 0}\n"} {
		if err := s.Reload(parse(t, yaml+mappingConfig)); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]uint64{512 << 20, 2 << 30, 0}, m.limits); diff != "" {
		t.Errorf("limits (-want +got):\n%s", diff)
	}
}
