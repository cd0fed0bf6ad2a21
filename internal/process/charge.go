package process

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"mglru_exporter/internal/heat"
)

// kpfLRU is the bit of /proc/kpageflags for a page on an LRU list.
const kpfLRU = 1 << 5

// A ChargeReader tells which pages of a process are charged to a memcg. It keeps
// its buffers from one process to the next, so make one and use it again, but
// never from two goroutines at once.
type ChargeReader struct {
	fs      FS
	flags   kpage
	cgroups kpage
	pid     int
	pagemap int
	entries *[heat.PagesPerRegion * 8]byte
	reads   int
}

// NewChargeReader returns a ChargeReader of the processes in fs. It opens
// nothing before Open.
func NewChargeReader(fs FS) *ChargeReader {
	return &ChargeReader{
		fs:    fs,
		flags: kpage{path: fs.root + "/kpageflags", fd: -1}, cgroups: kpage{path: fs.root + "/kpagecgroup", fd: -1},
		pagemap: -1, entries: new([heat.PagesPerRegion * 8]byte),
	}
}

// Open makes a process the one whose pages are asked for. The errors are those
// of Reader.Read, ErrBlocked, or that the kernel has no /proc/kpagecgroup.
func (c *ChargeReader) Open(pid int) error {
	c.Close()
	for _, k := range []*kpage{&c.flags, &c.cgroups} {
		var err error
		if k.fd, err = openFile(k.path); err != nil {
			return err
		}
	}
	return c.fs.withMemory(pid, func(dir string) error {
		path := dir + "/pagemap"
		fd, err := openFile(path)
		if err != nil {
			return err
		}
		// Without an address space it can be opened, and is empty.
		c.pid, c.pagemap = pid, fd
		n, err := c.read(8, 0)
		switch {
		case err != nil:
			err = pathError("read", path, err)
		case n == 0:
			err = fmt.Errorf("read %s: %w", path, ErrNoMemory)
		}
		if err != nil {
			unix.Close(fd)
			c.pagemap = -1
		}
		return err
	})
}

// Close closes what Open has opened.
func (c *ChargeReader) Close() {
	for _, fd := range []*int{&c.flags.fd, &c.cgroups.fd, &c.pagemap} {
		if *fd >= 0 {
			unix.Close(*fd)
		}
		*fd = -1
	}
}

// Reads returns how many reads of page frames there have been, which are what
// asking costs: about half a microsecond each.
func (c *ChargeReader) Reads() int { return c.reads }

// Charged returns those of the given pages of a region that are charged to the
// memcg whose directory has the given inode, and that are on an LRU list. What
// is charged to a memcg that was removed counts as its nearest living
// ancestor's, as page_cgroup_ino() in mm/memcontrol.c has it.
func (c *ChargeReader) Charged(region uint64, pages *heat.Bitmap, inode uint64) (heat.Bitmap, error) {
	var out heat.Bitmap
	n, err := c.read(len(c.entries), int64(region*heat.PagesPerRegion*8))
	if err != nil {
		return out, pathError("read", "pagemap", err)
	}
	if n < len(c.entries) { // see tornReads
		return out, nil
	}
	for i := 0; i < heat.PagesPerRegion; {
		pfn, ok := c.frame(pages, i)
		if !ok {
			i++
			continue
		}
		end := i + 1
		for end < heat.PagesPerRegion {
			if next, ok := c.frame(pages, end); !ok || next != pfn+uint64(end-i) {
				break
			}
			end++
		}
		if err := c.charged(pfn, end-i, inode, func(k int) { out.Set(i + k) }); err != nil {
			return heat.Bitmap{}, err
		}
		i = end
	}
	return out, nil
}

// read reads so many bytes of pagemap into entries.
func (c *ChargeReader) read(bytes int, offset int64) (int, error) {
	entries, fd := c.entries, c.pagemap
	var got int
	running, err := c.fs.guard.Run(context.Background(), c.pid, nil, func() (err error) {
		got, err = retry(func() (int, error) { return unix.Pread(fd, entries[:bytes], offset) })
		return err
	})
	if running {
		c.entries = new([heat.PagesPerRegion * 8]byte)
		return 0, err
	}
	return got, err
}

// frame returns the page frame of page i, if it is asked for and present.
func (c *ChargeReader) frame(pages *heat.Bitmap, i int) (uint64, bool) {
	e := binary.LittleEndian.Uint64(c.entries[i*8:])
	return e & pmFrame, pages.Has(i) && e&pmPresent != 0 && e&pmFrame != 0
}

// charged calls f for each of n page frames in a row that is charged to the memcg.
func (c *ChargeReader) charged(pfn uint64, n int, inode uint64, f func(int)) error {
	c.reads += 2
	flags, err := c.flags.read(pfn, n)
	if err != nil {
		return err
	}
	cgroups, err := c.cgroups.read(pfn, n)
	if err != nil {
		return err
	}
	// Before 6.4 both files say of the tail of a large folio what its own struct
	// page says, which is nothing; the head knows.
	var head, headFlags, headCgroup uint64
	for k := range n {
		fl, cg := flags.at(k), cgroups.at(k)
		switch {
		case fl&kpfCompoundHead != 0:
			head, headFlags, headCgroup = pfn+uint64(k), fl, cg
		case fl&kpfCompoundTail != 0:
			if head == 0 {
				if head, headFlags, headCgroup, err = c.head(pfn + uint64(k)); err != nil {
					return err
				}
			}
			fl, cg = fl|headFlags, max(cg, headCgroup)
		default:
			head = 0
		}
		if cg == inode && fl&kpfLRU != 0 {
			f(k)
		}
	}
	return nil
}

// head finds the head of the folio that a tail belongs to; see
// pageFlags.readHead.
func (c *ChargeReader) head(tail uint64) (head, flags, cgroup uint64, err error) {
	for order := 1; order <= maxFolioOrder; order++ {
		pfn := tail &^ (1<<order - 1)
		if pfn == tail {
			continue
		}
		c.reads++
		fl, err := c.flags.read(pfn, 1)
		if err != nil {
			return 0, 0, 0, err
		}
		if f := fl.at(0); f&kpfCompoundHead != 0 {
			cg, err := c.cgroups.read(pfn, 1)
			if err != nil {
				return 0, 0, 0, err
			}
			return pfn, f, cg.at(0), nil
		}
	}
	return 0, 0, 0, nil
}

// A kpage is a file with one word for each page frame.
type kpage struct {
	path string
	fd   int
	buf  [heat.PagesPerRegion * 8]byte
}

type words []byte

func (w words) at(i int) uint64 { return binary.LittleEndian.Uint64(w[i*8:]) }

var errShort = errors.New("short read")

func (k *kpage) read(pfn uint64, n int) (words, error) {
	b := k.buf[:n*8]
	got, err := retry(func() (int, error) { return unix.Pread(k.fd, b, int64(pfn*8)) })
	if err == nil && got != len(b) {
		err = errShort
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", k.path, err)
	}
	return words(b), nil
}
