package process

import (
	"bytes"
	"fmt"
	"math"

	"mglru_exporter/internal/heat"
)

// A Rollup is the memory of a process as the kernel sums it up in
// /proc/PID/smaps_rollup, in bytes. Making one walks all its page tables, at
// about 10 ms per resident GiB, so it is for checks and not for every window.
type Rollup struct {
	// Rss is what is resident: anonymous, file and shared memory, without
	// hugetlb pages and without the zero pages.
	Rss uint64
	// Pss is Rss with each page divided by the number of its mappings.
	Pss uint64
	// Referenced is the part of Rss whose accessed bit is set.
	Referenced uint64
	// Anonymous is the part of Rss that is anonymous.
	Anonymous uint64
	// AnonHugePages, ShmemPmdMapped and FilePmdMapped are the parts of Rss
	// that huge page table entries map.
	AnonHugePages, ShmemPmdMapped, FilePmdMapped uint64
	// PrivateHugetlb and SharedHugetlb are hugetlb pages, which Rss leaves out.
	PrivateHugetlb, SharedHugetlb uint64
	// Swap is what is swapped out, pages of shared memory included.
	Swap uint64
	// Locked is what mlock keeps, as Pss.
	Locked uint64
}

// Resident is all memory that a Residency covers: Rss and the hugetlb pages,
// in bytes.
func (r *Rollup) Resident() uint64 { return r.Rss + r.PrivateHugetlb + r.SharedHugetlb }

// Rollup reads smaps_rollup. Lines that a kernel does not have are 0.
//
// The errors are ErrGone and ErrNoMemory, no permission (os.ErrPermission) to
// trace the process, or that the file could not be read or understood.
func (f FS) Rollup(pid int) (Rollup, error) {
	var r Rollup
	err := f.withMemory(pid, func(dir string) error {
		path := dir + "/smaps_rollup"
		b, err := readFile(path, nil)
		if err != nil {
			return err
		}
		if len(b) == 0 {
			return fmt.Errorf("read %s: %w", path, ErrNoMemory)
		}
		if r, err = parseRollup(b); err != nil {
			return fmt.Errorf("parse %s: %w", path, err)
		}
		return nil
	})
	return r, err
}

// parseRollup parses the lines of one mapping of smaps, or of smaps_rollup;
// the line of the addresses above them may be missing.
func parseRollup(b []byte) (Rollup, error) {
	var r Rollup
	for len(b) > 0 {
		var line []byte
		line, b = cutLine(b)
		if err := r.parseLine(line); err != nil {
			return Rollup{}, err
		}
	}
	return r, nil
}

// parseLine takes in a line such as "Rss:      1732 kB", if it is one that is
// wanted.
func (r *Rollup) parseLine(line []byte) error {
	key, rest, ok := bytes.Cut(line, []byte(":"))
	if !ok {
		return nil
	}
	var to *uint64
	switch string(key) {
	case "Rss":
		to = &r.Rss
	case "Pss":
		to = &r.Pss
	case "Referenced":
		to = &r.Referenced
	case "Anonymous":
		to = &r.Anonymous
	case "AnonHugePages":
		to = &r.AnonHugePages
	case "ShmemPmdMapped":
		to = &r.ShmemPmdMapped
	case "FilePmdMapped":
		to = &r.FilePmdMapped
	case "Private_Hugetlb":
		to = &r.PrivateHugetlb
	case "Shared_Hugetlb":
		to = &r.SharedHugetlb
	case "Swap":
		to = &r.Swap
	case "Locked":
		to = &r.Locked
	default:
		return nil
	}
	number, unit := cutField(rest)
	n, ok := parseUint(number)
	if unit, _ = cutField(unit); !ok || n > math.MaxUint64/1024 || string(unit) != "kB" {
		return fmt.Errorf("line %.80q has no size in kB", line)
	}
	*to = n * 1024
	return nil
}

// smapsOf sums up, for each of vmas, what smaps in dir says of the mappings
// within it. Both are in address order.
func smapsOf(dir string, vmas []VMA, buf []byte) ([]Rollup, []byte, error) {
	path := dir + "/smaps"
	buf, err := readFile(path, buf[:0])
	if err != nil {
		return nil, buf, err
	}
	sums, err := parseSmaps(buf, vmas)
	if err != nil {
		return nil, buf, fmt.Errorf("parse %s: %w", path, err)
	}
	return sums, buf, nil
}

// parseSmaps is smapsOf without the file.
func parseSmaps(b []byte, vmas []VMA) ([]Rollup, error) {
	sums := make([]Rollup, len(vmas))
	var one, skip Rollup
	cur := &skip // where the lines of the present mapping go
	end := func() {
		if cur != &skip {
			cur.Rss += one.Rss
			cur.Anonymous += one.Anonymous
			cur.PrivateHugetlb += one.PrivateHugetlb
			cur.SharedHugetlb += one.SharedHugetlb
			cur.Swap += one.Swap
		}
		one = Rollup{}
	}
	i := 0
	for len(b) > 0 {
		var line []byte
		line, b = cutLine(b)
		var v VMA
		if _, ok := parseMapping(line, &v); ok {
			end()
			for i < len(vmas) && vmas[i].End <= v.Start {
				i++
			}
			cur = &skip
			if i < len(vmas) && v.Start >= vmas[i].Start {
				cur = &sums[i]
			}
			continue
		}
		if cur == &skip {
			continue
		}
		if err := one.parseLine(line); err != nil {
			return nil, err
		}
	}
	end()
	return sums, nil
}

// pagesByType splits the resident pages of a mapping that nobody looked at one
// by one.
func (r *Rollup) pagesByType(v *VMA) (pages [heat.NumTypes]uint64) {
	anon := min(r.Anonymous, r.Rss) + r.PrivateHugetlb
	rest := r.Rss - min(r.Anonymous, r.Rss)
	pages[heat.Anon] = anon / heat.PageSize
	pages[v.typeByName()] += rest / heat.PageSize
	pages[heat.File] += r.SharedHugetlb / heat.PageSize
	return pages
}
