package heat

import "strings"

// A ResidentPart is the resident pages of one region that have one node and
// one type. A region whose pages differ has several parts, which share no page.
type ResidentPart struct {
	// Region is the region's start address divided by RegionSize.
	Region uint64
	// Node is the NUMA node of the pages.
	Node int16
	// Type is the type of the pages.
	Type Type
	// Pages are the resident pages.
	Pages Bitmap
}

// A Residency is what /proc says a process has in memory at one moment.
type Residency struct {
	// Parts are sorted by Region.
	Parts []ResidentPart
	// SwappedPages is the number of pages that have an entry in swap.
	SwappedPages uint64
	// Unscanned is the resident pages which the reader did not look at one by
	// one, by node and type (Node -1 where that is unknown). They are
	// unobserved.
	Unscanned []UnscannedPages
	// Mappings are what the process maps, in the order of addresses, none
	// overlapping another. There are none where the reader does not tell.
	Mappings []Mapping
	// Excluded is what Select took away.
	Excluded []Excluded
}

// A Mapping is a range of addresses that a process maps to one thing.
type Mapping struct {
	// Start and End are its first address and the one after its last, both
	// multiples of PageSize.
	Start, End uint64
	// Offset is where in its file it begins, in bytes; 0 without a file.
	Offset uint64
	// Name is the file's path, a name of the kernel's such as [heap], [stack] or
	// [anon:NAME], or AnonMapping where the kernel has none. It is as the
	// kernel gives it: not necessarily UTF-8, " (deleted)" after a file that is.
	Name string
	// NoAccess is set where nobody may read, write or execute it, as with memory
	// that is only reserved (PROT_NONE).
	NoAccess bool
}

// HasFile tells whether it maps a file, so that its Offset grows with Start.
func (m *Mapping) HasFile() bool { return strings.HasPrefix(m.Name, "/") }

// AnonMapping is the Name of memory without a file or a name of its own.
const AnonMapping = "[anon]"

// UnscannedPages counts resident pages that were not looked at one by one.
type UnscannedPages struct {
	Node int16
	Type Type
	// Mapping is where the mapping begins that they are in.
	Mapping uint64
	Pages   uint64
}
