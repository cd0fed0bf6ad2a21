package sampler

import (
	"log/slog"
	"testing"

	"mglru_exporter/internal/config"
	"mglru_exporter/internal/source"
)

// TestWhatPassesMissIsCounted looks at the counters that tell why memory reads
// unobserved.
func TestWhatPassesMissIsCounted(t *testing.T) {
	m := newMachine()
	m.add(1, "/a", 100, 10)
	m.add(2, "/a", 100, 10)
	s := started(t, m, twoPasses)
	pass(t, s, "/a", 1)
	m.out.Lost = 3
	pass(t, s, "/a", 1)
	m.out.Lost = 4
	pass(t, s, "/a", 1)
	m.out.Lost, m.procs[2].silent = 0, true
	pass(t, s, "/a", 3)
	p := group1(t, s, "/a").Passes
	if p.Lost != 7 {
		t.Errorf("%d records lost, want 3 + 4", p.Lost)
	}
	if p.Skips[notWalked] != 3 {
		t.Errorf("skips %v, want 3 of a process that was not walked", p.Skips)
	}
}

// TestFailureReasonsOfAReplay: their counters begin at 0 for the reasons of the source
// that was recorded, and no others.
func TestFailureReasonsOfAReplay(t *testing.T) {
	m := newMachine()
	m.add(1, "/a", 100, 10)
	cfg, err := config.Parse("test", []byte(entries("/a")))
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(cfg, m, Deps{Cgroups: m, Processes: m, FailReasons: source.Reasons("stock"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	discover(t, s)
	got := group1(t, s, "/a").Passes.Failures
	for reason, want := range map[string]bool{source.ReasonDisabled: true, source.ReasonProbesOff: false, residencyFailed: true} {
		if _, ok := got[reason]; ok != want {
			t.Errorf("a counter of %s: %v, want %v", reason, ok, want)
		}
	}
}
