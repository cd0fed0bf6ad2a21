package sampler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"mglru_exporter/internal/config"
	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/memcg"
	"mglru_exporter/internal/process"
	"mglru_exporter/internal/source"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// machine is a fake of all that a Sampler works with: cgroups, /proc and a
// source. Each process has one region of resident pages.
type machine struct {
	mu      sync.Mutex
	cgroups map[string]uint64 // inode by path
	procs   map[int]*fakeProc
	sink    source.Sink
	watched map[int]bool
	walkers []string
	refuse  map[int]bool
	// onAge runs inside a pass, before it says what it found.
	onAge func(path string)
	// onWatch runs as the source is told whom to watch, before it does as told.
	onWatch         func(add, remove []int)
	ageErr          error
	out             source.Outcome
	ages            []string
	started, closed bool
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
	m.sink, m.started = sink, true
	return nil
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

func (m *machine) OtherWalkers() []string { return m.walkers }

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
			return m
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

func TestWindows(t *testing.T) {
	for _, tc := range []struct {
		name string
		// fault is put in before the window.
		fault func(*machine)
		want  [4]uint64
	}{
		{"all goes well", func(*machine) {}, [4]uint64{10, 0, 90, 0}},
		{"the kernel fails", func(m *machine) { m.ageErr = &source.Failure{Reason: source.ReasonRaced, Err: unix.EAGAIN} }, [4]uint64{10, 0, 0, 90}},
		{"a record of the process is lost", func(m *machine) { m.out.Lost, m.out.LostBy = 1, []int{1} }, [4]uint64{10, 0, 0, 90}},
		{"a record of another process is lost", func(m *machine) { m.out.Lost, m.out.LostBy = 1, []int{2} }, [4]uint64{10, 0, 90, 0}},
		{"a record of nobody knows whom is lost", func(m *machine) { m.out.Lost = 1 }, [4]uint64{10, 0, 0, 90}},
		{"the walk does not take the process up", func(m *machine) { m.procs[1].silent = true }, [4]uint64{0, 0, 0, 100}},
		{"a node is not walked", func(m *machine) { m.out.Nodes = 3 }, [4]uint64{10, 0, 0, 90}},
		{"the process execs", func(m *machine) { m.procs[1].Image = 2 }, [4]uint64{0, 0, 0, 100}},
		{"the pid is reused", func(m *machine) { m.procs[1].Start = 99 }, [4]uint64{0, 0, 0, 100}},
		{"a walker is active that the source does not see", func(m *machine) { m.walkers = []string{"damon"} }, [4]uint64{10, 0, 0, 90}},
		{"pages appear", func(m *machine) { m.procs[1].pages = 120 }, [4]uint64{10, 0, 90, 20}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newMachine()
			m.add(1, "/a", 100, 10)
			s := started(t, m, twoPasses)
			pass(t, s, "/a", 1)
			if got, want := pages(t, group1(t, s, "/a"), 1), ([4]uint64{0, 0, 0, 100}); got != want {
				t.Errorf("after the first pass: %v pages, want %v", got, want)
			}
			tc.fault(m)
			for range 2 {
				if _, err := s.Pass(context.Background(), "/a"); err != nil && m.ageErr == nil {
					t.Fatal(err)
				}
			}
			if got := pages(t, group1(t, s, "/a"), 1); got != tc.want {
				t.Errorf("hot, warm, cold, unobserved = %v pages, want %v", got, tc.want)
			}
		})
	}
}

