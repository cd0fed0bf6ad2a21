//go:build guest

package bench

import (
	"sync/atomic"
	"testing"
	"time"

	"mglru_exporter/internal/heat"
	"mglru_exporter/test/vm/guest"
)

// A counter counts young pages of the area.
type counter struct {
	b     *bench
	pages atomic.Int64
	more  chan struct{}
}

func newCounter(b *bench) *counter { return &counter{b: b, more: make(chan struct{}, 1)} }

func (c *counter) add(records []heat.Record) {
	n := 0
	for i := range records {
		r := &records[i]
		if r.Kind == heat.KindYoung && r.TGID == c.b.w.PID && r.Start >= c.b.m.Addr && r.Start < c.b.m.Addr+c.b.m.Size {
			if c.b.m.Kind == guest.Anon {
				n += r.Anon.Count()
			} else {
				n += r.NotAnon.Count()
			}
		}
	}
	c.pages.Add(int64(n))
	select {
	case c.more <- struct{}{}:
	default:
	}
}

// wait waits until all pages were counted, and fails if there are too many or
// too few. It begins to count anew.
func (c *counter) wait(t *testing.T) {
	t.Helper()
	timeout := time.After(10 * time.Second)
	for c.pages.Load() < Pages {
		select {
		case <-c.more:
		case <-timeout:
			t.Fatalf("%d young pages harvested, want %d", c.pages.Load(), Pages)
		}
	}
	if n := c.pages.Swap(0); n != Pages {
		t.Fatalf("%d young pages harvested, want %d", n, Pages)
	}
}
