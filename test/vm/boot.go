package vm

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// watchBoot looks every interval at how long the process pid has been booting, and
// returns an error once that is too long. It returns nil when ctx ends.
func watchBoot(ctx context.Context, pid int, interval time.Duration) error {
	begun := time.Now()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		cpu, err := cpuTime(pid)
		if err != nil {
			return err
		}
		if err := bootLasts(cpu, time.Since(begun)); err != nil {
			return err
		}
	}
}

// bootLasts returns an error if a boot has had too much CPU time or time.
func bootLasts(cpu, wall time.Duration) error {
	if cpu >= bootCPU || wall >= bootTimeout {
		return fmt.Errorf("no init after %v, %v of them on CPUs", wall.Round(time.Second), cpu.Round(time.Second))
	}
	return nil
}

// cpuTime returns how long the threads of a process have been on CPUs.
func cpuTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name, in parentheses, may have blanks. The state is the third field.
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat: %q", pid, text)
	}
	var ticks int64
	for _, field := range fields[11:13] { // utime and stime
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / 100), nil // USER_HZ
}
