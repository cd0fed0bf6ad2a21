package sampler

import (
	"context"
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/source"
)

// TestTrackedBytesAreBoundedOverMemcgs: what one memcg watches, another may not.
func TestTrackedBytesAreBoundedOverMemcgs(t *testing.T) {
	m := newMachine()
	m.add(1, "/a", 100, 10)
	m.add(2, "/b", 100, 10)
	m.add(3, "/b", 200, 10)
	s := started(t, m, "aging: {passes_per_window: 1}\nlimits: {max_tracked_bytes: 4MiB}\n"+entries("/a", "/b"))
	pass(t, s, "/a", 2)
	pass(t, s, "/b", 2)
	b := group1(t, s, "/b")
	if got, want := pages(t, b, 3), ([4]uint64{10, 0, 190, 0}); got != want {
		t.Errorf("the biggest process reads %v, want %v", got, want)
	}
	if got, want := pages(t, b, 2), ([4]uint64{0, 0, 0, 100}); got != want {
		t.Errorf("the one for which the other memcg leaves no room reads %v, want %v", got, want)
	}
	m.procs[1].cgroup = "/elsewhere"
	pass(t, s, "/a", 1)
	pass(t, s, "/b", 2)
	if got, want := pages(t, group1(t, s, "/b"), 2), ([4]uint64{10, 0, 90, 0}); got != want {
		t.Errorf("where the other memcg leaves room it reads %v, want %v", got, want)
	}
}

// TestTopZeroMergesAll: no process is large enough for series of its own.
func TestTopZeroMergesAll(t *testing.T) {
	m := newMachine()
	m.add(1, "/a", 100, 10)
	m.add(2, "/a", 50, 10)
	s := started(t, m, "memcgs: [{path: /a, processes: {top: 0, min_resident: 0}}]\n")
	pass(t, s, "/a", 1)
	a := group1(t, s, "/a")
	if len(a.Series) != 1 || a.Series[0].PID != heat.PIDOther {
		t.Errorf("series %+v, want one of the other processes", a.Series)
	}
}

// asked is a machine that remembers what was asked of its source.
type asked struct {
	*machine
	requests []source.Request
}

func (a *asked) Age(ctx context.Context, req source.Request) (source.Outcome, error) {
	a.requests = append(a.requests, req)
	return a.machine.Age(ctx, req)
}

// TestWhatIsAskedOfTheSource: the config and the window say how a pass is to run.
func TestWhatIsAskedOfTheSource(t *testing.T) {
	for _, tc := range []struct {
		name, yaml           string
		canSwap, onlyWatched bool
	}{
		{"by default", twoPasses, true, false},
		{"no swap", "aging: {passes_per_window: 2, can_swap: false}\nmemcgs: [{path: /a}]\n", false, false},
		{"some processes", "aging: {passes_per_window: 2}\nmemcgs: [{path: /a, processes: {comm: p1}}]\n", true, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := &asked{machine: newMachine()}
			p := m.add(1, "/a", 100, 10)
			cfg := parse(t, tc.yaml)
			s, err := New(cfg, m, Deps{Cgroups: m, Processes: m, Log: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Start(); err != nil {
				t.Fatal(err)
			}
			discover(t, s)
			pass(t, s, "/a", 3)
			var resident heat.Bitmap
			resident.SetRange(0, p.pages)
			watched := p.Process
			watched.Memcg = m.cgroups["/a"]
			within := source.Request{
				Path: "/a", Inode: watched.Memcg, CanSwap: tc.canSwap, OnlyWatched: tc.onlyWatched, Processes: []heat.Process{watched},
			}
			ends := within
			ends.Residency = map[int]*heat.Residency{1: {Parts: []heat.ResidentPart{{Region: 1, Pages: resident}}}}
			// The first pass is a window, and then two are.
			if diff := cmp.Diff([]source.Request{ends, within, ends}, m.requests); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
		})
	}
}

// TestRecordedWindowsMayBeLongerThanTheConfigThinks: played with the windows of a
// recording, never_accessed.windows may be more passes than can be told apart.
func TestRecordedWindowsMayBeLongerThanTheConfigThinks(t *testing.T) {
	m := newMachine()
	m.add(1, "/a", 100, 10)
	s := newSampler(t, m, "aging: {passes_per_window: 1}\nheat: {never_accessed: {windows: 200}}\n"+entries("/a"))
	cfg := *s.plan.Load().cfg
	cfg.Aging.PassesPerWindow = heat.MaxPassesPerWindow
	if err := s.Reload(&cfg); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	discover(t, s)
	pass(t, s, "/a", 1+heat.MaxPassesPerWindow)
	if got, want := pages(t, group1(t, s, "/a"), 1), ([4]uint64{10, 0, 90, 0}); got != want {
		t.Errorf("hot, warm, cold, unobserved = %v pages, want %v", got, want)
	}
}
