package sampler

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"mglru_exporter/internal/heat"
)

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
			s.deps.Published = func(memcg string) {
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
				t.Errorf("%d series before, %d after, and %d as Published was told of it; want 2, 0 and 0", len(before.Series), len(now.Series), len(ended.Series))
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
