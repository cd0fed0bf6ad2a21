package heat

import "time"

// NodeGenerations are the generations into which the kernel's multi-generational
// LRU sorts the pages of one memcg on one node.
type NodeGenerations struct {
	// Node is the NUMA node.
	Node int
	// Generations are the oldest first.
	Generations []Generation
}

// A Generation is the pages that the kernel last found in use at about one time.
// Each page of the memcg is in one, mapped or not, except for those that cannot
// be reclaimed.
type Generation struct {
	// Age is how long ago the kernel made the generation, when it was looked at.
	Age time.Duration
	// AnonBytes and FileBytes are its size. The kernel counts shared memory as
	// anon here, unlike Anon.
	AnonBytes, FileBytes uint64
}
