package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"mglru_exporter/internal/heat"
)

// A Mapping is a mapping and what the kernel sums up over its pages, in bytes:
// an entry of /proc/PID/smaps.
type Mapping struct {
	VMA
	// Rss is what is resident, without hugetlb pages. Pages that are being
	// migrated at the moment count, as not referenced.
	Rss uint64
	// Referenced is the part of Rss that has been accessed through this
	// mapping since its accessed bits were last cleared, or that carries the
	// flag PG_referenced or PG_young for another reason (smaps_account() in
	// fs/proc/task_mmu.c). A huge page counts whole.
	Referenced uint64
	// Anonymous is the part of Rss that is anonymous.
	Anonymous uint64
	// SharedRss is the part of Rss that others map too.
	SharedRss uint64
	// PrivateHugetlb and SharedHugetlb are hugetlb pages.
	PrivateHugetlb, SharedHugetlb uint64
	// Swap is what is swapped out.
	Swap uint64
	// FileType is the type of the pages that are not anonymous.
	FileType heat.Type
	// Node is the NUMA node that all its pages are on, -1 where they are on
	// several or it is not known.
	Node int16
	// Special says that the kernel does not treat it as memory (VM_PFNMAP):
	// it has no accessed bits for us.
	Special bool
}

// PlainAnon tells whether it maps memory without a file, all of whose pages are
// anonymous.
func (m *Mapping) PlainAnon() bool { return m.kind() == areaAnon }

// A MappingReader reads the mappings of processes, and makes the kernel count
// anew what is referenced. It keeps its buffers; never use one from two
// goroutines at once.
type MappingReader struct {
	fs FS
	*mappingBuffers
}

// mappingBuffers are what a read works with. One that hangs keeps them.
type mappingBuffers struct {
	buf  []byte
	maps []Mapping
}

// NewMappingReader returns a MappingReader of the processes in fs.
func NewMappingReader(fs FS) *MappingReader { return &MappingReader{fs, &mappingBuffers{}} }

// guarded calls read with the directory of the process, and of a thread of it if need
// be; see FS.withMemory.
func (r *MappingReader) guarded(pid int, read func(b *mappingBuffers, dir string) error) error {
	b := r.mappingBuffers
	running, err := r.fs.guard.Run(context.Background(), pid, nil, func() error {
		return r.fs.withMemory(pid, func(dir string) error { return read(b, dir) })
	})
	if running {
		r.mappingBuffers = &mappingBuffers{}
	}
	return err
}

