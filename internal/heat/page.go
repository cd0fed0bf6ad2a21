// Package heat is the domain of mglru_exporter: which page of which process
// was found young in which pass, and what that says about it at the end of a
// window. It does no I/O and knows nothing about how pages are watched.
package heat

import (
	"fmt"
	"math/bits"
)

// Sizes of the units everything is counted in. They are those of x86-64 with
// 4 KiB base pages, the only ones that sources which see pages work with. The source
// referenced counts bytes, on pages of any size.
const (
	// PageSize is the size of a base page in bytes.
	PageSize = 4096
	// RegionSize is the size of a region in bytes: what one page-table page,
	// or one huge PMD, maps.
	RegionSize = 2 << 20
	// PagesPerRegion is the number of base pages in a region.
	PagesPerRegion = RegionSize / PageSize

	words = PagesPerRegion / 64
)

// A Bitmap has one bit for each page of a region, lowest address first.
type Bitmap [words]uint64

// Count returns the number of pages set, 0 to PagesPerRegion.
func (b *Bitmap) Count() int {
	return bits.OnesCount64(b[0]) + bits.OnesCount64(b[1]) + bits.OnesCount64(b[2]) + bits.OnesCount64(b[3]) +
		bits.OnesCount64(b[4]) + bits.OnesCount64(b[5]) + bits.OnesCount64(b[6]) + bits.OnesCount64(b[7])
}

// empty tells whether no page is set.
func (b *Bitmap) empty() bool {
	return b[0]|b[1]|b[2]|b[3]|b[4]|b[5]|b[6]|b[7] == 0
}

// meets tells whether a page is set here and in c.
func (b *Bitmap) meets(c *Bitmap) bool {
	return b[0]&c[0]|b[1]&c[1]|b[2]&c[2]|b[3]&c[3]|b[4]&c[4]|b[5]&c[5]|b[6]&c[6]|b[7]&c[7] != 0
}

// equals tells whether the same pages are set here and in c.
func (b *Bitmap) equals(c *Bitmap) bool {
	return (b[0]^c[0])|(b[1]^c[1])|(b[2]^c[2])|(b[3]^c[3])|(b[4]^c[4])|(b[5]^c[5])|(b[6]^c[6])|(b[7]^c[7]) == 0
}

// common returns the number of pages that are set here and in c.
func (b *Bitmap) common(c *Bitmap) int {
	return bits.OnesCount64(b[0]&c[0]) + bits.OnesCount64(b[1]&c[1]) +
		bits.OnesCount64(b[2]&c[2]) + bits.OnesCount64(b[3]&c[3]) +
		bits.OnesCount64(b[4]&c[4]) + bits.OnesCount64(b[5]&c[5]) +
		bits.OnesCount64(b[6]&c[6]) + bits.OnesCount64(b[7]&c[7])
}

// Set sets page i, which must be in [0, PagesPerRegion).
func (b *Bitmap) Set(i int) { b[i>>6] |= 1 << (i & 63) }

// Has tells whether page i, which must be in [0, PagesPerRegion), is set.
func (b *Bitmap) Has(i int) bool { return b[i>>6]>>(i&63)&1 != 0 }

// SetRange sets the pages of [from, to), both in [0, PagesPerRegion].
func (b *Bitmap) SetRange(from, to int) {
	for i := range b {
		lo, hi := max(from-i*64, 0), min(to-i*64, 64)
		if lo < hi {
			b[i] |= ^uint64(0) >> (64 - (hi - lo)) << lo
		}
	}
}

// Or adds the pages of c.
func (b *Bitmap) Or(c *Bitmap) {
	b[0] |= c[0]
	b[1] |= c[1]
	b[2] |= c[2]
	b[3] |= c[3]
	b[4] |= c[4]
	b[5] |= c[5]
	b[6] |= c[6]
	b[7] |= c[7]
}

// and leaves only the pages of c.
func (b *Bitmap) and(c *Bitmap) {
	for i := range b {
		b[i] &= c[i]
	}
}

// remove takes the pages of c away.
func (b *Bitmap) remove(c *Bitmap) {
	for i := range b {
		b[i] &^= c[i]
	}
}

// Type is what backs a page, as the kernel splits RSS in /proc/PID/status.
type Type uint8

// The types of pages. A page that was copied on write from a private file
// mapping is Anon.
const (
	Anon  Type = iota // RssAnon
	File              // RssFile
	Shmem             // RssShmem: tmpfs, memfd, SysV and shared anonymous memory
	NumTypes
)

// String returns the value of the metrics' type label.
func (t Type) String() string {
	switch t {
	case Anon:
		return "anon"
	case File:
		return "file"
	case Shmem:
		return "shmem"
	}
	return fmt.Sprintf("Type(%d)", uint8(t))
}

// A ProcessID tells one program image of one process from all others: pids are
// reused, and exec replaces an address space under the same pid.
type ProcessID struct {
	// TGID is the process id in the initial PID namespace.
	TGID int
	// Start is when the process started, in clock ticks since boot.
	Start uint64
	// Image changes, with all but certainty, at each exec. See
	// internal/process for what it is made of.
	Image uint64
}

// A Process is a process that a pass is to cover.
type Process struct {
	ProcessID
	// Comm is the process's name, up to 15 bytes, not necessarily UTF-8.
	Comm string
	// Memcg is the inode of the directory of the memcg that the process is in, 0
	// where it does not matter.
	Memcg uint64
}
