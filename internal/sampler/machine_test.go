package sampler

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"mglru_exporter/internal/config"
	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/memcg"
	"mglru_exporter/internal/process"
	"mglru_exporter/internal/source"
)

// machine is a fake of all that a Sampler works with: cgroups, /proc and a
// source. Each process has one region of resident pages.
type machine struct {
	mu      sync.Mutex
	cgroups map[string]uint64 // inode by path
	procs   map[int]*fakeProc
	sink    source.Sink
	watched map[int]bool
	walkers []heat.Walker
	refuse  map[int]bool
	// onIdentify runs as a pass looks at a process that it has listed.
	onIdentify func(pid int)
	// onAge runs inside a pass, before it says what it found.
	onAge func(path string)
	// onWatch runs as the source is told whom to watch, before it does as told.
	onWatch         func(add, remove []int)
	ageErr          error
	out             source.Outcome
	ages            []string
	started, closed bool
	startErr        error
}

type fakeProc struct {
	heat.Process
	cgroup string
	pages  int  // resident, from the start of the region
	young  int  // found young by each pass, from the start of the region
	silent bool // no walk takes it up
	resErr error
	// idErr is why it cannot be identified.
	idErr error
}

func newMachine() *machine {
	return &machine{cgroups: map[string]uint64{"/": 1}, procs: map[int]*fakeProc{}, watched: map[int]bool{}, refuse: map[int]bool{},
		out: source.Outcome{Nodes: 1, CPU: time.Millisecond}}
}

func (m *machine) add(pid int, cgroup string, pages, young int) *fakeProc {
	if m.cgroups[cgroup] == 0 {
		m.cgroups[cgroup] = uint64(100 + len(m.cgroups))
	}
	p := &fakeProc{Process: heat.Process{ProcessID: heat.ProcessID{TGID: pid, Start: uint64(pid), Image: 1}, Comm: fmt.Sprint("p", pid)},
		cgroup: cgroup, pages: pages, young: young}
	m.procs[pid] = p
	return p
}

func (m *machine) Walk() ([]memcg.Group, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []memcg.Group
	for path, inode := range m.cgroups {
		out = append(out, memcg.Group{Path: path, Inode: inode})
	}
	return out, nil
}

func (m *machine) Procs(path string) ([]int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cgroups[path] == 0 {
		return nil, memcg.ErrGone
	}
	var pids []int
	for pid, p := range m.procs {
		if p.cgroup == path {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids, nil
}

func (m *machine) Identify(pid int) (heat.Process, error) {
	if m.onIdentify != nil {
		m.onIdentify(pid)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.procs[pid]
	if p == nil {
		return heat.Process{}, process.ErrGone
	}
	return p.Process, p.idErr
}

func (m *machine) Residency(_ context.Context, pid int, res *heat.Residency) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.procs[pid]
	if p == nil {
		return process.ErrGone
	}
	if p.resErr != nil {
		return p.resErr
	}
	var b heat.Bitmap
	b.SetRange(0, p.pages)
	*res = heat.Residency{Parts: []heat.ResidentPart{{Region: 1, Pages: b}}}
	return nil
}

func (m *machine) Info() heat.SourceInfo {
	return heat.SourceInfo{Name: "fake", Granularity: "page"}
}

func (m *machine) Start(sink source.Sink) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sink, m.started = sink, m.startErr == nil
	return m.startErr
}

func (m *machine) Watch(add, remove []int) (refused []int, err error) {
	if m.onWatch != nil {
		m.onWatch(add, remove)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, pid := range remove {
		delete(m.watched, pid)
	}
	for _, pid := range add {
		if m.refuse[pid] {
			refused = append(refused, pid)
			continue
		}
		m.watched[pid] = true
	}
	return refused, nil
}

func (m *machine) Age(_ context.Context, req source.Request) (source.Outcome, error) {
	if m.onAge != nil {
		m.onAge(req.Path)
	}
	m.mu.Lock()
	m.ages = append(m.ages, req.Path)
	var records []heat.Record
	for pid, p := range m.procs {
		if p.cgroup != req.Path || !m.watched[pid] || p.silent {
			continue
		}
		records = append(records, heat.Record{Kind: heat.KindWalk, TGID: pid})
		var b heat.Bitmap
		b.SetRange(0, p.young)
		records = append(records, heat.Record{Kind: heat.KindYoung, TGID: pid, Start: heat.RegionSize, Anon: b})
	}
	out, err := m.out, m.ageErr
	m.mu.Unlock()
	m.sink(records)
	return out, err
}

func (m *machine) MemoryBytes() uint64 { return 4096 }

func (m *machine) OtherWalkers() []heat.Walker { return m.walkers }

func (m *machine) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

func newSampler(t *testing.T, m *machine, yaml string) *Sampler {
	t.Helper()
	cfg, err := config.Parse("test", []byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(cfg, m, Deps{Cgroups: m, Processes: m, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// started returns a Sampler that is stepped by Pass.
func started(t *testing.T, m *machine, yaml string) *Sampler {
	t.Helper()
	s := newSampler(t, m, yaml)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	discover(t, s)
	return s
}

func discover(t *testing.T, s *Sampler) {
	t.Helper()
	if err := s.Discover(time.Now()); err != nil {
		t.Fatal(err)
	}
}

func pass(t *testing.T, s *Sampler, path string, n int) {
	t.Helper()
	for range n {
		if _, err := s.Pass(context.Background(), path); err != nil {
			t.Fatal(err)
		}
	}
}

func group1(t *testing.T, s *Sampler, path string) heat.MemcgSnapshot {
	t.Helper()
	for _, m := range s.Snapshot().Memcgs {
		if m.Path == path {
			return *m
		}
	}
	t.Fatalf("no memcg %s in the snapshot", path)
	return heat.MemcgSnapshot{}
}

// pages are a series' pages: hot, warm, cold, unobserved.
func pages(t *testing.T, m heat.MemcgSnapshot, pid int) [4]uint64 {
	t.Helper()
	for _, s := range m.Series {
		if s.PID == pid {
			var out [4]uint64
			for _, a := range s.Areas {
				for i, b := range []uint64{a.Hot, a.Warm, a.Cold, a.Unobserved} {
					out[i] += b / heat.PageSize
				}
			}
			return out
		}
	}
	t.Fatalf("no series for %d in %s: %+v", pid, m.Path, m.Series)
	return [4]uint64{}
}

const twoPasses = "aging: {passes_per_window: 2}\nmemcgs:\n  - path: /a\n    processes: {min_resident: 0}\n"
