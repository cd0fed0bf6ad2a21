package process

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"mglru_exporter/internal/heat"
)

// A VMA is one mapping: a line of /proc/PID/maps.
type VMA struct {
	// Start and End are its first address and the one after its last, both
	// multiples of heat.PageSize.
	Start, End uint64
	// Perms are r, w and x, then p for private or s for shared; '-' where not.
	Perms [4]byte
	// Offset is where in the file it begins, in bytes.
	Offset uint64
	// Dev is the file system's device, major<<32 | minor, and Inode the file's
	// number in it; both are 0 without a file.
	Dev, Inode uint64
	// Name is the file's path, or a name of the kernel's such as [heap], or
	// empty. It is raw but for newlines, which read \012; a file that has been
	// deleted has " (deleted)" at its end, as might one that has not.
	Name string
}

// Shared tells whether writes go to the file, or to the other processes that
// have the mapping.
func (v *VMA) Shared() bool { return v.Perms[3] == 's' }

// ShowsVCPU tells whether it is the state of a virtual CPU of KVM, so that its
// process runs a guest.
func (v *VMA) ShowsVCPU() bool { return strings.HasPrefix(v.Name, "anon_inode:kvm-vcpu") }

// Domain returns it as package heat sees it.
func (v *VMA) Domain() heat.Mapping {
	m := heat.Mapping{
		Start: v.Start, End: v.End, Offset: v.Offset, Name: v.Name,
		NoAccess: v.Perms[0] == '-' && v.Perms[1] == '-' && v.Perms[2] == '-',
	}
	if m.Name == "" {
		m.Name = heat.AnonMapping
	}
	return m
}

