package process

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"mglru_exporter/internal/heat"
)

const (
	// windowPages is how many pages one read of pagemap covers at most: 64 KiB
	// of entries. Larger reads are slower.
	windowPages = 8192
	// gapPages is the largest hole between mappings that is read along with
	// them, rather than begin another read.
	gapPages = heat.PagesPerRegion
	// sparsePages is the size from which on a mapping is first asked where its
	// pages are, so that holes are not read entry by entry.
	sparsePages = 2048

	// tornReads is how often a read that came short is tried in all. Where a
	// page table changes under it into or from a huge page, a kernel before 6.5
	// leaves out its entries, and those of higher addresses follow in their
	// place (pagemap_pmd_range() returns 0 on pmd_trans_unstable()). So what
	// a short read has returned means nothing.
	tornReads = 100

	// MaxBlindBytes is the size of the largest mapping that is read where the
	// kernel has no PAGEMAP_SCAN (before 6.7) to skip holes. It takes 128 MiB
	// of pagemap entries. What is resident of larger ones (an address
	// sanitizer's shadow, a database's or a JVM's reservation) is counted as
	// unscanned.
	MaxBlindBytes = 64 << 30
)

// A Reader reads what processes have in memory, page by page. It keeps its
// buffers from one process to the next, so make one and use it again, but
// never from two goroutines at once.
type Reader struct {
	fs     FS
	flags  pageFlags
	buf    []byte // of maps and smaps
	vmas   []VMA
	maps   []Mapping
	window window
	scan   scanArg
	noScan bool // the kernel has no PAGEMAP_SCAN

	zeroPFN uint64 // 0 until it has been found
	// progress rises with each read of pagemap.
	progress atomic.Uint64

	decoder decoder
}

// NewReader returns a Reader of the processes in fs on a machine that has
// nodes, as LoadNodeMap found them in fs and sysRoot. It opens nothing and has
// nothing to be closed.
func NewReader(fs FS, sysRoot string, nodes *NodeMap) *Reader {
	r := &Reader{
		fs:    fs,
		flags: pageFlags{path: fs.root + "/kpageflags"},
	}
	r.window.buf = make([]byte, windowPages*8)
	r.decoder.types = make(map[fileID]heat.Type)
	r.decoder.flags = &r.flags
	r.decoder.nodes = nodes
	r.decoder.reload = func() (*NodeMap, error) { return LoadNodeMap(fs.root, sysRoot) }
	return r
}

// Read replaces what is in res by what the process has in memory now: every
// page that the kernel counts in its RssAnon, RssFile or RssShmem, and its
// hugetlb pages, which Rss leaves out: private ones as anon, shared ones as
// file. Parts are sorted by region, node and type, and unique. SwappedPages is the
// number of swap entries in the page tables (VmSwap), so swapped-out shared
// memory is not in it. Mappings are all but the kernel's own ([vvar], [vsyscall]).
// After an error res is empty.
//
// The type of a page that is not anonymous is found from the first such page
// of its file, in /proc/kpageflags; where that cannot be read, from the
// mapping's name, and then a file on a tmpfs outside of /dev/shm is File. Not
// counted, as in Rss: zero pages, frames without a struct page, and the
// kernel's own pages ([vvar]). Not counted either: ZONE_DEVICE memory.
//
// A page on memory that has come online since the nodes were read makes it read
// them again, once at most. One whose node is not known then either is in
// Unscanned, with node -1.
//
// It is not a snapshot: pages come and go while it is read, at about 8 ms per
// resident GiB. If the process may have executed another program meanwhile,
// or the pid may have been reused, Identify it again afterwards.
//
// The errors are ErrGone, ErrNoMemory and ErrNoPFN, no permission
// (os.ErrPermission) to trace the process, that of ctx, or that a file could
// not be read or understood.
func (r *Reader) Read(ctx context.Context, pid int, res *heat.Residency) error {
	defer r.flags.close()
	if r.zeroPFN == 0 {
		r.zeroPFN = findZeroPage(r.fs, &r.flags)
	}
	clear(r.decoder.types)
	r.decoder.reloaded = false
	err := r.fs.withMemory(pid, func(dir string) error {
		reset(res)
		r.decoder.reset(res, r.zeroPFN)
		return r.readDir(ctx, dir, res)
	})
	if err != nil {
		reset(res)
	}
	r.decoder.res = nil
	return err
}

// reset empties res but keeps its memory.
func reset(res *heat.Residency) {
	res.Parts, res.SwappedPages, res.Unscanned, res.Mappings, res.Excluded = res.Parts[:0], 0, res.Unscanned[:0], res.Mappings[:0], nil
}

