package process

import (
	"bytes"
	"fmt"

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
