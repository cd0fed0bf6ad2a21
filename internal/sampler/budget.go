package sampler

import (
	"maps"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// budgetBurst is for how long unused budget is saved up.
const budgetBurst = time.Minute

// A budget spreads CPU time: passes may use a share of one CPU over time.
type budget struct {
	mu    sync.Mutex
	share float64
	saved time.Duration // CPU time; below 0 is debt
	at    time.Time
}

func newBudget(share float64) budget { return budget{share: share} }

func (b *budget) burst() time.Duration { return time.Duration(b.share * float64(budgetBurst)) }

// setShare changes the share from now on.
func (b *budget) setShare(now time.Time, share float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.accrue(now)
	b.share = share
	b.saved = min(b.saved, b.burst())
}

// wait tells for how long a pass that will use about cost has to wait. A pass
// that costs more than a full burst waits for a full one, and goes into debt.
func (b *budget) wait(now time.Time, cost time.Duration) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.accrue(now)
	lack := min(cost, b.burst()) - b.saved
	if lack <= 0 {
		return 0
	}
	return time.Duration(float64(lack) / b.share)
}

// spend takes what a pass used.
func (b *budget) spend(now time.Time, used time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.accrue(now)
	b.saved -= max(used, 0)
}

func (b *budget) accrue(now time.Time) {
	switch d := now.Sub(b.at); {
	case b.at.IsZero():
		b.saved = b.burst()
	case d <= 0: // two passes end out of order
		return
	default:
		b.saved = min(b.burst(), b.saved+time.Duration(b.share*float64(d)))
	}
	b.at = now
}

// cpuParts adds up CPU time by what it was used for.
type cpuParts struct {
	mu    *sync.Mutex
	parts map[string]time.Duration
}

func newCPUParts() cpuParts {
	return cpuParts{&sync.Mutex{}, map[string]time.Duration{"age": 0, "fold": 0, "generations": 0, "residency": 0, "window": 0}}
}

func (c cpuParts) add(part string, d time.Duration) {
	if d <= 0 {
		return
	}
	c.mu.Lock()
	c.parts[part] += d
	c.mu.Unlock()
}

func (c cpuParts) seconds() map[string]float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make(map[string]float64, len(c.parts))
	for part, d := range maps.All(c.parts) {
		out[part] = d.Seconds()
	}
	return out
}

// threadTime is the CPU time of the calling thread. Differences mean something only
// while the goroutine stays on it, as cpuTime sees to.
func threadTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// cpuTime returns the CPU time that f uses on the thread that it keeps to: never
// more than the time that it takes, whatever the clocks say, so that no mistake
// makes passes wait for long.
func cpuTime(f func()) time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	begin, cpu := time.Now(), threadTime()
	f()
	return max(0, min(threadTime()-cpu, time.Since(begin)))
}
