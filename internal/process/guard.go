package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// ErrBlocked says that a read of the process's memory did not come back, or did not
// lately and is not tried again yet. A process can hold its own mmap_lock for as long
// as it likes, for example in a page fault on a FUSE file whose server does not
// answer: each read of its maps, smaps or pagemap then hangs.
var ErrBlocked = errors.New("process blocks reads of its memory")

const (
	// patience is how long a read may show no progress.
	patience = 2 * time.Second
	// impatience is the same while another read hangs, so that many processes that
	// block delay the others little more than one does.
	impatience = 500 * time.Millisecond
	// blockedRest is for how long a process is left alone at most after its read came
	// back, and blockedTimes how many times as long as the read hung: a machine that is
	// merely busy soon has it read again.
	blockedRest  = 10 * time.Minute
	blockedTimes = 10
	// MaxBlocked is how many reads may hang at the same time, each on a thread of its
	// own. With that many, no process is read any more until one comes back.
	MaxBlocked = 256
)

// A Guard runs reads that may hang, on goroutines that it can abandon.
type Guard struct {
	patience, impatience, rest time.Duration
	times                      float64

	closed context.Context
	close  context.CancelFunc

	mu      sync.Mutex // guards what follows
	hanging int
	blocked map[int]*call
	used    map[int]time.Duration
}

// A call is one read.
type call struct {
	since    time.Time
	returned time.Time // zero while it is under way
	hangs    bool      // it was abandoned
}

// NewGuard returns a Guard that no read has blocked yet.
func NewGuard() *Guard {
	closed, close := context.WithCancel(context.Background())
	return &Guard{
		closed: closed, close: close, patience: patience, impatience: impatience, rest: blockedRest, times: blockedTimes,
		blocked: map[int]*call{}, used: map[int]time.Duration{},
	}
}

// Run calls read, which looks at the process pid, and returns its error. It returns
// ErrBlocked once read has neither returned nor changed progress for a while; progress
// may be nil. It returns the error of ctx as soon as that ends.
//
// If running is true, read is still under way, and what it uses is no longer the
// caller's.
func (g *Guard) Run(ctx context.Context, pid int, progress *atomic.Uint64, read func() error) (running bool, err error) {
	wait, err := g.begin(pid, time.Now())
	if err != nil {
		return false, err
	}
	c := &call{since: time.Now()}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for the clock
		begin := threadTime()
		err := read()
		used := threadTime() - begin
		runtime.UnlockOSThread()
		g.end(pid, c, used)
		done <- err
	}()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	var seen uint64
	for {
		select {
		case err := <-done:
			return false, err
		case <-ctx.Done():
			return true, ctx.Err()
		case <-g.closed.Done():
			return true, fmt.Errorf("read process %d: %w", pid, g.closed.Err())
		case <-timer.C:
		}
		if progress != nil {
			if now := progress.Load(); now != seen {
				seen = now
				timer.Reset(wait)
				continue
			}
		}
		if g.abandon(pid, c) {
			return true, fmt.Errorf("read process %d: %w", pid, ErrBlocked)
		}
	}
}

// Close makes each read, those under way and those to come, return an error at once.
func (g *Guard) Close() { g.close() }

// begin returns how long the read may take without progress.
func (g *Guard) begin(pid int, now time.Time) (time.Duration, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if b := g.blocked[pid]; b != nil {
		if b.returned.IsZero() || now.Sub(b.returned) < g.restAfter(b) {
			return 0, fmt.Errorf("process %d: %w", pid, ErrBlocked)
		}
		delete(g.blocked, pid)
	}
	switch {
	case g.hanging >= MaxBlocked:
		return 0, fmt.Errorf("process %d is not read while %d others hang: %w", pid, g.hanging, ErrBlocked)
	case g.hanging > 0:
		return g.impatience, nil
	}
	return g.patience, nil
}

// restAfter returns for how long a process is left alone after a read that hung.
func (g *Guard) restAfter(c *call) time.Duration {
	return time.Duration(min(float64(g.rest), g.times*float64(c.returned.Sub(c.since))))
}

// abandon notes that a read hangs, and reports whether it still does.
func (g *Guard) abandon(pid int, c *call) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !c.returned.IsZero() {
		return false
	}
	c.hangs = true
	g.blocked[pid] = c
	g.hanging++
	return true
}

// end notes that a read has come back.
func (g *Guard) end(pid int, c *call, used time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c.returned = time.Now()
	if c.hangs {
		g.hanging--
	} else {
		g.used[pid] += used
	}
}

// Used returns the CPU time that the reads of a process have used since it was last
// asked for.
func (g *Guard) Used(pid int) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	used := g.used[pid]
	delete(g.used, pid)
	return used
}

// A Blocked is a process whose read hangs.
type Blocked struct {
	PID   int
	Since time.Time
}

// Blocked returns the processes whose reads hang now, by PID. It forgets those that
// may be read again.
func (g *Guard) Blocked() []Blocked {
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []Blocked
	for pid, c := range g.blocked {
		switch {
		case c.returned.IsZero():
			all = append(all, Blocked{pid, c.since})
		case time.Since(c.returned) >= g.restAfter(c):
			delete(g.blocked, pid)
		}
	}
	slices.SortFunc(all, func(a, b Blocked) int { return cmp.Compare(a.PID, b.PID) })
	return all
}

// threadTime is the CPU time of the calling thread.
func threadTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
