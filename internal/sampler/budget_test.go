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
	if w := b.wait(now, time.Second); w != 0 {
		t.Errorf("a full budget makes wait %v", w)
	}
	b.spend(now, 6*time.Second)
	if w := b.wait(now, time.Second); w != 10*time.Second {
		t.Errorf("an empty budget makes 1 s of CPU wait %v, want 10 s", w)
	}
	if w := b.wait(now.Add(10*time.Second), time.Second); w != 0 {
		t.Errorf("after 10 s it waits %v more", w)
	}
	if w := b.wait(now.Add(time.Hour), time.Minute); w != 0 {
		t.Errorf("what costs more than a full budget waits %v for ever", w)
	}
	b.spend(now.Add(time.Hour), time.Minute)
	if w := b.wait(now.Add(time.Hour), 0); w != 540*time.Second {
		t.Errorf("54 s of debt wait %v, want 540 s", w)
	}
	b.spend(now, -time.Second) // clocks go back; time is not earned by it
	if w := b.wait(now.Add(time.Hour), 0); w < 540*time.Second {
		t.Errorf("a step back of the clock earned budget: %v", w)
	}
}
