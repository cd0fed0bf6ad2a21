package process

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"

	"mglru_exporter/internal/heat"
)

// Bits of /proc/kpageflags, from include/uapi/linux/kernel-page-flags.h.
const (
	kpfMmap         = 1 << 11
	kpfAnon         = 1 << 12
	kpfSwapBacked   = 1 << 14
	kpfCompoundHead = 1 << 15
	kpfCompoundTail = 1 << 16
	kpfHuge         = 1 << 17 // hugetlb
	kpfNoPage       = 1 << 20 // nothing is there, or memory that is offline or a device's
	kpfZeroPage     = 1 << 24 // the zero page, or a page of the huge zero page
)

// maxFolioOrder is the largest order of a page that can be mapped: a 1 GiB
// hugetlb page.
const maxFolioOrder = 18

// pageFlags reads /proc/kpageflags. It opens the file when it is first asked.
type pageFlags struct {
	path string
	fd   int
	open bool // tried to open; fd is -1 if that was in vain
}

// close closes the file; the next read opens it again.
func (p *pageFlags) close() {
	if p.open && p.fd >= 0 {
		unix.Close(p.fd)
	}
	p.open = false
}

// read returns the flags of a page frame, false if they cannot be read.
func (p *pageFlags) read(pfn uint64) (uint64, bool) {
	if !p.open {
		p.open = true
		fd, err := openFile(p.path)
		if err != nil {
			fd = -1
		}
		p.fd = fd
	}
	if p.fd < 0 {
		return 0, false
	}
	var b [8]byte
	n, err := retry(func() (int, error) { return unix.Pread(p.fd, b[:], int64(pfn*8)) })
	if err != nil || n != len(b) {
		return 0, false
	}
	return binary.LittleEndian.Uint64(b[:]), true
}

// isMemory tells whether a page frame is memory that is online. Where
// kpageflags cannot be opened all frames are taken for it.
func (p *pageFlags) isMemory(pfn uint64) bool {
	flags, ok := p.read(pfn)
	if !ok {
		return p.fd < 0 // else the file ends before it
	}
	return flags&kpfNoPage == 0
}

// readHead returns the flags of the folio that a page frame belongs to. Since
// 6.9 kpageflags shows the folio's flags for all its pages, but before it
// shows a tail page's own, which say nothing (stable_page_flags() in
// fs/proc/page.c).
func (p *pageFlags) readHead(pfn uint64) (uint64, bool) {
	flags, ok := p.read(pfn)
	if !ok || flags&kpfCompoundTail == 0 {
		return flags, ok
	}
	// A folio is aligned to its size, so its head is the first head among the
	// frames aligned ever more.
	for order := 1; order <= maxFolioOrder; order++ {
		head := pfn &^ (1<<order - 1)
		if head == pfn {
			continue
		}
		hf, ok := p.read(head)
		if !ok {
			return 0, false
		}
		if hf&kpfCompoundHead != 0 {
			return hf | flags&kpfMmap, true
		}
	}
	return flags, true
}

// fileType says whether a page that a process maps and that is not anonymous
// is shared memory or a file's: the rule by which the kernel splits RssShmem
// from RssFile (mm_counter_file() in include/linux/mm.h). It returns false if
// that cannot be read, and also if the page is by now another one.
func (p *pageFlags) fileType(pfn uint64) (heat.Type, bool) {
	flags, ok := p.readHead(pfn)
	switch {
	case !ok, flags&kpfMmap == 0, flags&(kpfAnon|kpfZeroPage) != 0:
		return heat.File, false
	case flags&kpfSwapBacked != 0 && flags&kpfHuge == 0:
		return heat.Shmem, true
	}
	return heat.File, true
}

// findZeroPage returns the page frame that all reads of untouched anonymous
// memory share, by being such a reader. It does not move while the kernel
// runs. 0 means that it could not be found.
func findZeroPage(f FS, flags *pageFlags) uint64 {
	mem, err := unix.Mmap(-1, 0, heat.PageSize, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
	if err != nil {
		return 0
	}
	defer unix.Munmap(mem) //nolint:errcheck // nothing to be done
	fd, err := openFile(f.root + "/self/pagemap")
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	var b [8]byte
	page := uint64(uintptr(unsafe.Pointer(unsafe.SliceData(mem)))) / heat.PageSize
	n, err := retry(func() (int, error) { return unix.Pread(fd, b[:], int64(page*8)) })
	e := binary.LittleEndian.Uint64(b[:])
	if err != nil || n != len(b) || e&pmPresent == 0 {
		return 0
	}
	pfn := e & pmFrame
	if fl, ok := flags.read(pfn); ok && fl&(kpfZeroPage|kpfCompoundHead|kpfCompoundTail) != kpfZeroPage {
		return 0
	}
	return pfn
}
