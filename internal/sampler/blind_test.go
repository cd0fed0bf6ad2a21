package sampler

import (
	"testing"

	"mglru_exporter/internal/heat"
)

// unseenDAMON is DAMON where the source does not see what it clears.
var unseenDAMON = []heat.Walker{{Name: "damon", Unobserved: heat.UnobservedAll}}

// TestWalkersThatComeAndGo: a walker that the source does not see leaves nothing
// cold in each window that it may have been active in, however short it was.
func TestWalkersThatComeAndGo(t *testing.T) {
	for _, tc := range []struct {
		name string
		// begins and ends are the passes, counted from 0, as which begin and end
		// the walker is seen.
		begins, ends map[int]bool
		// blind are the windows, of two passes, in which nothing may be cold.
		blind [3]bool
		skips uint64
	}{
		{"never", nil, nil, [3]bool{}, 0},
		{"as a pass begins", map[int]bool{2: true}, nil, [3]bool{1: true}, 1},
		{"as the last pass of a window ends, and until the next begins", nil, map[int]bool{1: true}, [3]bool{0: true, 1: true}, 2},
		{"as the first pass of a window ends", nil, map[int]bool{2: true}, [3]bool{1: true}, 2},
		{"between two windows", map[int]bool{2: true}, map[int]bool{1: true}, [3]bool{0: true, 1: true}, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newMachine()
			m.add(1, "/a", 100, 10)
			s := started(t, m, twoPasses)
			pass(t, s, "/a", 1) // a window by itself
			now := 0
			m.onAge = func(string) { // between the two looks at who is active
				m.walkers = nil
				if tc.ends[now] {
					m.walkers = unseenDAMON
				}
			}
			for window, blind := range tc.blind {
				for range 2 {
					m.walkers = nil
					if tc.begins[now] {
						m.walkers = unseenDAMON
					}
					pass(t, s, "/a", 1)
					now++
				}
				want := [4]uint64{10, 0, 90, 0}
				if blind {
					want = [4]uint64{10, 0, 0, 90}
				}
				if got := pages(t, group1(t, s, "/a"), 1); got != want {
					t.Errorf("window %d: hot, warm, cold, unobserved = %v pages, want %v", window, got, want)
				}
			}
			if got := group1(t, s, "/a").Passes.Skips[otherWalker]; got != tc.skips {
				t.Errorf("%d passes count as looked at by another, want %d", got, tc.skips)
			}
		})
	}
}
