package process

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"mglru_exporter/internal/heat"
)

// quick returns a Guard with little patience.
func quick() *Guard {
	g := NewGuard()
	g.patience, g.impatience, g.rest, g.times = 20*time.Millisecond, 10*time.Millisecond, time.Hour, 1e9
	return g
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not after a minute", what)
		}
	}
}

func TestGuardAbandonsAReadThatHangs(t *testing.T) {
	g := quick()
	release := make(chan struct{})
	running, err := g.Run(t.Context(), 1, nil, func() error { <-release; return nil })
	if !running || !errors.Is(err, ErrBlocked) {
		t.Fatalf("a read that hangs: running %v, error %v; want true and %v", running, err, ErrBlocked)
	}
	if b := g.Blocked(); len(b) != 1 || b[0].PID != 1 || b[0].Since.IsZero() {
		t.Errorf("blocked: %v, want process 1", b)
	}
	called := false
	if running, err := g.Run(t.Context(), 1, nil, func() error { called = true; return nil }); running || called || !errors.Is(err, ErrBlocked) {
		t.Errorf("the process is read again while a read hangs: %v", err)
	}
	if _, err := g.Run(t.Context(), 2, nil, func() error { called = true; return nil }); err != nil || !called {
		t.Errorf("another process is not read: %v", err)
	}
	close(release)
	eventually(t, "the read has come back", func() bool { return len(g.Blocked()) == 0 })
	if _, err := g.Run(t.Context(), 1, nil, func() error { return nil }); !errors.Is(err, ErrBlocked) {
		t.Errorf("the process is read again at once: %v, want it left alone for a while", err)
	}
	g.rest = 0
	if _, err := g.Run(t.Context(), 1, nil, func() error { return nil }); err != nil {
		t.Errorf("after a rest: %v", err)
	}
}

func TestGuardRestsAsLongAsReadsHang(t *testing.T) {
	g, begin := NewGuard(), time.Unix(1000, 0)
	for hung, want := range map[time.Duration]time.Duration{3 * time.Second: 30 * time.Second, time.Hour: 10 * time.Minute} {
		if got := g.restAfter(&call{since: begin, returned: begin.Add(hung)}); got != want {
			t.Errorf("after %v a process is left alone for %v, want %v", hung, got, want)
		}
	}
}

func TestGuardWaitsForProgress(t *testing.T) {
	g := quick()
	var progress atomic.Uint64
	running, err := g.Run(t.Context(), 1, &progress, func() error {
		for range 20 {
			time.Sleep(g.patience / 4) // slow, and under way
			progress.Add(1)
		}
		return nil
	})
	// On a busy machine the goroutine may not run for longer than that.
	if err != nil && !running {
		t.Errorf("a slow read: %v", err)
	}
}

func TestGuardReturnsTheReadsError(t *testing.T) {
	want := errors.New("no")
	if running, err := NewGuard().Run(t.Context(), 1, nil, func() error { return want }); running || !errors.Is(err, want) {
		t.Errorf("running %v, error %v; want false and %v", running, err, want)
	}
}

func TestGuardEndsWithTheContextAndWhenClosed(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	hang := func() error { <-release; return nil }
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if running, err := NewGuard().Run(ctx, 1, nil, hang); !running || !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: running %v, error %v", running, err)
	}
	g := NewGuard()
	time.AfterFunc(time.Millisecond, g.Close)
	if running, err := g.Run(t.Context(), 1, nil, hang); !running || !errors.Is(err, context.Canceled) {
		t.Errorf("when closed: running %v, error %v", running, err)
	}
}

func TestGuardChargesWhatReadsUse(t *testing.T) {
	g := NewGuard()
	if _, err := g.Run(t.Context(), 1, nil, func() error {
		for begin := threadTime(); threadTime()-begin < 2*time.Millisecond; {
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if got := g.Used(1); got < 2*time.Millisecond {
		t.Errorf("%v used, want 2 ms at least", got)
	}
	if got := g.Used(1); got != 0 {
		t.Errorf("%v used since, want 0", got)
	}
}

func TestGuardBoundsWhatHangs(t *testing.T) {
	g := quick()
	g.patience, g.impatience = time.Millisecond, time.Millisecond
	release := make(chan struct{})
	defer close(release)
	for pid := range MaxBlocked {
		if _, err := g.Run(t.Context(), pid, nil, func() error { <-release; return nil }); !errors.Is(err, ErrBlocked) {
			t.Fatal(err)
		}
	}
	called := false
	if _, err := g.Run(t.Context(), MaxBlocked, nil, func() error { called = true; return nil }); !errors.Is(err, ErrBlocked) || called {
		t.Errorf("with %d reads that hang, one more process is read: %v", MaxBlocked, err)
	}
}

func TestUnreadCountsByType(t *testing.T) {
	for _, tc := range []struct {
		name, status string
		want         map[string]uint64
		wantErr      error
	}{
		{"a process", "Name:\tx\nRssAnon:\t     100 kB\nRssFile:\t      20 kB\nRssShmem:\t       0 kB\nVmSwap:\t       8 kB\n", map[string]uint64{"anon": 25, "file": 5, "swap": 2}, nil},
		{"a zombie", "Name:\tx\nState:\tZ\n", nil, ErrNoMemory},
		{"no number", "RssAnon:\t x kB\n", nil, errors.New("")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			res := &heat.Residency{}
			err := parseRss([]byte(tc.status), res)
			if (err != nil) != (tc.wantErr != nil) || errors.Is(tc.wantErr, ErrNoMemory) && !errors.Is(err, ErrNoMemory) {
				t.Fatalf("error %v, want %v", err, tc.wantErr)
			}
			if err != nil {
				return
			}
			got := map[string]uint64{"swap": res.SwappedPages}
			for _, u := range res.Unscanned {
				got[u.Type.String()] += u.Pages
			}
			for k, want := range tc.want {
				if got[k] != want {
					t.Errorf("%s: %d pages, want %d", k, got[k], want)
				}
			}
			if len(got) != len(tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}
