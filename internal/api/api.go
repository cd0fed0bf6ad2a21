// Package api is what the exporter's JSON API says, for those who serve it and
// for those who ask: the heatmap page's server side and the terminal heatmap.
// docs/API.md is its reference.
package api

import "time"

// Paths of the API, and the bounds of what it answers.
const (
	// ProcessesPath lists processes: a Processes. Parameters: memcg (a whole
	// path), search (a part of comm, pid or memcg), sort (cold, the default, hot,
	// resident, unobserved, pid or comm) and limit.
	ProcessesPath = "/api/v1/processes"
	// HeatmapPath is one process's Heatmap; {pid} is its number. Parameters: rows,
	// windows, and from and to, a range of positions.
	HeatmapPath = "/api/v1/processes/{pid}/heatmap"
	// EventsPath is a stream of server-sent events: one named "window", with an
	// Event as its data, for each window that ends.
	EventsPath = "/api/v1/events"

	// DefaultLimit is how many processes are listed unless limit says otherwise.
	DefaultLimit = 200
	// MaxLimit bounds limit.
	MaxLimit = 5000
	// DefaultRows is how many rows a Heatmap has at most unless rows says
	// otherwise.
	DefaultRows = 512
	// MaxRows bounds rows.
	MaxRows = 4096
	// DefaultWindows is how many columns a Heatmap has at most unless windows says
	// otherwise.
	DefaultWindows = 60
	// MaxWindows bounds windows.
	MaxWindows = 240
)

// Processes are the processes that have series of their own.
type Processes struct {
	// Source and Granularity ("page" or "mapping", "none" without a usable source) are
	// those of mglru_source_info.
	// Only a source of granularity page has heatmaps.
	Source      string `json:"source"`
	Granularity string `json:"granularity"`
	// Total is how many match; Processes may be fewer, by limit.
	Total     int       `json:"total"`
	Processes []Process `json:"processes"`
}

// A Process is the last window of one process, in bytes.
type Process struct {
	Memcg string `json:"memcg"`
	PID   int    `json:"pid"`
	Comm  string `json:"comm"`
	// WindowEnd is when its last window ended, WindowPasses how many passes that had.
	WindowEnd    time.Time `json:"window_end"`
	WindowPasses int       `json:"window_passes"`
	Resident     uint64    `json:"resident_bytes"`
	Hot          uint64    `json:"hot_bytes"`
	Warm         uint64    `json:"warm_bytes"`
	Cold         uint64    `json:"cold_bytes"`
	Unobserved   uint64    `json:"unobserved_bytes"`
	Swapped      uint64    `json:"swapped_bytes"`
	// Windows is how many windows of it are kept: the columns that its Heatmap
	// can have. 0 means that it has none, because of the source's granularity or
	// for want of room.
	Windows int `json:"windows"`
}

// A Heatmap is one process's memory by position and time. Positions count its
// regions of 2 MiB that had pages in any of the windows, from 0 in the order of
// addresses: holes take no room. Each row covers [Position, Position+Regions).
type Heatmap struct {
	Process Process `json:"process"`
	// Regions is the number of positions there are; From and To say which the rows
	// cover.
	Regions int `json:"regions"`
	From    int `json:"from"`
	To      int `json:"to"`
	// Rows go up the address space, Columns with time.
	Rows    []Row    `json:"rows"`
	Columns []Column `json:"columns"`
	// Nodes are the NUMA nodes seen.
	Nodes []int `json:"nodes"`
}

// A Row is one or more regions that are drawn as one.
type Row struct {
	Position int `json:"position"`
	Regions  int `json:"regions"`
	// Mapping is the name of the mapping that most of its first region belonged
	// to, in the last window that had it; empty where that is not known. Offset is
	// how many bytes, whole regions, the mappings of that name reach over below
	// it: holes between them do not count, or it would tell addresses. Mappings
	// is how many names its regions belonged to in that window.
	Mapping  string `json:"mapping"`
	Offset   uint64 `json:"offset"`
	Mappings int    `json:"mappings"`
	// Address is the first region's address in hexadecimal (0x…), only with
	// --web.expose-addresses.
	Address string `json:"address,omitempty"`
}

// A Column is one window: an element of each list for each row. Where a row has
// no resident page, Pages is 0 and the others mean nothing.
type Column struct {
	// End is when the window ended; Passes is how many it had.
	End    time.Time `json:"end"`
	Passes int       `json:"passes"`
	// Accesses is, over the passes, of pages found young.
	Accesses []uint64 `json:"accesses"`
	// Pages are resident pages of 4 KiB; Anon and Shmem are parts of them, the
	// rest is file. Hot, Warm and Cold are, too; the rest is unobserved.
	Pages []uint32 `json:"pages"`
	Anon  []uint32 `json:"anon"`
	Shmem []uint32 `json:"shmem"`
	Hot   []uint32 `json:"hot"`
	Warm  []uint32 `json:"warm"`
	Cold  []uint32 `json:"cold"`
	// Node is the NUMA node that most of the pages are on, -1 where that is not
	// known.
	Node []int `json:"node"`
	// Idle is for how many seconds at least all of the row's watched pages have
	// been idle.
	Idle []float64 `json:"idle_seconds"`
}

// An Event says that a window of a memcg has ended.
type Event struct {
	Memcg     string    `json:"memcg"`
	WindowEnd time.Time `json:"window_end"`
}

// An Error is what is answered with a status that is not 2xx.
type Error struct {
	// Error says what was wrong, and what would be right.
	Error string `json:"error"`
}