// TestWhatIsLostOfOtherMemcgs lets a pass of one memcg find out what another one's
// processes have lost to walkers that are not ours.
func TestWhatIsLostOfOtherMemcgs(t *testing.T) {
	for _, tc := range []struct {
		name  string
		fault func(*machine)
		want  [4]uint64
	}{
		{"nothing", func(*machine) {}, [4]uint64{10, 0, 90, 0}},
		{"a record of the process", func(m *machine) { m.out.Lost, m.out.LostBy = 1, []int{1} }, [4]uint64{10, 0, 0, 90}},
		{"a record of another process", func(m *machine) { m.out.Lost, m.out.LostBy = 1, []int{2} }, [4]uint64{10, 0, 90, 0}},
		{"a record of a process that is watched no more", func(m *machine) { m.out.Lost, m.out.LostBy = 1, []int{77} }, [4]uint64{10, 0, 90, 0}},
		{"a record of nobody knows whom", func(m *machine) { m.out.Lost = 1 }, [4]uint64{10, 0, 0, 90}},
		{"whatever there was while the probes were off", func(m *machine) { m.ageErr = &source.Failure{Reason: source.ReasonProbesOff} }, [4]uint64{10, 0, 0, 90}},
		{"a pass of its own", func(m *machine) { m.ageErr = &source.Failure{Reason: source.ReasonRaced} }, [4]uint64{10, 0, 90, 0}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newMachine()
			m.add(1, "/a", 100, 10)
			m.add(2, "/b", 100, 10)
			s := started(t, m, "aging: {passes_per_window: 2}\n"+entries("/a", "/b"))
			pass(t, s, "/a", 2)
			pass(t, s, "/b", 1)
			tc.fault(m)
			if _, err := s.Pass(t.Context(), "/b"); err != nil && m.ageErr == nil {
				t.Fatal(err)
			}
			m.out.Lost, m.out.LostBy, m.ageErr = 0, nil, nil
			pass(t, s, "/a", 1)
			if got := pages(t, group1(t, s, "/a"), 1); got != tc.want {
				t.Errorf("hot, warm, cold, unobserved = %v pages, want %v", got, tc.want)
			}
			pass(t, s, "/a", 2)
			if got, want := pages(t, group1(t, s, "/a"), 1), ([4]uint64{10, 0, 90, 0}); got != want {
				t.Errorf("in the window after that %v pages, want %v", got, want)
			}
		})
	}
}

func TestExecDuringPassDropsTheProcess(t *testing.T) {
	m := newMachine()
	m.add(1, "/a", 100, 10)
	m.add(2, "/a", 100, 10)
	s := started(t, m, twoPasses)
	pass(t, s, "/a", 2)
	m.onAge = func(string) {
		m.mu.Lock()
		m.procs[1].Image++
		m.mu.Unlock()
	}
	pass(t, s, "/a", 1)
	g := group1(t, s, "/a")
	if len(g.Series) != 1 || g.Series[0].PID != 2 {
		t.Errorf("series %+v, want one of process 2: what process 1 touched is nobody's", g.Series)
	}
	if g.Passes.Resets["exec"] != 1 {
		t.Errorf("resets %v, want one exec", g.Passes.Resets)
	}
}

func TestRefusedProcessIsTriedAgain(t *testing.T) {
	m := newMachine()
	m.add(1, "/a", 100, 10)
	m.refuse[1] = true
	s := started(t, m, twoPasses)
	pass(t, s, "/a", 3)
	g := group1(t, s, "/a")
	if got, want := pages(t, g, 1), ([4]uint64{0, 0, 0, 100}); got != want {
		t.Errorf("a process that cannot be watched reads %v, want %v", got, want)
	}
	if got := g.Passes.Failures[watchFailed]; got != 3 {
		t.Errorf("%d failures to watch, want 3", got)
	}
	m.refuse[1] = false
	pass(t, s, "/a", 4)
	if got, want := pages(t, group1(t, s, "/a"), 1), ([4]uint64{10, 0, 90, 0}); got != want {
		t.Errorf("once it can be watched it reads %v, want %v", got, want)
	}
}

// TestUnidentifiedProcessHasNotExited: who cannot be identified is left out, which
// counts as a failure for each pass, and not as an exit.
func TestUnidentifiedProcessHasNotExited(t *testing.T) {
	denied := errors.New("too many open files")
	for _, tc := range []struct {
		name string
		// fault is put in before a pass.
		fault func(*machine)
	}{
		{"before a pass", func(m *machine) { m.procs[1].idErr = denied }},
		{"during a pass", func(m *machine) {
			m.onAge = func(string) {
				m.mu.Lock()
				m.procs[1].idErr, m.onAge = denied, nil
				m.mu.Unlock()
			}
		}},
		{"and has moved", func(m *machine) { m.procs[1].idErr, m.procs[1].cgroup = denied, "/b" }},
	} {
		for _, others := range []int{0, 1} {
			t.Run(fmt.Sprintf("%s with %d others", tc.name, others), func(t *testing.T) {
				m := newMachine()
				p := m.add(1, "/a", 100, 10)
				if others > 0 {
					m.add(2, "/a", 100, 10)
				}
				s := started(t, m, "aging: {passes_per_window: 1}\n"+entries("/a"))
				pass(t, s, "/a", 2)
				tc.fault(m)
				pass(t, s, "/a", 1)
				g := group1(t, s, "/a")
				if g.Passes.Failures[identifyFailed] != 1 || g.Passes.Resets["exit"] != 0 || g.Passes.Resets["moved"] != 0 || len(g.Series) != others {
					t.Errorf("%d series, failures %v, resets %v; want %d series, one failure to identify, no reset",
						len(g.Series), g.Passes.Failures, g.Passes.Resets, others)
				}
				m.mu.Lock()
				p.idErr, p.cgroup = nil, "/a"
				m.mu.Unlock()
				pass(t, s, "/a", 2)
				g = group1(t, s, "/a")
				if got, want := pages(t, g, 1), ([4]uint64{10, 0, 90, 0}); got != want || g.Passes.Failures[identifyFailed] != 1 {
					t.Errorf("once it can be identified: %v pages, failures %v; want %v and still one", got, g.Passes.Failures, want)
				}
			})
		}
	}
}

