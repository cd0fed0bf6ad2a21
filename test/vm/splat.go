package vm

import (
	"fmt"
	"regexp"
	"strings"
)

// A SplatError is a complaint of the guest's kernel about itself.
type SplatError struct {
	// Job is the job that ran meanwhile, or empty.
	Job string
	// Lines are its first lines.
	Lines []string
}

// splatLines is how much of a splat is kept.
const splatLines = 40

func (e *SplatError) add(line string) {
	if len(e.Lines) < splatLines {
		e.Lines = append(e.Lines, line)
	}
}

func (e *SplatError) Error() string {
	during := ""
	if e.Job != "" {
		during = " during " + e.Job
	}
	return fmt.Sprintf("the kernel complained%s:\n\t%s", during, strings.Join(e.Lines, "\n\t"))
}

var splat = regexp.MustCompile(`` +
	`WARNING: ` +
	`|BUG: |kernel BUG at` +
	`|INFO: (possible|suspicious|inconsistent|task .* blocked|rcu.*stall|trying to register)` +
	`|possible (circular locking|recursive locking|irq lock)` +
	`|suspicious RCU usage` +
	`|Oops: |general protection fault|Kernel panic|Call Trace:|list_(add|del) corruption` +
	`|Out of memory: |oom-kill:`)

// isSplat tells whether a line of the console begins a complaint of the kernel,
// or is in the midst of one.
func isSplat(line string) bool { return splat.MatchString(line) }
