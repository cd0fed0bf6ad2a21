package sampler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mglru_exporter/internal/config"
	"mglru_exporter/internal/memcg"
)

func parse(t *testing.T, yaml string) *config.Config {
	t.Helper()
	cfg, err := config.Parse("test", []byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func reload(t *testing.T, s *Sampler, yaml string) {
	t.Helper()
	if err := s.Reload(parse(t, yaml)); err != nil {
		t.Fatal(err)
	}
}

// entries are memcgs of a config that give each process its series.
func entries(paths ...string) string {
	yaml := "memcgs:\n"
	for _, p := range paths {
		yaml += "  - path: " + p + "\n    processes: {min_resident: 0}\n"
	}
	return yaml
}

// TestReloadKeepsWhatIsKnown: a reload in the middle of a window costs a memcg
// that is in both configs neither the window nor its counters, whatever happens
// to the others.
func TestReloadKeepsWhatIsKnown(t *testing.T) {
	m := newMachine()
	m.add(1, "/a", 100, 10)
	m.add(2, "/b", 100, 10)
	m.add(3, "/c", 100, 10)
	s := started(t, m, "aging: {passes_per_window: 2}\n"+entries("/a", "/b"))
	pass(t, s, "/a", 2)
	pass(t, s, "/b", 2)
	reload(t, s, "aging: {passes_per_window: 2}\n"+entries("/a", "/c"))
	if _, err := s.Pass(t.Context(), "/b"); !errors.Is(err, ErrUnknownMemcg) {
		t.Errorf("a pass of a memcg that the config does not name any more: %v", err)
	}
	discover(t, s)
	pass(t, s, "/a", 1)
	a := group1(t, s, "/a")
	if got, want := pages(t, a, 1), ([4]uint64{10, 0, 90, 0}); got != want || a.WindowPasses != 2 || a.Passes.Passes != 3 {
		t.Errorf("after the reload the window of %d passes, of %d in all, has %v pages, want %v, 2 and 3", a.WindowPasses, a.Passes.Passes, got, want)
	}
	pass(t, s, "/c", 3)
	if got, want := pages(t, group1(t, s, "/c"), 3), ([4]uint64{10, 0, 90, 0}); got != want {
		t.Errorf("the memcg that is new in the config has %v pages, want %v", got, want)
	}
	var paths []string
	for _, m := range s.Snapshot().Memcgs {
		paths = append(paths, m.Path)
	}
	if diff := cmp.Diff([]string{"/a", "/c"}, paths); diff != "" {
		t.Errorf("memcgs in the snapshot, - want + got:\n%s", diff)
	}
	if m.watched[2] || !m.watched[1] || !m.watched[3] {
		t.Errorf("watched: %v, want 1 and 3", m.watched)
	}
	if n := s.Snapshot().Self.MemcgsRemoved; n != 0 {
		t.Errorf("%d memcgs count as removed, want 0: the cgroup is still there", n)
	}
}

// TestReloadWithinAWindow: the window under way is judged by as many passes as
// it had, whatever the config says by then of how many it is to have.
func TestReloadWithinAWindow(t *testing.T) {
	const half = "heat: {hot_fraction: 0.5}\n"
	for _, tc := range []struct {
		name             string
		before, after    int
		passes           int // of the window, before the reload
		more, windowHas  int // passes until it ends, passes it has
		want             [4]uint64
		youngBeforeAfter [2]int
	}{
		{"longer windows", 2, 4, 1, 3, 4, [4]uint64{10, 0, 90, 0}, [2]int{10, 10}},
		{"shorter windows, in time", 4, 2, 1, 1, 2, [4]uint64{10, 0, 90, 0}, [2]int{10, 10}},
		{"shorter windows, too late", 4, 1, 2, 1, 3, [4]uint64{10, 0, 90, 0}, [2]int{10, 10}},
		{"young in one pass of three is not hot, though one of one is", 4, 1, 2, 1, 3, [4]uint64{0, 10, 90, 0}, [2]int{0, 10}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newMachine()
			p := m.add(1, "/a", 100, tc.youngBeforeAfter[0])
			s := started(t, m, fmt.Sprintf("aging: {passes_per_window: %d}\n", tc.before)+half+entries("/a"))
			pass(t, s, "/a", 1+tc.passes)
			reload(t, s, fmt.Sprintf("aging: {passes_per_window: %d}\n", tc.after)+half+entries("/a"))
			p.young = tc.youngBeforeAfter[1]
			pass(t, s, "/a", tc.more)
			g := group1(t, s, "/a")
			if got := pages(t, g, 1); got != tc.want || g.WindowPasses != tc.windowHas {
				t.Errorf("window of %d passes: hot, warm, cold, unobserved = %v pages, want %d passes, %v", g.WindowPasses, got, tc.windowHas, tc.want)
			}
			pass(t, s, "/a", tc.after)
			if g := group1(t, s, "/a"); g.WindowPasses != tc.after {
				t.Errorf("the window after that has %d passes, want %d", g.WindowPasses, tc.after)
			}
		})
	}
}

// TestReloadKeepsIdleAges: what was known of pages' ages proves other idle ages
// too, as long as passes have proved them, and no longer ones.
func TestReloadKeepsIdleAges(t *testing.T) {
	m := newMachine()
	m.add(1, "/a", 100, 10)
	const oneAge = "aging: {interval: 30s, passes_per_window: 1}\nheat: {idle_ages: [30s]}\n"
	s := started(t, m, oneAge+entries("/a"))
	now := time.Unix(1000, 0)
	s.deps.Now = func() time.Time { return now }
	step := func(n int, interval time.Duration) {
		for range n {
			now = now.Add(interval)
			pass(t, s, "/a", 1)
		}
	}
	step(7, 30*time.Second) // 90 pages are idle for 150 s now: first seen, then six passes
	reload(t, s, "aging: {interval: 10s, passes_per_window: 1}\nheat: {idle_ages: [30s, 3m10s, 3m20s]}\n"+entries("/a"))
	step(1, 10*time.Second)
	a := group1(t, s, "/a")
	if diff := cmp.Diff([]time.Duration{30 * time.Second, 190 * time.Second, 200 * time.Second}, a.IdleAges); diff != "" {
		t.Errorf("idle ages, - want + got:\n%s", diff)
	}
	idle := a.Series[0].Areas[0].Idle
	const page = 4096
	if want := []uint64{90 * page, 90 * page, 0}; !slices.Equal(idle, want) {
		t.Errorf("idle bytes %v, want %v", idle, want)
	}
}

func TestReloadOfWhomToWatch(t *testing.T) {
	m := newMachine()
	m.add(1, "/a", 100, 10)
	m.add(2, "/a", 100, 10)
	s := started(t, m, twoPasses)
	pass(t, s, "/a", 1)
	reload(t, s, "aging: {passes_per_window: 2}\nlabels: {pid: false, comm: false}\nmemcgs:\n  - path: /**\n  - path: /a\n    processes: {min_resident: 0, comm: p1}\n")
	pass(t, s, "/a", 2)
	a := group1(t, s, "/a")
	if got, want := pages(t, a, 0), ([4]uint64{10, 0, 90, 0}); got != want || len(a.Series) != 1 {
		t.Errorf("%d series, the merged one has %v pages, want 1 with %v", len(a.Series), got, want)
	}
	if a.Passes.Resets["moved"] != 1 || m.watched[2] {
		t.Errorf("resets %v, watched %v: the process that is not selected any more was kept", a.Passes.Resets, m.watched)
	}
}

func TestReloadOfWhatIsMissing(t *testing.T) {
	m := newMachine()
	m.add(1, "/a", 100, 10)
	s := started(t, m, entries("/a", "/none"))
	if n := group1(t, s, "/none").Passes.Failures["memcg_missing"]; n != 1 {
		t.Fatalf("memcg_missing is %d, want 1", n)
	}
	reload(t, s, entries("/a"))
	discover(t, s)
	if got := s.Snapshot().Memcgs; len(got) != 1 {
		t.Errorf("memcgs after the reload: %+v, want /a alone", got)
	}
}

// brokenTree is a machine whose cgroups cannot all be listed, unless err is nil.
type brokenTree struct {
	*machine
	err error
}

func (b *brokenTree) Walk() ([]memcg.Group, error) {
	if b.err == nil {
		return b.machine.Walk()
	}
	return nil, b.err
}

func TestReloadForgetsWhatCannotBeListed(t *testing.T) {
	m := newMachine()
	m.add(1, "/a", 100, 10)
	m.add(2, "/b", 100, 10)
	s := started(t, m, entries("/a", "/b"))
	s.deps.Cgroups = &brokenTree{m, errors.New("permission denied")}
	reload(t, s, entries("/a"))
	if err := s.Discover(time.Now()); err == nil {
		t.Fatal("no error")
	}
	if s.groups["/a"] == nil || s.groups["/b"] != nil {
		t.Errorf("groups %v, want /a, which may be there, and not /b, which nobody wants", s.groups)
	}
	if n := len(s.Snapshot().Memcgs); n != 1 || s.missing["/a"] != 0 {
		t.Errorf("%d memcgs in the snapshot, want 1: /a counts as missing %d times", n, s.missing["/a"])
	}
}

func TestReloadOfTheBudget(t *testing.T) {
	now := time.Unix(1000, 0)
	b := newBudget(0.1)
	b.spend(now, 12*time.Second) // 6 s of debt
	b.setShare(now, 0.5)
	if w := b.turn(now, 0); w != 12*time.Second {
		t.Errorf("6 s of debt wait %v, want 12 s at the new share", w)
	}
	b.setShare(now.Add(time.Hour), 0.01)
	b.spend(now.Add(time.Hour), time.Second)
	if w := b.turn(now.Add(time.Hour), 0); w != 40*time.Second {
		t.Errorf("1 s of CPU makes wait %v, want 40 s: no more than a minute of the new share stays saved up", w)
	}
}

// TestReloadWakesRun: Run does not sleep through a reload, however long it was to
// sleep, and a shorter interval holds from then on, as does more concurrency.
func TestReloadWakesRun(t *testing.T) {
	m := newMachine()
	m.add(1, "/a", 100, 10)
	s := newSampler(t, m, "aging: {interval: 24h, cpu_budget: 1}\n"+entries("/a"))
	first, enough, both := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var mu sync.Mutex
	seen, inside := map[string]int{}, map[string]bool{}
	m.onAge = func(path string) {
		mu.Lock()
		seen[path]++
		inside[path] = true
		if seen[path] == 1 && path == "/a" {
			close(first)
		}
		together := len(inside) == 2
		mu.Unlock()
		if path == "/b" && !together {
			<-both // until /a is in a pass as well
		}
		mu.Lock()
		defer mu.Unlock()
		if len(inside) == 2 && !closed(both) {
			close(both)
		}
		delete(inside, path)
		if seen["/a"] >= 4 && seen["/b"] >= 3 && !closed(enough) {
			close(enough)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	<-first
	m.mu.Lock()
	m.add(2, "/b", 100, 10)
	m.mu.Unlock()
	reload(t, s, "aging: {interval: 100ms, cpu_budget: 1, concurrency: 2}\n"+entries("/a", "/b"))
	<-enough
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func closed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// TestReloadsWhilePassesRun: any number of reloads at any time, and every
// snapshot adds up, and nothing that each pass finds young reads cold.
func TestReloadsWhilePassesRun(t *testing.T) {
	m := newMachine()
	for pid := range 6 {
		m.add(pid+1, fmt.Sprintf("/%d", pid%3), 100, 10)
	}
	configs := []*config.Config{
		parse(t, "aging: {interval: 100ms, passes_per_window: 1, cpu_budget: 1, concurrency: 3}\nlimits: {max_tracked_bytes: 2MiB}\n"+entries("/*")),
		parse(t, "aging: {interval: 200ms, passes_per_window: 4, cpu_budget: 1}\nheat: {region_buckets: [0, 5], idle_ages: [1s]}\n"+entries("/0", "/1")),
		parse(t, "aging: {interval: 100ms, passes_per_window: 2, cpu_budget: 1, concurrency: 2}\nlabels: {pid: false}\nmemcgs: [{path: /1, processes: {min_resident: 0, comm: p2}}, {path: /2, aging: {interval: 300ms}, processes: {top: 0}}]\n"),
	}
	s, err := New(configs[0], m, newSampler(t, m, entries("/0")).deps)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var passes sync.WaitGroup
	passes.Add(40)
	left := 40
	m.onAge = func(string) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if left > 0 {
			left--
			passes.Done()
		}
	}
	var all sync.WaitGroup
	all.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	for worker := range 2 {
		all.Go(func() {
			for i := worker; ctx.Err() == nil; i++ {
				if err := s.Reload(configs[i%len(configs)]); err != nil {
					t.Error(err)
				}
				for _, g := range s.Snapshot().Memcgs {
					if err := g.Check(); err != nil {
						t.Error(err)
					}
					for _, series := range g.Series {
						for _, a := range series.Areas {
							if a.Resident > 0 && a.Cold*10 > a.Resident*9 {
								t.Errorf("%s: %d of %d bytes are cold, but a tenth is young in each pass", g.Path, a.Cold, a.Resident)
							}
						}
					}
				}
				select {
				case <-ctx.Done():
				case <-time.After(time.Duration(worker+1) * 7 * time.Millisecond):
				}
			}
		})
	}
	passes.Wait()
	cancel()
	all.Wait()
}
