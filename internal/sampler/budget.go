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

// budgetFloor is how much later the other groups run at most because of one that
// used more than was saved.
const budgetFloor = 5 * time.Second

// A budget spreads CPU time: passes may use a share of one CPU over time.
//
// What a costly group uses, it saves up and pays back by itself: while it waits for
// its turn, and while it is in debt, half of the share goes to its reserve, and the
// others run on the other half.
type budget struct {
	mu    sync.Mutex
	share float64
	// saved is CPU time that any group may use; below 0 is debt.
	saved time.Duration
	// reserve is saved up for the group that waits for its turn, or, below 0, what
	// costly groups owe. A group that needs the reserve does not run before the debt
	// is paid.
	reserve time.Duration
	waits   bool // a group waits for the reserve
	at      time.Time
}

func newBudget(share float64) budget { return budget{share: share} }

func (b *budget) burst() time.Duration { return b.gain(budgetBurst) }

// gain is the CPU time that the share is of a time.
func (b *budget) gain(d time.Duration) time.Duration { return time.Duration(b.share * float64(d)) }

// setShare changes the share from now on.
func (b *budget) setShare(now time.Time, share float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.accrue(now)
	b.share = share
	b.bound()
}

// bound keeps what is saved up, the reserve included, to one burst.
func (b *budget) bound() {
	b.reserve = min(b.reserve, b.burst())
	b.saved = min(b.saved, b.burst()-max(b.reserve, 0))
}

// turn returns how long the group that is first in turn, and will use about cost,
// has to wait; 0 lets it begin, and the reserve is its. A pass that costs more than a
// full burst waits for a full one, and goes into debt.
func (b *budget) turn(now time.Time, cost time.Duration) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.accrue(now)
	lack := min(cost, b.burst()) - b.saved - b.reserve
	if b.reserve < 0 && b.saved >= cost { // it needs no reserve
		lack = 0
	}
	if lack > 0 {
		b.waits = true
		return time.Duration(float64(lack) / b.share)
	}
	b.settle()
	return 0
}

// affords reports whether a pass that will use about cost may begin before the one
// that is first in turn.
func (b *budget) affords(cost time.Duration) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return cost <= b.saved
}

// rest says that no group waits for its turn.
func (b *budget) rest(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.accrue(now)
	b.settle()
}

// settle lets any group use what was reserved for one.
func (b *budget) settle() {
	b.waits = false
	if b.reserve > 0 {
		b.saved, b.reserve = b.saved+b.reserve, 0
	}
}

// spend takes what a pass used.
func (b *budget) spend(now time.Time, used time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.accrue(now)
	b.saved -= max(used, 0)
	if over := b.saved + b.gain(budgetFloor); over < 0 {
		b.saved -= over
		b.reserve += over
	}
}

func (b *budget) accrue(now time.Time) {
	d := now.Sub(b.at)
	switch {
	case b.at.IsZero():
		b.saved = b.burst()
	case d <= 0: // two passes end out of order
		return
	default:
		gain := b.gain(d)
		if half := gain / 2; b.reserve < 0 || b.waits {
			b.reserve += half
			gain -= half
			if !b.waits && b.reserve > 0 {
				gain, b.reserve = gain+b.reserve, 0
			}
		}
		b.saved += gain
		b.bound()
	}
	b.at = now
}

// cpuParts adds up CPU time by what it was used for.
type cpuParts struct {
	mu    *sync.Mutex
	parts map[string]time.Duration
}

func newCPUParts() cpuParts {
	return cpuParts{&sync.Mutex{}, map[string]time.Duration{
		"age": 0, "discover": 0, "fold": 0, "garbage": 0, "generations": 0, "processes": 0, "publish": 0, "residency": 0, "window": 0,
	}}
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