func TestResidencyErrorIsCounted(t *testing.T) {
	m := newMachine()
	m.add(1, "/a", 100, 10).resErr = errors.New("permission denied")
	m.add(2, "/a", 100, 10)
	s := started(t, m, twoPasses)
	pass(t, s, "/a", 1)
	g := group1(t, s, "/a")
	if len(g.Series) != 1 || g.Passes.Failures[residencyFailed] != 1 {
		t.Errorf("%d series, failures %v; want one series and one failure", len(g.Series), g.Passes.Failures)
	}
}

// TestEmptyMemcgHasNoSeries lets the processes go in the middle of a window, of
// which no further pass comes: nothing may stay of them.
func TestEmptyMemcgHasNoSeries(t *testing.T) {
	for _, tc := range []struct {
		name string
		gone func(*machine, *Sampler)
	}{
		{"they exit before a pass", func(m *machine, _ *Sampler) { clear(m.procs) }},
		{"they exit during a pass", func(m *machine, _ *Sampler) {
			m.onAge = func(string) {
				m.mu.Lock()
				clear(m.procs)
				m.mu.Unlock()
			}
		}},
		{"they move", func(m *machine, s *Sampler) {
			m.procs[1].cgroup, m.procs[2].cgroup = "/b", "/b"
			pass(t, s, "/b", 1)
		}},
		{"they are not selected any more", func(_ *machine, s *Sampler) {
			reload(t, s, "aging: {passes_per_window: 4}\nmemcgs: [{path: /a, processes: {comm: nobody}}, {path: /b}]\n")
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newMachine()
			m.add(1, "/a", 100, 10)
			m.add(2, "/a", 100, 10)
			m.add(3, "/b", 100, 10)
			s := started(t, m, "aging: {passes_per_window: 4}\n"+entries("/a", "/b"))
			var ended heat.MemcgSnapshot
			s.deps.Ended = func(memcg string, _ error) {
				if memcg == "/a" {
					ended = group1(t, s, memcg)
				}
			}
			pass(t, s, "/a", 1)
			before := group1(t, s, "/a")
			tc.gone(m, s)
			pass(t, s, "/a", 2)
			now := group1(t, s, "/a")
			if len(before.Series) != 2 || len(now.Series) != 0 || len(ended.Series) != 0 {
				t.Errorf("%d series before, %d after, and %d as Ended was told of it; want 2, 0 and 0", len(before.Series), len(now.Series), len(ended.Series))
			}
			if !now.WindowEnd.After(before.WindowEnd) {
				t.Errorf("the window ended at %v, and the one before at %v", now.WindowEnd, before.WindowEnd)
			}
			last := s.Snapshot()
			pass(t, s, "/a", 1)
			if s.Snapshot() != last {
				t.Error("a pass with nothing to do made another snapshot")
			}
		})
	}
}

func TestMovedProcess(t *testing.T) {
	m := newMachine()
	p := m.add(1, "/a", 100, 10)
	m.add(2, "/b", 50, 0)
	s := started(t, m, "aging: {passes_per_window: 2}\nmemcgs:\n  - path: /*\n    processes: {min_resident: 0}\n")
	pass(t, s, "/a", 3)
	pass(t, s, "/b", 1)
	p.cgroup = "/b"
	pass(t, s, "/b", 2)
	if got, want := pages(t, group1(t, s, "/b"), 1), ([4]uint64{0, 0, 0, 100}); got != want {
		t.Errorf("where it went it reads %v, want %v", got, want)
	}
	pass(t, s, "/b", 2)
	if got, want := pages(t, group1(t, s, "/b"), 1), ([4]uint64{10, 0, 90, 0}); got != want {
		t.Errorf("a window later it reads %v, want %v", got, want)
	}
	pass(t, s, "/a", 1) // must not take the process back, nor stop watching it
	if !m.watched[1] || !m.watched[2] {
		t.Errorf("watched %v, want both", m.watched)
	}
	if g := group1(t, s, "/a"); g.TrackedProcesses != 0 || g.Passes.Resets["moved"] != 1 {
		t.Errorf("%d processes tracked where it was, resets %v", g.TrackedProcesses, g.Passes.Resets)
	}
}

