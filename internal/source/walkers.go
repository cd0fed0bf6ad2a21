package source

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/preflight"
)

// A walker is a kernel feature that is on and clears accessed bits beside us.
type walker struct {
	name string
	by   string // who it is, or what it watches; may be empty
	stop string // the command that switches it off
}

// activeWalkers returns what clears accessed bits now, as far as the kernel says:
// DAMON, through either of its interfaces or in a module. sysRoot is "/sys". A
// walker that is off now may have been on before.
func activeWalkers(sysRoot string) []walker {
	var active []walker
	for _, file := range glob(sysRoot, "kernel/mm/damon/admin/kdamonds/*/state") {
		if readWord(file) == "on" {
			active = append(active, walker{"damon", describeKdamond(filepath.Dir(file)), "echo off > " + file})
		}
	}
	// Samples call it enable.
	for _, file := range slices.Concat(glob(sysRoot, "module/damon_*/parameters/enabled"), glob(sysRoot, "module/damon_*/parameters/enable")) {
		if readWord(file) == "Y" {
			name := filepath.Base(filepath.Dir(filepath.Dir(file)))
			active = append(active, walker{name, "module", "echo N > " + file})
		}
	}
	// It is on whoever runs DAMON. 6.7 adds _DEPRECATED, 6.14 removes it.
	for _, file := range glob(sysRoot, "kernel/debug/damon/monitor_on*") {
		if readWord(file) == "on" && len(active) == 0 {
			active = append(active, walker{"damon", "started through debugfs", "echo off > " + file})
		}
	}
	return active
}

// describeKdamond says which kdamond of DAMON's sysfs interface it is, and what it
// watches.
func describeKdamond(dir string) string {
	by := "kdamond " + filepath.Base(dir)
	if pid := readWord(filepath.Join(dir, "pid")); pid != "" {
		by += ", thread " + pid
	}
	for _, file := range glob(dir, "contexts/*/operations") {
		by += ", " + readWord(file)
	}
	for _, file := range glob(dir, "contexts/*/targets/*/pid_target") {
		if pid := readWord(file); pid != "" && pid != "0" {
			by += " of process " + pid
		}
	}
	return by
}

// glob returns the files below a directory that match a pattern. Ours have no
// syntax error, and Glob has no other one.
func glob(dir, pattern string) []string {
	files, _ := filepath.Glob(filepath.Join(dir, pattern))
	return files
}

// readWord returns the content of a file, "" if there is none.
func readWord(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// walkers returns each active walker once, with what it costs a source.
func walkers(sysRoot string, unobserved heat.Unobserved) []heat.Walker {
	var all []heat.Walker
	for _, w := range activeWalkers(sysRoot) {
		one := heat.Walker{Name: w.name, Unobserved: unobserved}
		if !slices.Contains(all, one) {
			all = append(all, one)
		}
	}
	return all
}

// hooksUnobserved returns what DAMON makes unobserved with hooks: nothing where
// they see what it clears.
func hooksUnobserved(seen bool) heat.Unobserved {
	if seen {
		return heat.UnobservedNone
	}
	return heat.UnobservedAll
}

// costs says in words what a walker makes unobserved.
var costs = map[heat.Unobserved]string{
	heat.UnobservedNone:   "nothing is unobserved for it: this source sees what it clears",
	heat.UnobservedShared: "while it is on, memory that several processes map is unobserved instead of cold",
	heat.UnobservedAll:    "while it is on, all memory is unobserved: this source cannot see what it clears",
}

// walkersRequirement reports which walkers are on, who they are, and what that
// costs a source. It is not met only if the source could judge no memory.
func walkersRequirement(sysRoot string, unobserved heat.Unobserved) preflight.Requirement {
	r := preflight.Requirement{Name: "other walkers of accessed bits", Met: true, Detail: "DAMON is off"}
	active := activeWalkers(sysRoot)
	if len(active) == 0 {
		return r
	}
	var on, stops []string
	for _, w := range active {
		on = append(on, fmt.Sprintf("%s (%s)", w.name, w.by))
		stops = append(stops, w.stop)
	}
	stop := strings.Join(stops, "; ")
	r.Detail = "on here: " + strings.Join(on, ", ")
	switch unobserved {
	case heat.UnobservedNone:
		r.Note = costs[unobserved]
	case heat.UnobservedShared:
		r.Note = costs[unobserved] + "; to stop it: " + stop
	default:
		r.Met, r.Detail = false, r.Detail+"; "+costs[unobserved]
		r.Repair = stop + "; or use source stock, which sees what it clears"
	}
	return r
}
