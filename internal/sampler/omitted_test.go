package sampler

import (
	"fmt"
	"testing"
	"time"
)

// TestMemcgsBeyondTheLimitAreOmitted: those that are watched stay, however many others
// somebody makes, and whose names come before theirs.
func TestMemcgsBeyondTheLimitAreOmitted(t *testing.T) {
	m := newMachine()
	add := func(path string) { m.cgroups[path] = uint64(100 + len(m.cgroups)) }
	add("/x/1")
	add("/x/2")
	s := newSampler(t, m, "memcgs: [{path: /x/*}]\nlimits: {max_memcgs: 3}\n")
	watched := func(omitted int, want ...string) {
		t.Helper()
		if err := s.Discover(time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range s.Snapshot().Memcgs {
			got = append(got, m.Path)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) || s.Snapshot().Self.MemcgsOmitted != omitted {
			t.Errorf("watched %v, %d omitted, want %v and %d", got, s.Snapshot().Self.MemcgsOmitted, want, omitted)
		}
	}
	watched(0, "/x/1", "/x/2")
	for i := range 1000 {
		add(fmt.Sprintf("/x/0%d", i))
	}
	watched(999, "/x/00", "/x/1", "/x/2")
	delete(m.cgroups, "/x/1")
	watched(998, "/x/00", "/x/01", "/x/2")
}