// Read returns the mappings of a process in address order, none overlapping
// another. They are valid until the next call. It walks all page tables, at
// about 10 ms per resident GiB, while the process may run and map and unmap.
//
// FileType is found from the file system, through /proc/PID/map_files, or else
// from the name; a file of an overlay on a tmpfs is File. Node is -1 until Locate.
//
// The errors are ErrGone and ErrNoMemory, no permission (os.ErrPermission) to
// trace the process, ErrBlocked, or that smaps could not be read or understood.
func (r *MappingReader) Read(pid int) ([]Mapping, error) {
	err := r.guarded(pid, func(b *mappingBuffers, dir string) error {
		path := dir + "/smaps"
		var err error
		if b.buf, err = readFile(path, b.buf[:0]); err != nil {
			return err
		}
		if len(b.buf) == 0 {
			return fmt.Errorf("read %s: %w", path, ErrNoMemory)
		}
		if b.maps, err = parseMappings(b.buf, b.maps); err != nil {
			return fmt.Errorf("parse %s: %w", path, err)
		}
		findFileTypes(r.fs.mapFiles(dir), b.maps)
		for i := range b.maps {
			b.maps[i].Node = nodeUnknown
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return r.maps, nil
}

// ClearRefs makes the kernel forget all accesses to the memory of a process: it
// clears the accessed bit of each page that the process maps, and the page's
// flags PG_young and PG_referenced, for all who map it. Mappings of hugetlb and
// VM_PFNMAP are left alone. The kernel holds the process's mmap_lock for writing
// meanwhile, which its page faults wait for, and flushes no TLB
// (clear_refs_write() in fs/proc/task_mmu.c).
func (r *MappingReader) ClearRefs(pid int) error {
	return r.guarded(pid, func(_ *mappingBuffers, dir string) error {
		path := dir + "/clear_refs"
		fd, err := retry(func() (int, error) { return unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0) })
		if err != nil {
			return pathError("open", path, err)
		}
		defer unix.Close(fd)
		if _, err := retry(func() (int, error) { return unix.Write(fd, []byte("1")) }); err != nil {
			return pathError("write", path, err)
		}
		// Where there is no address space the kernel takes the write, and does
		// nothing.
		return r.fs.checkMemory(dir)
	})
}

// Locate finds the node of each mapping, where it has one only, in numa_maps.
// That walks the page tables once more, but nothing is read where one node has
// all the machine's memory: nodes are those that have any. After ErrBlocked maps are
// no longer the caller's.
func (r *MappingReader) Locate(pid int, maps []Mapping, nodes []int) error {
	if len(nodes) == 1 {
		for i := range maps {
			maps[i].Node = int16(nodes[0])
		}
		return nil
	}
	return r.guarded(pid, func(b *mappingBuffers, dir string) error {
		path := dir + "/numa_maps"
		var err error
		if b.buf, err = readFile(path, b.buf[:0]); err != nil {
			return err
		}
		if len(b.buf) == 0 {
			return fmt.Errorf("read %s: %w", path, ErrNoMemory)
		}
		if err := parseNumaMaps(b.buf, maps); err != nil {
			return fmt.Errorf("parse %s: %w", path, err)
		}
		return nil
	})
}

// parseMappings parses a smaps file into maps, whose former elements are dropped
// but for the names, which are used again where they are the same.
func parseMappings(b []byte, maps []Mapping) ([]Mapping, error) {
	maps = maps[:0]
	var cur *Mapping
	for len(b) > 0 {
		var line []byte
		line, b = cutLine(b)
		var v VMA
		if name, ok := parseMapping(line, &v); ok {
			// A mapping that was joined with the ones before it between two
			// pieces of the file shows again, and has what they had.
			for len(maps) > 0 && maps[len(maps)-1].End > v.Start {
				maps = maps[:len(maps)-1]
			}
			maps = slices.Grow(maps, 1)[:len(maps)+1]
			cur = &maps[len(maps)-1]
			if v.Name = cur.Name; v.Name != string(name) {
				v.Name = string(name)
			}
			*cur = Mapping{VMA: v}
			continue
		}
		if cur == nil {
			return nil, fmt.Errorf("%.80q comes before any mapping", line)
		}
		if err := cur.parseLine(line); err != nil {
			return nil, err
		}
	}
	return maps, nil
}

// parseLine takes in a line such as "Rss:      1732 kB", if it is one that is
// wanted.
func (m *Mapping) parseLine(line []byte) error {
	key, rest, ok := bytes.Cut(line, []byte(":"))
	if !ok {
		return nil
	}
	var to *uint64
	switch string(key) {
	case "Rss":
		to = &m.Rss
	case "Referenced":
		to = &m.Referenced
	case "Anonymous":
		to = &m.Anonymous
	case "Private_Hugetlb":
		to = &m.PrivateHugetlb
	case "Shared_Hugetlb":
		to = &m.SharedHugetlb
	case "Swap":
		to = &m.Swap
	case "Shared_Clean", "Shared_Dirty":
		n, err := parseKB(line, rest)
		m.SharedRss += n
		return err
	case "VmFlags":
		for flag, rest := cutField(rest); len(flag) > 0; flag, rest = cutField(rest) {
			if string(flag) == "pf" {
				m.Special = true
			}
		}
		return nil
	default:
		return nil
	}
	n, err := parseKB(line, rest)
	*to = n
	return err
}

// parseKB parses what follows the colon of a line of smaps into bytes.
func parseKB(line, rest []byte) (uint64, error) {
	number, unit := cutField(rest)
	n, ok := parseUint(number)
	// The bound lets sums over all mappings that there can be fit 64 bits.
	if unit, _ = cutField(unit); !ok || n > 1<<37 || string(unit) != "kB" {
		return 0, fmt.Errorf("line %.80q has no size in kB", line)
	}
	return n * 1024, nil
}

// parseNumaMaps sets the nodes of maps, in address order, from a numa_maps file.
// It has a line for each mapping (show_numa_map() in fs/proc/task_mmu.c); blanks
// and equal signs of file names are escaped:
//
//	7f1c2a600000 default file=/dev/shm/a\040b mapped=3 N0=1 N1=2 kernelpagesize_kB=4
func parseNumaMaps(b []byte, maps []Mapping) error {
	i := 0
	for len(b) > 0 {
		var line []byte
		line, b = cutLine(b)
		field, rest := cutField(line)
		start, ok := parseHex(field)
		if !ok {
			return fmt.Errorf("line %.80q begins with no address", line)
		}
		for i < len(maps) && maps[i].Start < start {
			i++
		}
		if i == len(maps) || maps[i].Start != start {
			continue
		}
		node, nodes := int16(nodeUnknown), 0
		for field, rest = cutField(rest); len(field) > 0; field, rest = cutField(rest) {
			number, _, _ := bytes.Cut(field, []byte("="))
			if len(number) < 2 || number[0] != 'N' {
				continue
			}
			n, ok := parseUint(number[1:])
			if !ok || n > math.MaxInt16 {
				continue
			}
			node = int16(n)
			nodes++
		}
		if maps[i].Node = nodeUnknown; nodes == 1 {
			maps[i].Node = node
		}
	}
	return nil
}

// findFileTypes sets the types of the pages that are not anonymous. Dir is the
// process's map_files.
func findFileTypes(dir string, maps []Mapping) {
	types := make(map[uint64]heat.Type, 4) // by device
	for i := range maps {
		m := &maps[i]
		m.FileType = m.typeByName()
		if m.Rss == 0 || m.Inode == 0 && m.Dev == 0 || m.kind() == areaDevice {
			continue
		}
		typ, ok := types[m.Dev]
		if !ok {
			var err error
			if typ, err = typeByFS(dir, &m.VMA); err != nil {
				continue // the name has to do
			}
			types[m.Dev] = typ
		}
		m.FileType = typ
	}
}

// typeByFS tells from the file system of a mapping's file whether its pages are
// shared memory.
func typeByFS(dir string, v *VMA) (heat.Type, error) {
	path := dir + "/" + strconv.FormatUint(v.Start, 16) + "-" + strconv.FormatUint(v.End, 16)
	for {
		var st unix.Statfs_t
		err := unix.Statfs(path, &st)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, fmt.Errorf("statfs %s: %w", path, err)
		case st.Type == unix.TMPFS_MAGIC:
			return heat.Shmem, nil
		}
		return heat.File, nil
	}
}
