package sampler

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mglru_exporter/internal/heat"
)

// TestNextWaitsForTheBudget: what is due waits until what it used last time has
// been saved up.
func TestNextWaitsForTheBudget(t *testing.T) {
	m := newMachine()
	m.add(1, "/a", 100, 10)
	s := newSampler(t, m, "aging: {cpu_budget: 0.5}\n"+entries("/a"))
	now := time.Unix(1000, 0)
	if err := s.Discover(now); err != nil {
		t.Fatal(err)
	}
	g := s.groups["/a"]
	g.cost = 2 * time.Second
	s.budget.spend(now, 29*time.Second) // of 30 s
	if got, wait := s.next(now); got != nil || wait != 2*time.Second {
		t.Errorf("with 1 s saved up, a pass of 2 s: %v, wait %v; want none and 2 s at half a CPU", got, wait)
	}
	if got, wait := s.next(now.Add(2 * time.Second)); got != g || wait != 0 {
		t.Errorf("2 s later: %v, wait %v; want the pass to begin", got, wait)
	}
}

// timeless makes nothing be saved up, so that what is spent shows to the
// nanosecond.
func timeless(s *Sampler) {
	s.budget.spend(time.Now().Add(time.Hour), 0)
}

func TestAPassSpendsWhatItCosts(t *testing.T) {
	m := newMachine()
	m.add(1, "/a", 100, 10).silent = true // nobody takes records meanwhile
	s := started(t, m, entries("/a"))
	timeless(s)
	before, g := s.budget.saved, s.groups["/a"]
	m.onAge = func(string) { work() }
	s.pass(t.Context(), g)
	folded := s.cpu.parts["fold"]
	if spent := before - s.budget.saved; g.cost < time.Millisecond || spent != g.cost+folded {
		t.Errorf("spent %v of the budget, on a pass that cost %v, and %v for its records", spent, g.cost, folded)
	}
}

func TestTakingRecordsIsSpent(t *testing.T) {
	m := newMachine()
	m.add(1, "/a", 100, 10)
	s := started(t, m, entries("/a"))
	pass(t, s, "/a", 1)
	timeless(s)
	before, had := s.budget.saved, s.cpu.parts["fold"]
	records := make([]heat.Record, 20_000)
	for i := range records {
		records[i] = heat.Record{Kind: heat.KindYoung, TGID: 1, Start: heat.RegionSize, Anon: onePage(i % heat.PagesPerRegion)}
	}
	m.sink(records)
	spent, folded := before-s.budget.saved, s.cpu.parts["fold"]-had
	if spent <= 0 || spent != folded {
		t.Errorf("spent %v of the budget, for records that took %v", spent, folded)
	}
}

// work uses a few milliseconds of CPU time.
func work() {
	for begin := threadTime(); threadTime()-begin < 2*time.Millisecond; {
	}
}

func TestReloadSetsTheBudget(t *testing.T) {
	s := newSampler(t, newMachine(), "aging: {cpu_budget: 0.5}\n"+entries("/a"))
	reload(t, s, "aging: {cpu_budget: 0.25}\n"+entries("/a"))
	if s.budget.share != 0.25 {
		t.Errorf("the budget's share is %v, want 0.25", s.budget.share)
	}
}

// TestALatePassIsCountedAndCaughtUpWith: what is late is due again as if it had not
// been, unless a whole interval has gone by.
func TestALatePassIsCountedAndCaughtUpWith(t *testing.T) {
	const interval = 30 * time.Second
	for _, tc := range []struct {
		name    string
		late    time.Duration
		catches bool
	}{
		{"in time", -time.Hour, true},
		{"a little late", 10 * time.Second, true},
		{"later than an interval", time.Hour, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newMachine()
			m.add(1, "/a", 100, 10)
			s := started(t, m, "aging: {interval: 30s}\n"+entries("/a"))
			g, begin := s.groups["/a"], time.Now()
			due := begin.Add(-tc.late)
			g.due = due
			s.pass(t.Context(), g)
			if next := due.Add(interval); tc.catches && !g.due.Equal(next) {
				t.Errorf("due %v after it was, want %v", g.due.Sub(due), interval)
			} else if !tc.catches && g.due.Before(begin.Add(interval)) {
				t.Errorf("due %v after the pass began, want %v and more", g.due.Sub(begin), interval)
			}
			s.publish()
			delay := group1(t, s, "/a").Passes.Delay
			if least := max(0, tc.late).Seconds(); delay < least || tc.late < 0 && delay != 0 {
				t.Errorf("a delay of %v s is counted, want %v and what the test took", delay, least)
			}
		})
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

// TestACostlyMemcgDelaysNoOther: of two that are due, the one that the budget cannot
// afford lets the other go first, and comes once it has saved up.
func TestACostlyMemcgDelaysNoOther(t *testing.T) {
	m := newMachine()
	m.add(1, "/costly", 100, 10)
	m.add(2, "/small", 100, 10)
	s := newSampler(t, m, "aging: {cpu_budget: 0.5}\n"+entries("/costly", "/small"))
	now := time.Unix(1000, 0)
	if err := s.Discover(now); err != nil {
		t.Fatal(err)
	}
	costly, small := s.groups["/costly"], s.groups["/small"]
	costly.cost, small.cost = 20*time.Second, time.Millisecond
	s.budget.spend(now, 29*time.Second) // of 30 s
	if g, _ := s.next(now); g != small {
		t.Fatalf("first comes %v, want the one that the budget affords", g)
	}
	if g, wait := s.next(now); g != nil || wait == 0 {
		t.Errorf("then comes %v, want none", g)
	}
	if g, _ := s.next(now.Add(40 * time.Second)); g != costly {
		t.Errorf("40 s later comes %v, want the costly one", g)
	}
}
