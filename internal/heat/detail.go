package heat

import "time"

// A RegionHeat is what one window says of one region of one process, for those
// who draw it. Counts of pages are 0 to PagesPerRegion; Hot, Warm and Cold are
// parts of Resident, and what is in none of them is unobserved.
type RegionHeat struct {
	// Region is the region's start address divided by RegionSize.
	Region uint64
	// Accesses is the sum over the window's passes of watched pages found young.
	Accesses uint32
	// Resident is the resident pages; Anon and Shmem are parts of it, the rest
	// is File.
	Resident, Anon, Shmem uint16
	Hot, Warm, Cold       uint16
	// Node is the NUMA node that most of the pages are on, -1 where none of
	// them is known.
	Node int16
	// Idle is for how long at least all of the region's watched pages have been
	// idle: 0 where one was found young in the window's last pass, or where
	// nothing is known.
	Idle time.Duration
}

// A ProcessWindow is what one window says of one process, region by region.
type ProcessWindow struct {
	Process
	// Regions are those with resident pages, ascending.
	Regions []RegionHeat
	// Mappings are the process's, as in Residency.
	Mappings []Mapping
}