// Maps returns the mappings of a process in address order, none overlapping
// another. The kernel makes the list piece by piece, so a process that maps
// and unmaps meanwhile may show a mixture of moments.
//
// The errors are ErrGone and ErrNoMemory, no permission (os.ErrPermission) to
// trace the process, ErrBlocked, or that maps could not be read or understood.
func (f FS) Maps(pid int) ([]VMA, error) {
	var vmas []VMA
	_, err := f.guard.Run(context.Background(), pid, nil, func() error {
		return f.withMemory(pid, func(dir string) error {
			var err error
			vmas, _, err = readMaps(dir, vmas, nil)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return vmas, nil
}

// readMaps reads the maps file in dir into vmas and buf, whose former contents
// are dropped. An empty list, which no address space has, is ErrNoMemory.
func readMaps(dir string, vmas []VMA, buf []byte) ([]VMA, []byte, error) {
	path := dir + "/maps"
	buf, err := readFile(path, buf[:0])
	if err != nil {
		return vmas[:0], buf, err
	}
	vmas, err = parseMaps(buf, vmas)
	if err != nil {
		return vmas[:0], buf, fmt.Errorf("parse %s: %w", path, err)
	}
	if len(vmas) == 0 {
		return vmas, buf, fmt.Errorf("read %s: %w", path, ErrNoMemory)
	}
	return vmas, buf, nil
}

// parseMaps parses a maps file into vmas, whose former elements are dropped
// but for the names, which are used again where they are the same.
func parseMaps(b []byte, vmas []VMA) ([]VMA, error) {
	vmas = vmas[:0]
	var last uint64
	for len(b) > 0 {
		var line []byte
		line, b = cutLine(b)
		if len(vmas) == cap(vmas) {
			vmas = append(vmas, VMA{})
		} else {
			vmas = vmas[:len(vmas)+1]
		}
		v := &vmas[len(vmas)-1]
		name, ok := parseMapping(line, v)
		if !ok {
			return nil, fmt.Errorf("mapping %d is %.120q", len(vmas)-1, line)
		}
		switch {
		case v.Name == string(name):
		case len(vmas) > 1 && vmas[len(vmas)-2].Name == string(name):
			v.Name = vmas[len(vmas)-2].Name
		default:
			v.Name = string(name)
		}
		// A mapping that grew between two pieces of the list shows twice.
		if v.Start < last {
			v.Offset += last - v.Start
			v.Start = last
		}
		if v.Start >= v.End {
			vmas = vmas[:len(vmas)-1]
			continue
		}
		last = v.End
	}
	return vmas, nil
}

// parseMapping parses a line of maps into all of v but its name. The form is
// that of show_map_vma() in fs/proc/task_mmu.c:
//
//	55ca087ad000-55ca087af000 r--p 00000000 fe:00 247278      /usr/bin/head
func parseMapping(line []byte, v *VMA) (name []byte, ok bool) {
	field, rest := cutField(line)
	dash := bytes.IndexByte(field, '-')
	if dash < 0 {
		return nil, false
	}
	var ok1, ok2, ok3, ok4, ok5, ok6 bool
	v.Start, ok1 = parseHex(field[:dash])
	v.End, ok2 = parseHex(field[dash+1:])
	if !ok1 || !ok2 || v.Start >= v.End || (v.Start|v.End)%heat.PageSize != 0 {
		return nil, false
	}
	field, rest = cutField(rest)
	if copy(v.Perms[:], field) != 4 || len(field) != 4 {
		return nil, false
	}
	field, rest = cutField(rest)
	v.Offset, ok3 = parseHex(field)
	field, rest = cutField(rest)
	colon := bytes.IndexByte(field, ':')
	if colon < 0 {
		return nil, false
	}
	major, ok4 := parseHex(field[:colon])
	minor, ok5 := parseHex(field[colon+1:])
	v.Dev = major<<32 | minor&0xffffffff
	field, rest = cutField(rest)
	v.Inode, ok6 = parseUint(field)
	// The name begins after the padding; if it begins with blanks itself, the
	// kernel's format cannot say so.
	return bytes.TrimLeft(rest, " "), ok3 && ok4 && ok5 && ok6
}

// An areaKind says which pages a mapping can have, and so how to read the file
// bit of its pagemap entries.
type areaKind uint8

const (
	// areaAnon is private memory without a file. The huge zero page is the
	// only page in it that is not anonymous.
	areaAnon areaKind = iota
	// areaPrivate is a private mapping of a file: its pages are the file's
	// until they are written to, then anonymous.
	areaPrivate
	// areaShared has no anonymous page. A page that looks anonymous has no
	// struct page, or the driver keeps it to itself; the kernel counts neither.
	areaShared
	// areaDevice is a private mapping of a device's file. It may have
	// anonymous pages, and frames that only look so.
	areaDevice
	// areaSkip is a page of the kernel's own, which counts for no process.
	areaSkip
)

// kind classifies a mapping. The name of a file is no evidence: in a mount namespace of
// its own a process can call its file /dev/zero. Only what has neither device nor
// inode has a name of the kernel's own.
func (v *VMA) kind() areaKind {
	noFile := v.Dev == 0 && v.Inode == 0
	switch {
	case noFile && (v.Name == "[vsyscall]" || strings.HasPrefix(v.Name, "[vvar")):
		return areaSkip
	case v.Shared():
		return areaShared
	case noFile && isAnonName(v.Name):
		return areaAnon
	case v.mayBeZero(): // all its pages are anonymous, if it is
		return areaPrivate
	case strings.HasPrefix(v.Name, "/dev/") && !strings.HasPrefix(v.Name, "/dev/shm/"):
		return areaDevice
	}
	return areaPrivate
}

// mayBeZero reports whether it may map the device /dev/zero, privately: then it may
// have the huge zero page.
func (v *VMA) mayBeZero() bool { return v.Name == "/dev/zero" }

// isAnonName tells the names of plain private memory from those of the
// kernel's special mappings, such as [vdso], which have no file either.
func isAnonName(name string) bool {
	return name == "" || name == "[heap]" || strings.HasPrefix(name, "[stack") || strings.HasPrefix(name, "[anon:")
}

// typeByName guesses from a mapping's name the type of its pages that are not
// anonymous: shared memory shows under a handful of names, but a file on any
// other tmpfs does not.
func (v *VMA) typeByName() heat.Type {
	for _, prefix := range []string{"/dev/shm/", "/memfd:", "/SYSV", "/dev/zero (deleted)", "[anon_shmem:"} {
		if strings.HasPrefix(v.Name, prefix) {
			return heat.Shmem
		}
	}
	return heat.File
}
