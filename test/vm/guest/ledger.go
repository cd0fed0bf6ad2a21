//go:build guest

package guest

import (
	"fmt"
	"math"
	"math/bits"
	"path"
	"strconv"
	"strings"
	"testing"

	"mglru_exporter/internal/heat"
)

const (
	pageSize = heat.PageSize
	hugeSize = heat.RegionSize
)

// A Kind is what backs an area.
type Kind string

// The kinds of areas.
const (
	Anon        Kind = "anon"
	THP         Kind = "thp"         // PMD-mapped anonymous memory
	Hugetlb     Kind = "hugetlb"     // a process reserves it, no LRU knows it
	File        Kind = "file"        // shared mapping of a file on ext4
	FilePrivate Kind = "fileprivate" // private mapping of one: written pages are anon
	Shmem       Kind = "shmem"       // shared mapping of a file on tmpfs
	SharedAnon  Kind = "sharedanon"
	Memfd       Kind = "memfd"
)

// Type returns the type of an area's pages, as long as none of a FilePrivate one
// is written.
func (k Kind) Type() heat.Type {
	switch k {
	case File, FilePrivate:
		return heat.File
	case Shmem, SharedAnon, Memfd:
		return heat.Shmem
	}
	return heat.Anon
}

// An Area is memory to map.
type Area struct {
	Name string
	Kind Kind
	// Size is in bytes, at most 1 GiB.
	Size uint64
	// Node is where all its pages are.
	Node int
	// Skew is by how many pages it starts after a multiple of 2 MiB.
	Skew int
	// Path is the file; empty means one in /data or /dev/shm after Name.
	Path string
	// Exists maps the file at Path as it is, with its page cache where that
	// is, instead of writing it first.
	Exists bool
	// Locked is for mlock, Advice "random" or "sequential" for madvise.
	Locked bool
	Advice string
	// Write populates by writing also what is not anonymous.
	Write bool
}

func (a Area) command() string {
	p := a.Path
	if p == "" {
		switch a.Kind {
		case File, FilePrivate:
			p = path.Join("/data", a.Name)
		case Shmem:
			p = path.Join("/dev/shm", a.Name)
		}
	}
	c := fmt.Sprintf("map %s kind=%s size=%d node=%d skew=%d", a.Name, a.Kind, a.Size, a.Node, a.Skew)
	if p != "" {
		c += " path=" + p
	}
	if a.Exists {
		c += " create=0"
	}
	if a.Locked {
		c += " mlock=1"
	}
	if a.Advice != "" {
		c += " advice=" + a.Advice
	}
	if a.Write {
		c += " write=1"
	}
	return c
}

// Watchable tells whether MGLRU's walk visits the area (KERNEL.md §5). If not,
// all its pages must read unobserved.
func (a Area) Watchable() bool { return a.Kind != Hugetlb && !a.Locked && a.Advice == "" }

// huge tells whether 2 MiB share one accessed bit.
func (a Area) huge() bool { return a.Kind == THP || a.Kind == Hugetlb }

// A Mapping is an area that a workload has mapped, with the ledger of what it
// touched in which pass.
type Mapping struct {
	Area
	// Addr is where it starts.
	Addr uint64

	w       *Workload
	touched Pages   // in the pass under way, by what the test asked for
	told    Pages   // the same since Check was called last
	passes  []Pages // by pass that has ended
}

// place takes "NAME addr=0x... size=N" of an answer.
func (m *Mapping) place(t testing.TB, answer string) {
	t.Helper()
	for word := range strings.FieldsSeq(answer) {
		if addr, ok := strings.CutPrefix(word, "addr="); ok {
			n, err := strconv.ParseUint(addr, 0, 64)
			if err != nil {
				t.Fatal(err)
			}
			m.Addr = n
		}
	}
	if m.Addr == 0 {
		t.Fatalf("workload: no address in %q", answer)
	}
}

// Touch reads one byte of each of count pages: first, first+step, and so on.
func (m *Mapping) Touch(t testing.TB, first, step, count int) {
	t.Helper()
	m.touch(t, first, step, count, "")
}

// WriteTo is Touch by writing.
func (m *Mapping) WriteTo(t testing.TB, first, step, count int) {
	t.Helper()
	m.touch(t, first, step, count, " write")
}

// TouchAll touches every page.
func (m *Mapping) TouchAll(t testing.TB) { t.Helper(); m.Touch(t, 0, 1, m.NumPages()) }

// TouchEvery touches every step-th page, beginning with the first.
func (m *Mapping) TouchEvery(t testing.TB, step int) {
	t.Helper()
	m.Touch(t, 0, step, (m.NumPages()+step-1)/step)
}

