package source

import (
	"os"
	"path/filepath"
	"strings"

	"mglru_exporter/internal/preflight"
)

// otherWalkers names what is clearing accessed bits now where only the two
// helpers of the kernel that clear them would show it: the hooks do not see it.
// sysRoot is "/sys".
//
// DAMON can be asked. Writes to /proc/PID/clear_refs reach the sink as skips of
// the whole process, and any use of page_idle/bitmap as skips of all processes.
func otherWalkers(sysRoot string) []string {
	var active []string
	// Patterns have no syntax error, and Glob has no other one.
	states, _ := filepath.Glob(filepath.Join(sysRoot, "kernel/mm/damon/admin/kdamonds/*/state"))
	for _, file := range states {
		if readWord(file) == "on" {
			active = append(active, "damon")
			break
		}
	}
	for _, module := range []string{"damon_reclaim", "damon_lru_sort", "damon_stat"} {
		if readWord(filepath.Join(sysRoot, "module", module, "parameters/enabled")) == "Y" {
			active = append(active, module)
		}
	}
	return active
}

// readWord returns the content of a file, "" if there is none.
func readWord(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// walkersRequirement asks that no walker is active which the hooks cannot see.
func walkersRequirement(sysRoot string) preflight.Requirement {
	r := preflight.Requirement{Name: "no walker that hooks cannot see", Met: true, Detail: "DAMON is off"}
	if active := otherWalkers(sysRoot); len(active) > 0 {
		r.Met = false
		r.Detail = strings.Join(active, ", ") + " clears accessed bits too, and what it clears would read as cold"
		r.Repair = "use source stock, which sees it, or stop it: echo off > /sys/kernel/mm/damon/admin/kdamonds/N/state, echo N > /sys/module/MODULE/parameters/enabled"
	}
	return r
}