// TestProcessOfARemovedMemcgIsTakenOver lets a pass of one memcg take over a process
// while another one, which is removed, lets it go: it has to be watched then.
func TestProcessOfARemovedMemcgIsTakenOver(t *testing.T) {
	m := newMachine()
	p := m.add(1, "/a", 100, 10)
	m.add(2, "/b", 100, 10)
	s := started(t, m, entries("/a", "/b"))
	pass(t, s, "/a", 1)
	pass(t, s, "/b", 1)
	p.cgroup = "/b"
	delete(m.cgroups, "/a")
	over, aged := make(chan struct{}), make(chan struct{})
	var once sync.Once
	m.onAge = func(string) { close(aged) }
	m.onWatch = func(_, remove []int) {
		if !slices.Contains(remove, 1) {
			return
		}
		once.Do(func() {
			go func() {
				defer close(over)
				if _, err := s.Pass(t.Context(), "/b"); err != nil {
					t.Error(err)
				}
			}()
			// The pass gets past its beginning, or must wait for us: then so be it.
			select {
			case <-aged:
			case <-time.After(100 * time.Millisecond):
			}
		})
	}
	discover(t, s)
	<-over
	if s.owner[1] != s.groups["/b"] || !m.watched[1] {
		t.Errorf("taken over: %v, watched: %v", s.owner[1] == s.groups["/b"], m.watched[1])
	}
}

func TestMemcgsComeAndGo(t *testing.T) {
	m := newMachine()
	m.add(1, "/a", 100, 10)
	s := started(t, m, "memcgs:\n  - path: /a\n  - path: /later\n  - path: /never*\n")
	if got := group1(t, s, "/later").Passes.Failures["memcg_missing"]; got != 1 {
		t.Errorf("a memcg that does not exist is counted %d times, want 1", got)
	}
	pass(t, s, "/a", 1)
	m.add(2, "/later", 10, 0)
	discover(t, s)
	pass(t, s, "/later", 1)
	if _, ok := group1(t, s, "/later").Passes.Failures["memcg_missing"]; ok {
		t.Error("a memcg that has come is still counted as missing")
	}
	// Removed, and made anew under the same path: nothing of it is the same.
	m.cgroups["/a"]++
	discover(t, s)
	if g := group1(t, s, "/a"); g.TrackedProcesses != 0 || !g.WindowEnd.IsZero() {
		t.Errorf("a memcg made anew has the old one's state: %+v", g)
	}
	delete(m.cgroups, "/a")
	delete(m.procs, 1)
	if _, err := s.Pass(context.Background(), "/a"); !errors.Is(err, memcg.ErrGone) {
		t.Errorf("pass of a removed memcg: %v, want %v", err, memcg.ErrGone)
	}
	if m.watched[1] {
		t.Error("a process of a removed memcg is still watched")
	}
	if n := s.Snapshot().Self.MemcgsRemoved; n != 2 {
		t.Errorf("%d memcgs removed, want 2", n)
	}
}