func (m *Mapping) touch(t testing.TB, first, step, count int, how string) {
	t.Helper()
	m.w.Do(t, "touch %s %d %d %d%s", m.Name, first, step, count, how)
	if m.told == nil {
		m.told = newPages(m.Size / pageSize)
	}
	for i := range count {
		page := first + i*step
		m.told.set(page)
		if !m.huge() {
			m.touched.set(page)
			continue
		}
		from := (page+m.Skew)/heat.PagesPerRegion*heat.PagesPerRegion - m.Skew
		for p := max(from, 0); p < min(from+heat.PagesPerRegion, m.NumPages()); p++ {
			m.touched.set(p)
		}
	}
}

// NumPages is the number of base pages.
func (m *Mapping) NumPages() int { return int(m.Size / pageSize) }

// Check compares what the workload says it touched since the last call with what
// it was told to.
func (m *Mapping) Check(t testing.TB) {
	t.Helper()
	got := newPages(m.Size / pageSize)
	for r := range strings.SplitSeq(m.w.Do(t, "pages %s", m.Name), ",") {
		if r == "" {
			continue
		}
		lo, hi, isRange := strings.Cut(r, "-")
		if !isRange {
			hi = lo
		}
		from, err := strconv.Atoi(lo)
		if err != nil {
			t.Fatal(err)
		}
		to, err := strconv.Atoi(hi)
		if err != nil {
			t.Fatal(err)
		}
		for p := from; p <= to; p++ {
			got.set(p)
		}
	}
	want := m.told
	if want == nil {
		want = newPages(m.Size / pageSize)
	}
	if !got.Equal(want) {
		t.Errorf("%s: the workload touched %d pages, told %d", m.Name, got.Count(), want.Count())
	}
	m.told = nil
}

// Classes are the pages of a mapping by how they must be classified; every page
// is in one.
type Classes struct {
	Hot, Warm, Cold, Unobserved Pages
	// Accesses is, per page, in how many of the passes it was touched; nil
	// where the walk never looks.
	Accesses []int
}

// Want returns the classes at the end of a window of that many passes, the last
// of which is the last that EndPass ended. It supposes that the mapping has been
// watched for long enough.
func (m *Mapping) Want(passes int, hotFraction float64) Classes {
	n := m.Size / pageSize
	c := Classes{Hot: newPages(n), Warm: newPages(n), Cold: newPages(n), Unobserved: newPages(n)}
	if !m.Watchable() {
		for p := range m.NumPages() {
			c.Unobserved.set(p)
		}
		return c
	}
	if len(m.passes) < passes {
		panic(fmt.Sprintf("%s: a window of %d passes, but only %d have ended", m.Name, passes, len(m.passes)))
	}
	need := int(math.Ceil(hotFraction*float64(passes) - 1e-9))
	c.Accesses = make([]int, m.NumPages())
	for p := range c.Accesses {
		for _, pass := range m.passes[len(m.passes)-passes:] {
			if pass.Has(p) {
				c.Accesses[p]++
			}
		}
		switch n := c.Accesses[p]; {
		case n >= need:
			c.Hot.set(p)
		case n > 0:
			c.Warm.set(p)
		default:
			c.Cold.set(p)
		}
	}
	return c
}

// LastPass returns the pages that the last ended pass must have found young. The
// caller must not change them.
func (m *Mapping) LastPass() Pages { return m.passes[len(m.passes)-1] }

// Regions calls f with each region (address / 2 MiB) that the mapping reaches
// into and those of pages that are in it.
func (m *Mapping) Regions(pages Pages, f func(region uint64, pages heat.Bitmap)) {
	first := m.Addr / hugeSize
	last := (m.Addr + m.Size - 1) / hugeSize
	for region := first; region <= last; region++ {
		var b heat.Bitmap
		for i := range heat.PagesPerRegion {
			addr := region*hugeSize + uint64(i)*pageSize
			if addr >= m.Addr && addr < m.Addr+m.Size && pages.Has(int((addr-m.Addr)/pageSize)) {
				b.Set(i)
			}
		}
		f(region, b)
	}
}

// Pages is a set of a mapping's pages, numbered from its start.
type Pages []uint64

func newPages(n uint64) Pages { return make(Pages, (n+63)/64) }

func (p Pages) set(i int) { p[i/64] |= 1 << (i % 64) }

// Has tells whether page i is in the set.
func (p Pages) Has(i int) bool { return i/64 < len(p) && p[i/64]>>(i%64)&1 != 0 }

// Count returns the number of pages in the set.
func (p Pages) Count() int {
	n := 0
	for _, w := range p {
		n += bits.OnesCount64(w)
	}
	return n
}

// Equal tells whether two sets of one mapping are the same.
func (p Pages) Equal(q Pages) bool {
	if len(p) != len(q) {
		return false
	}
	for i := range p {
		if p[i] != q[i] {
			return false
		}
	}
	return true
}

// Bytes is Count in bytes.
func (p Pages) Bytes() uint64 { return uint64(p.Count()) * pageSize }
