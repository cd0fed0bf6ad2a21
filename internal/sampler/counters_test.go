package sampler

import "testing"

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
