package source

import (
	"bufio"
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// reclaim tells how many pages may have lost an accessed bit to the kernel: what
// reclaim clears of it leaves no trace where smaps would show it.
type reclaim struct {
	vmstat, lruGen string
	// pageSize is the size of the pages that vmstat counts, in bytes.
	pageSize uint64
	// migrationAges is set on kernels where a page that is moved to another
	// place in memory loses its accessed bit: before 6.1, and where entries
	// of page tables have no room for it.
	migrationAges bool
}

// reclaimed is how far reclaim has come since boot.
type reclaimed struct {
	// pages is how many pages it has looked at or moved, each of which may
	// have lost one accessed bit in each address space.
	pages uint64
	// runs counts anything else it does.
	runs uint64
}

func newReclaim(procRoot, sysRoot string) reclaim {
	return reclaim{
		vmstat:        filepath.Join(procRoot, "vmstat"),
		pageSize:      uint64(os.Getpagesize()),
		lruGen:        filepath.Join(sysRoot, "kernel/mm/lru_gen/enabled"),
		migrationAges: runtime.GOARCH != "amd64" || !kernelAtLeast(6, 1),
	}
}

// read reads how far reclaim has come.
func (r *reclaim) read() (reclaimed, error) {
	b, err := os.ReadFile(r.vmstat)
	if err != nil {
		return reclaimed{}, err
	}
	now, err := parseReclaimed(b, r.migrationAges)
	if err != nil {
		return reclaimed{}, fmt.Errorf("parse %s: %w", r.vmstat, err)
	}
	return now, nil
}

// lost returns how many bytes of a process at most have lost their accessed bit
// between two moments. MGLRU clears those of whole address spaces, and counts
// none of them.
func (r *reclaim) lost(before, now reclaimed) uint64 {
	if before == now {
		return 0
	}
	if enabled, err := strconv.ParseUint(readWord(r.lruGen), 0, 64); err == nil && enabled&1 != 0 {
		return math.MaxUint64
	}
	pages := now.pages - min(before.pages, now.pages)
	return min(pages, math.MaxUint64/r.pageSize) * r.pageSize
}

// parseReclaimed parses /proc/vmstat. The counters by what was scanned
// (pgscan_anon, pgscan_file; 5.8) include reclaim within a memcg, those by who
// scanned do not.
func parseReclaimed(b []byte, migrationAges bool) (reclaimed, error) {
	var by, of, other, runs uint64
	sc := bufio.NewScanner(bytes.NewReader(b))
	found := false
	for sc.Scan() {
		name, value, _ := strings.Cut(sc.Text(), " ")
		var to *uint64
		switch {
		case name == "pgscan_anon", name == "pgscan_file":
			to = &of
		case name == "pgscan_direct_throttle", strings.HasPrefix(name, "pgscan_zone"):
			continue
		case strings.HasPrefix(name, "pgscan_"):
			to = &by
		case strings.HasPrefix(name, "pgrefill"), name == "pgdeactivate":
			to = &other
		case name == "pgmigrate_success" && migrationAges:
			to = &other
		case name == "pageoutrun", strings.HasPrefix(name, "allocstall"):
			to = &runs
		default:
			continue
		}
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			return reclaimed{}, fmt.Errorf("%.80q has no number", sc.Text())
		}
		*to += n
		found = true
	}
	if err := sc.Err(); err != nil {
		return reclaimed{}, err
	}
	if !found {
		return reclaimed{}, fmt.Errorf("it has no counter of reclaim")
	}
	return reclaimed{pages: max(by, of) + other, runs: runs}, nil
}

// kernelAtLeast tells whether the running kernel is of a version or later.
func kernelAtLeast(major, minor int) bool {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return false
	}
	var ma, mi int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &ma, &mi); err != nil {
		return false
	}
	return ma > major || ma == major && mi >= minor
}
