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
	// idle: 0 where one was found young in the window's last pass, was missed by
	// it or became resident in the window, or where nothing is known.
	Idle time.Duration
}

// A ProcessWindow is what one window says of one process, region by region.
type ProcessWindow struct {
	Process
	// End is when the window's last pass ended, Passes how many it had.
	End    time.Time
	Passes int
	// Regions are those with resident pages, ascending. What residency did not
	// look at page by page is in none.
	Regions []RegionHeat
	// Mappings are the process's, as in Residency.
	Mappings []Mapping
}

// Observers are told what a window says beyond its series. What they are given
// is valid only during the call. Those that are nil cost nothing.
type Observers struct {
	// Part is shown each part of each process.
	Part Visitor
	// Process is shown each process that has a residency.
	Process func(*ProcessWindow)
}

// describe returns what there is to say of a region by its parts alone.
func describe(parts []ResidentPart) RegionHeat {
	h := RegionHeat{Region: parts[0].Region, Node: -1}
	highest := 0
	for i := range parts {
		pages := parts[i].Pages.Count()
		h.Resident += uint16(pages)
		switch parts[i].Type {
		case Anon:
			h.Anon += uint16(pages)
		case Shmem:
			h.Shmem += uint16(pages)
		}
		if parts[i].Node < 0 {
			continue
		}
		onNode := 0
		for j := range parts {
			if parts[j].Node == parts[i].Node {
				onNode += parts[j].Pages.Count()
			}
		}
		if onNode > highest || onNode == highest && parts[i].Node < h.Node {
			highest, h.Node = onNode, parts[i].Node
		}
	}
	return h
}