// TestListingErrorIsLoggedOnce: not each time, but when it is another one, or over.
func TestListingErrorIsLoggedOnce(t *testing.T) {
	m := newMachine()
	m.add(1, "/a", 100, 10)
	s := started(t, m, entries("/a"))
	var got []string
	s.deps.Log = slog.New(slog.NewTextHandler(onLine(func(line string) {
		_, line, _ = strings.Cut(line, "level=")
		got = append(got, strings.TrimSpace(line))
	}), nil))
	tree := &brokenTree{machine: m}
	s.deps.Cgroups = tree
	for _, err := range []string{"", "no", "no", "no", "never", "never", "", "", "no"} {
		tree.err = nil
		if err != "" {
			tree.err = errors.New(err)
		}
		s.discover(time.Now())
	}
	want := []string{
		`WARN msg="Listing cgroups" err=no`, `WARN msg="Listing cgroups" err=never`,
		`INFO msg="All cgroups can be listed again"`, `WARN msg="Listing cgroups" err=no`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func TestMostSpecificEntryWins(t *testing.T) {
	m := newMachine()
	m.add(1, "/a", 1, 0)
	m.add(2, "/b", 1, 0)
	s := started(t, m, "memcgs:\n  - path: /**\n  - path: /b\n    processes: {comm: nobody}\n")
	pass(t, s, "/a", 1)
	pass(t, s, "/b", 1)
	if a, b := group1(t, s, "/a"), group1(t, s, "/b"); a.TrackedProcesses != 1 || b.TrackedProcesses != 0 {
		t.Errorf("%d and %d processes tracked, want 1 and 0", a.TrackedProcesses, b.TrackedProcesses)
	}
}

func TestTrackedBytesAreBounded(t *testing.T) {
	m := newMachine()
	m.add(1, "/a", 100, 10)
	m.add(2, "/a", 200, 10)
	s := started(t, m, "aging: {passes_per_window: 1}\nlimits: {max_tracked_bytes: 2MiB}\nmemcgs:\n  - path: /a\n    processes: {min_resident: 0}\n")
	pass(t, s, "/a", 2)
	g := group1(t, s, "/a")
	if got, want := pages(t, g, 2), ([4]uint64{10, 0, 190, 0}); got != want {
		t.Errorf("the biggest process reads %v, want %v", got, want)
	}
	if got, want := pages(t, g, 1), ([4]uint64{0, 0, 0, 100}); got != want {
		t.Errorf("the process beyond the limit reads %v, want %v", got, want)
	}
	if g.UntrackedRegions != 1 {
		t.Errorf("%d regions are untracked, want the one of the process beyond the limit", g.UntrackedRegions)
	}
	clear(m.procs)
	pass(t, s, "/a", 2)
	if n := group1(t, s, "/a").UntrackedRegions; n != 0 {
		t.Errorf("%d regions of nobody are untracked", n)
	}
}

func TestRunAgesWhatIsDueAndStops(t *testing.T) {
	m := newMachine()
	m.add(1, "/a", 100, 10)
	m.add(2, "/b", 100, 10)
	s := newSampler(t, m, "aging: {interval: 100ms, passes_per_window: 1, cpu_budget: 1, concurrency: 2}\nmemcgs:\n  - path: /*\n    processes: {min_resident: 0}\n")
	if s.Ready() == nil {
		t.Error("ready before anything ran")
	}
	enough := make(chan struct{})
	var once sync.Once
	m.onAge = func(string) {
		m.mu.Lock()
		defer m.mu.Unlock()
		n := map[string]int{}
		for _, p := range m.ages {
			n[p]++
		}
		if n["/a"] >= 3 && n["/b"] >= 3 {
			once.Do(func() { close(enough) })
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	<-enough
	if err := s.Ready(); err != nil {
		t.Errorf("not ready after three windows: %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if !m.closed {
		t.Error("the source was not closed")
	}
	if diff := cmp.Diff([4]uint64{10, 0, 90, 0}, pages(t, group1(t, s, "/a"), 1)); diff != "" {
		t.Error(diff)
	}
}

func TestBudget(t *testing.T) {
	now := time.Unix(1000, 0)
	b := newBudget(0.1) // 6 s of CPU a minute
	if w := b.wait(now, time.Second); w != 0 {
		t.Errorf("a full budget makes wait %v", w)
	}
	b.spend(now, 6*time.Second)
	if w := b.wait(now, time.Second); w != 10*time.Second {
		t.Errorf("an empty budget makes 1 s of CPU wait %v, want 10 s", w)
	}
	if w := b.wait(now.Add(10*time.Second), time.Second); w != 0 {
		t.Errorf("after 10 s it waits %v more", w)
	}
	if w := b.wait(now.Add(time.Hour), time.Minute); w != 0 {
		t.Errorf("what costs more than a full budget waits %v for ever", w)
	}
	b.spend(now.Add(time.Hour), time.Minute)
	if w := b.wait(now.Add(time.Hour), 0); w != 540*time.Second {
		t.Errorf("54 s of debt wait %v, want 540 s", w)
	}
	b.spend(now, -time.Second) // clocks go back; time is not earned by it
	if w := b.wait(now.Add(time.Hour), 0); w < 540*time.Second {
		t.Errorf("a step back of the clock earned budget: %v", w)
	}
}

func TestOneSlotServesAllMemcgs(t *testing.T) {
	m := newMachine()
	for pid := range 5 {
		m.add(pid+1, fmt.Sprintf("/%d", pid), 10, 1)
	}
	s := newSampler(t, m, "aging: {interval: 100ms, cpu_budget: 1, concurrency: 1}\nmemcgs:\n  - path: /*\n")
	all := make(chan struct{})
	seen := map[string]int{}
	m.onAge = func(path string) { // one at a time: no lock needed
		seen[path]++
		for pid := range 5 {
			if seen[fmt.Sprintf("/%d", pid)] < 3 {
				return
			}
		}
		select {
		case <-all:
		default:
			close(all)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	<-all
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
