package source

import (
	"os"
	"path/filepath"
	"strings"

	"mglru_exporter/internal/preflight"
)

// otherWalkers names what is clearing accessed bits now, as far as it can be
// asked: DAMON, through either of its interfaces or in a module. sysRoot is "/sys".
//
// The hooks see it clear, but not what, and take it that it was everybody's; see
// unseen. That it is off as it is asked for says nothing of what was before.
func otherWalkers(sysRoot string) []string {
	var active []string
	// Patterns have no syntax error, and Glob has no other one.
	states, _ := filepath.Glob(filepath.Join(sysRoot, "kernel/mm/damon/admin/kdamonds/*/state"))
	debugfs, _ := filepath.Glob(filepath.Join(sysRoot, "kernel/debug/damon/monitor_on*")) // 6.7 adds _DEPRECATED, 6.14 removes it
	for _, file := range append(states, debugfs...) {
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
		r.Detail = strings.Join(active, ", ") + " clears accessed bits too, and nobody can tell what it clears from cold memory"
		r.Repair = "use source stock, which sees it, or stop it: echo off > /sys/kernel/mm/damon/admin/kdamonds/N/state (or > /sys/kernel/debug/damon/monitor_on), echo N > /sys/module/MODULE/parameters/enabled"
	}
	return r
}
