package source

import (
	"testing"

	"mglru_exporter/bpf"
	"mglru_exporter/internal/heat"
)

// TestUnseen: a process is skipped if accessed bits were taken away at any time from
// the beginning of the pass before to the end of this one.
func TestUnseen(t *testing.T) {
	both := []heat.Process{{ProcessID: heat.ProcessID{TGID: 1}}, {ProcessID: heat.ProcessID{TGID: 2}}}
	one := both[:1]
	for _, reason := range []string{bpf.SkipPageIdle, bpf.SkipSwitched} {
		uses := func(begun uint64, active bool) map[string]bpf.Uses {
			// Of one of the others an end has been missed, which is not to matter.
			all := map[string]bpf.Uses{bpf.SkipPageIdle: {Begun: 1}, bpf.SkipSwitched: {Begun: 2, Ended: 2}}
			all[reason] = bpf.Uses{Begun: begun, Ended: begun}
			if active {
				all[reason] = bpf.Uses{Begun: begun, Ended: begun - 1}
			}
			return all
		}
		var u unseen
		for i, step := range []struct {
			procs   []heat.Process
			begun   uint64
			active  bool
			now     uint64
			skipped int
		}{
			{one, 5, false, 5, 0},  // its first pass: what was before is of no interest
			{one, 5, false, 5, 0},  // nobody used it
			{one, 6, false, 6, 1},  // between two passes
			{one, 6, false, 6, 0},  // and not since
			{one, 6, false, 7, 1},  // during the pass, or
			{one, 7, false, 7, 1},  // just after the walk: so it may have taken bits of this one
			{one, 7, false, 7, 0},  // not since
			{one, 8, true, 8, 1},   // still at it as the pass begins
			{both, 8, false, 8, 1}, // and so for the next; the other process is new
			{both, 8, false, 8, 0},
			{both, 9, false, 9, 2},
		} {
			got := u.pass(step.procs, uses(step.begun, step.active), uses(step.now, false))
			if len(got) != step.skipped {
				t.Errorf("%s, pass %d: %d processes skipped, want %d", reason, i, len(got), step.skipped)
			}
			for _, r := range got {
				if r.Reason != reason {
					t.Errorf("%s, pass %d: skipped because of %s", reason, i, r.Reason)
				}
			}
		}
		u.forget([]int{1, 2})
		if len(u.since) != 0 {
			t.Errorf("remembered of processes that are not watched: %v", u.since)
		}
	}
}
