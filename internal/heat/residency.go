package heat

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
}

// UnscannedPages counts resident pages that were not looked at one by one.
type UnscannedPages struct {
	Node  int16
	Type  Type
	Pages uint64
}
