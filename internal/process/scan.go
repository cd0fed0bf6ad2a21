package process

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"mglru_exporter/internal/heat"
)

// The PAGEMAP_SCAN ioctl of /proc/PID/pagemap, from include/uapi/linux/fs.h of
// Linux 6.7 and later.
const (
	pagemapScan = 0xc0606610 // _IOWR('f', 16, struct pm_scan_arg)

	pageIsPresent = 1 << 3
	pageIsSwapped = 1 << 4
)

// A scanArg is struct pm_scan_arg, and the one struct page_region that it
// points to. It lives in the Reader, on the heap, and so never moves.
type scanArg struct {
	size, flags         uint64
	start, end, walkEnd uint64
	vec, vecLen         uint64
	maxPages            uint64
	categoryInverted    uint64
	categoryMask        uint64
	categoryAnyofMask   uint64
	returnMask          uint64
	region              [3]uint64 // start, end, categories
}

// scanPopulated returns the first page of [page, end) that is present or
// swapped out, or end if there is none. A hole costs it a look at each upper
// page table, not at each page. Where the kernel has no PAGEMAP_SCAN the error
// is ENOTTY.
func (r *Reader) scanPopulated(fd int, page, end uint64) (uint64, error) {
	r.progress.Add(1)
	a := &r.scan
	*a = scanArg{
		size:              uint64(unsafe.Offsetof(a.region)),
		start:             page * heat.PageSize,
		end:               end * heat.PageSize,
		vec:               uint64(uintptr(unsafe.Pointer(&a.region))),
		vecLen:            1,
		maxPages:          1,
		categoryAnyofMask: pageIsPresent | pageIsSwapped,
		returnMask:        pageIsPresent,
	}
	for {
		n, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), pagemapScan, uintptr(unsafe.Pointer(a)))
		runtime.KeepAlive(r)
		switch {
		case errno == unix.EINTR:
			continue
		case errno != 0:
			return 0, scanError(page, errno)
		case n == 0:
			return end, nil
		}
		return min(max(a.region[0]/heat.PageSize, page), end), nil
	}
}
