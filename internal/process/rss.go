package process

import (
	"bytes"
	"fmt"
	"runtime"

	"mglru_exporter/internal/heat"
)

// Unread returns what a process has in memory where its pages cannot be read: the
// kernel's own counters of /proc/PID/status, all of it unscanned, on no known node.
// The kernel takes no lock of the process for that (task_mem() in
// fs/proc/task_mmu.c). Hugetlb pages are missing.
//
// The errors are ErrGone and ErrNoMemory, or that the file could not be read or
// understood.
func (f FS) Unread(pid int) (*heat.Residency, error) {
	res := &heat.Residency{}
	err := f.withMemory(pid, func(dir string) error {
		path := dir + "/status"
		b, err := readFile(path, nil)
		if err != nil {
			return err
		}
		*res = heat.Residency{}
		if err := parseRss(b, res); err != nil {
			return fmt.Errorf("parse %s: %w", path, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return res, nil
}

// reconcile makes what the kernel counts as resident, and Read did not find, unscanned:
// of each type the whole difference, if it is more than the kernel's counters may lag.
// So nothing that a process does to hide pages makes resident less than it is.
func (r *Reader) reconcile(dir string, res *heat.Residency) {
	var counted heat.Residency
	b, err := readFile(dir+"/status", nil)
	if err != nil || parseRss(b, &counted) != nil {
		return // it has just gone, as the caller finds out
	}
	var found [heat.NumTypes]uint64
	for i := range res.Parts {
		found[res.Parts[i].Type] += uint64(res.Parts[i].Pages.Count())
	}
	for _, u := range res.Unscanned {
		found[u.Type] += u.Pages
	}
	for _, u := range counted.Unscanned {
		if u.Pages > found[u.Type]+max(u.Pages/100, rssLag*uint64(runtime.NumCPU())) {
			u.Pages -= found[u.Type]
			res.Unscanned = append(res.Unscanned, u)
		}
	}
}

// rssLag is by how many pages a CPU the kernel's counters of resident pages may be off:
// 64 events a task before 6.2, a batch of a per-CPU counter since, which is 32 or twice
// the number of CPUs (mm_trace_rss_stat() and percpu_counter_read_positive()).
const rssLag = 64

// rssLines are the lines of a status file that count resident pages by type.
func rssLines() map[string]heat.Type {
	return map[string]heat.Type{"RssAnon": heat.Anon, "RssFile": heat.File, "RssShmem": heat.Shmem}
}

// parseRss takes in the counters of a status file. Without an address space there
// are none.
func parseRss(b []byte, res *heat.Residency) error {
	types, found := rssLines(), false
	for len(b) > 0 {
		var line []byte
		line, b = cutLine(b)
		key, rest, _ := bytes.Cut(line, []byte(":"))
		t, counts := types[string(key)]
		if !counts && string(key) != "VmSwap" {
			continue
		}
		field, _ := cutField(bytes.TrimLeft(rest, " \t"))
		kib, ok := parseUint(field)
		if !ok || kib > 1<<50 {
			return fmt.Errorf("%.80q is no number of kB", line)
		}
		pages := kib << 10 / heat.PageSize
		switch {
		case !counts:
			res.SwappedPages = pages
		case pages > 0:
			res.Unscanned = append(res.Unscanned, heat.UnscannedPages{Node: nodeUnknown, Type: t, Pages: pages})
		}
		found = found || counts
	}
	if !found {
		return fmt.Errorf("no counters of resident pages: %w", ErrNoMemory)
	}
	return nil
}
