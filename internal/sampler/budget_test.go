package sampler

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestTakingRecordsIsChargedWhatItUses takes records from many goroutines, which
// wait for a lock and go on on threads that have run for longer or shorter. All
// together they cannot have used more CPU time than the process did.
func TestTakingRecordsIsChargedWhatItUses(t *testing.T) {
	m := newMachine()
	s := started(t, m, twoPasses)
	var old sync.WaitGroup
	for range 4 {
		old.Go(func() {
			runtime.LockOSThread() // until the goroutine ends
			defer runtime.UnlockOSThread()
			for threadTime() < 50*time.Millisecond {
				_ = processTime()
			}
		})
	}
	old.Wait()
	before := processTime()
	var all sync.WaitGroup
	all.Go(func() {
		for range 1000 {
			s.mu.Lock()
			runtime.Gosched()
			s.mu.Unlock()
		}
	})
	for range 20 {
		all.Go(func() {
			for range 100 {
				m.sink(nil)
			}
		})
	}
	all.Wait()
	used := processTime() - before
	fold := time.Duration(s.cpu.seconds()["fold"] * float64(time.Second))
	if fold > used {
		t.Errorf("charged %v in a time in which the process used %v", fold, used)
	}
}

// processTime is the CPU time of all threads.
func processTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts); err != nil {
		panic(err)
	}
	return time.Duration(ts.Nano())
}

func TestBudget(t *testing.T) {
	now := time.Unix(1000, 0)
	b := newBudget(0.1) // 6 s of CPU a minute
	if w := b.turn(now, time.Second); w != 0 {
		t.Errorf("a full budget makes wait %v", w)
	}
	b.spend(now, 6*time.Second)
	if w := b.turn(now, time.Second); w != 10*time.Second {
		t.Errorf("an empty budget makes 1 s of CPU wait %v, want 10 s", w)
	}
	if w := b.turn(now.Add(10*time.Second), time.Second); w != 0 {
		t.Errorf("after 10 s it waits %v more", w)
	}
	if w := b.turn(now.Add(time.Hour), time.Minute); w != 0 {
		t.Errorf("what costs more than a full budget waits %v for ever", w)
	}
	b.spend(now.Add(time.Hour), time.Minute)
	if w := b.turn(now.Add(time.Hour), 0); w != 540*time.Second {
		t.Errorf("54 s of debt wait %v, want 540 s", w)
	}
	b.spend(now, -time.Second) // clocks go back; time is not earned by it
	if w := b.turn(now.Add(time.Hour), 0); w < 540*time.Second {
		t.Errorf("a step back of the clock earned budget: %v", w)
	}
}

// TestACostlyGroupWaitsForItself: while one saves up, and while it pays back, half
// of the share stays for the others.
func TestACostlyGroupWaitsForItself(t *testing.T) {
	now := time.Unix(1000, 0)
	b := newBudget(0.1)
	b.turn(now, 0)
	b.spend(now, 6*time.Second) // nothing is saved up
	if w := b.turn(now, 4*time.Second); w != 40*time.Second {
		t.Errorf("4 s of CPU wait %v, want 40 s", w)
	}
	now = now.Add(10 * time.Second)
	b.turn(now, 4*time.Second)
	if !b.affords(500*time.Millisecond) || b.affords(501*time.Millisecond) {
		t.Errorf("10 s later %v are for the others, want 500 ms", b.saved)
	}
	b.spend(now, 500*time.Millisecond)
	if w := b.turn(now, 4*time.Second); w != 35*time.Second {
		t.Errorf("after another one's pass 4 s of CPU wait %v, want 35 s", w)
	}
	now = now.Add(35 * time.Second)
	if w := b.turn(now, 4*time.Second); w != 0 {
		t.Errorf("35 s later 4 s of CPU wait %v more", w)
	}
	b.spend(now, 64*time.Second) // 60 s of debt
	if w := b.turn(now, time.Millisecond); w > 605*time.Second || w < 600*time.Second {
		t.Errorf("with 60 s of debt, what needs more than there is waits %v", w)
	}
	now = now.Add(11 * time.Second)
	if w := b.turn(now, 10*time.Millisecond); w != 0 {
		t.Errorf("11 s later, a cheap pass waits %v, want 0: half of the share is for the others", w)
	}
	if w := b.turn(now, 4*time.Second); w < 600*time.Second {
		t.Errorf("11 s later the costly one waits %v, want until its debt is paid", w)
	}
	end := now.Add(20 * time.Minute)
	if w := b.turn(end, 4*time.Second); w != 0 {
		t.Errorf("20 minutes later it waits %v", w)
	}
	if b.saved+b.reserve > 6*time.Second {
		t.Errorf("%v are saved up, want 6 s at most", b.saved+b.reserve)
	}
}