// readDir reads the process, or thread, whose directory is given.
func (r *Reader) readDir(ctx context.Context, dir string, res *heat.Residency) error {
	// pagemap stays with the address space that it was opened on and reads
	// empty when that is no more. Opened first, it cannot be combined with the
	// mappings of an older one.
	path := dir + "/pagemap"
	fd, err := openFile(path)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if r.vmas, r.buf, err = readMaps(dir, r.vmas, r.buf); err != nil {
		return err
	}
	r.window.begin(fd)
	var giants []VMA
	for i := range r.vmas {
		v := &r.vmas[i]
		if v.kind() == areaSkip {
			continue
		}
		res.Mappings = append(res.Mappings, v.Domain())
		if r.noScan && v.End-v.Start > MaxBlindBytes {
			giants = append(giants, *v)
			continue
		}
		err := r.readVMA(ctx, i)
		if errors.Is(err, errNoScan) {
			giants = append(giants, *v)
			continue
		}
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, ErrNoPFN) {
				return err
			}
			return pathError("read", path, err)
		}
	}
	if len(giants) > 0 {
		if err := r.addGiants(dir, giants, res); err != nil {
			return err
		}
	}
	r.reconcile(dir, res)
	// A scan finds no page in an address space that is no more, and says
	// nothing. A read does: nobody has gone before it if it succeeds.
	if err := r.window.fill(r.vmas[0].Start/heat.PageSize, r.vmas[0].Start/heat.PageSize+1); err != nil {
		return pathError("read", path, err)
	}
	return nil
}

// errNoScan says that a mapping is too large to be read without PAGEMAP_SCAN.
var errNoScan = errors.New("no PAGEMAP_SCAN")

// readVMA reads mapping i, and as much of the next ones as comes along with it.
func (r *Reader) readVMA(ctx context.Context, i int) error {
	v := &r.vmas[i]
	w, d := &r.window, &r.decoder
	d.enter(v)
	page, end := v.Start/heat.PageSize, v.End/heat.PageSize
	first := true // nothing is known of what lies ahead in this mapping
	for page < end {
		if page < w.lo || page >= w.hi {
			if err := ctx.Err(); err != nil {
				return err
			}
			if end-page > sparsePages && (first || w.tailEmpty()) && !r.noScan {
				next, err := r.scanPopulated(w.fd, page, end)
				switch {
				case errors.Is(err, unix.ESRCH), errors.Is(err, unix.ENOMEM):
					return err
				case err != nil:
					r.noScan = true
					if v.End-v.Start > MaxBlindBytes {
						return errNoScan
					}
				case next >= end:
					return nil
				default:
					page = max(page, next&^(heat.PagesPerRegion-1))
					w.size = heat.PagesPerRegion
				}
			}
			if end-page <= sparsePages || r.noScan {
				w.size = windowPages
			}
			r.progress.Add(1)
			if err := w.fill(page, r.clusterEnd(i)); err != nil {
				return err
			}
		}
		first = false
		stop := min(end, w.hi)
		if err := d.decode(w.buf[(page-w.lo)*8:(stop-w.lo)*8], page); err != nil {
			return err
		}
		page = stop
	}
	return nil
}

// clusterEnd returns the page after the last one that is worth reading at once
// with mapping i, within the reach of a window.
func (r *Reader) clusterEnd(i int) uint64 {
	end := r.vmas[i].End / heat.PageSize
	limit := r.vmas[i].Start/heat.PageSize + windowPages
	for i++; i < len(r.vmas) && end < limit; i++ {
		next := &r.vmas[i]
		if next.Start/heat.PageSize-end > gapPages || next.kind() == areaSkip {
			break
		}
		end = next.End / heat.PageSize
	}
	return end
}

// addGiants counts what is resident of mappings that are too large to be read.
func (r *Reader) addGiants(dir string, giants []VMA, res *heat.Residency) error {
	sums, err := r.smapsOf(dir, giants)
	if err != nil {
		return err
	}
	for i := range giants {
		for t, n := range sums[i].pagesByType() {
			if n > 0 {
				res.Unscanned = append(res.Unscanned, heat.UnscannedPages{Node: nodeUnknown, Type: heat.Type(t), Mapping: giants[i].Start, Pages: n})
			}
		}
		res.SwappedPages += sums[i].Swap / heat.PageSize
	}
	return nil
}

// A window is the part of pagemap that has been read last.
type window struct {
	fd     int
	lo, hi uint64 // pages
	size   uint64 // of the next read, in pages
	buf    []byte // entries of [lo, hi)
}

// begin makes the window empty, over another pagemap file.
func (w *window) begin(fd int) {
	w.fd, w.lo, w.hi, w.size = fd, 0, 0, windowPages
}

// fill reads from page on, to end at most. Reads end where a region does, so
// that a region is never cut in two but by mappings. Reads that began after a
// hole are short, and longer again the more is found.
func (w *window) fill(page, end uint64) error {
	hi := min((page+w.size)&^(heat.PagesPerRegion-1), end)
	if hi <= page {
		hi = min(page+w.size, end)
	}
	w.lo, w.hi = page, page
	b := w.buf[:(hi-page)*8]
	for range tornReads {
		n, err := retry(func() (int, error) { return unix.Pread(w.fd, b, int64(page*8)) })
		switch {
		case err != nil:
			return err
		case n == 0:
			// Nothing below the end of the address space means that there is
			// none any more.
			return ErrGone
		case n == len(b):
			w.hi = hi
			w.size = min(w.size*2, windowPages)
			return nil
		}
	}
	return fmt.Errorf("pages %#x to %#x come short each time", page, hi)
}

// tailEmpty tells whether the last region of the window has neither present
// nor swapped pages: a hole has begun there.
func (w *window) tailEmpty() bool {
	n := (w.hi - w.lo) * 8
	for _, c := range w.buf[n-min(n, heat.PagesPerRegion*8) : n] {
		if c != 0 {
			return false
		}
	}
	return true
}

// scanError says where a scan went wrong.
func scanError(page uint64, err error) error {
	return fmt.Errorf("scan from %#x: %w", page*heat.PageSize, err)
}
