package vm

import (
	"context"
	"os"
	"testing"
	"time"
)

// TestBootLasts: a busy machine, on which little CPU time passes, is no boot that
// hangs.
func TestBootLasts(t *testing.T) {
	for _, test := range []struct {
		cpu, wall time.Duration
		dead      bool
	}{
		{5 * time.Second, 2 * time.Minute, false},
		{bootCPU, 2 * time.Minute, true},
		{0, bootTimeout, true},
	} {
		if err := bootLasts(test.cpu, test.wall); (err != nil) != test.dead {
			t.Errorf("%v of CPU time in %v: %v, want an error: %t", test.cpu, test.wall, err, test.dead)
		}
	}
}

func TestCPUTime(t *testing.T) {
	before, err := cpuTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for {
		now, err := cpuTime(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if now >= before+20*time.Millisecond {
			break // or the test hangs: this loop takes CPU time
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := watchBoot(ctx, os.Getpid(), time.Hour); err != nil {
		t.Errorf("a boot that is over: %v", err)
	}
}
