// Package config reads the exporter's YAML configuration. It is strict: a key
// it does not know, a value that cannot be meant, a memcg named twice are all
// errors, and all of them are reported at once, each with its line and key.
package config

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"time"

	"mglru_exporter/internal/heat"
)

// A Config is a valid configuration with every default filled in. It is made
// only by Parse and Load, and is not changed afterwards.
type Config struct {
	// Source is what ages and harvests: one of Sources.
	Source string
	// Replay is what the source "replay" plays.
	Replay Replay
	// Referenced is of the source "referenced" alone.
	Referenced Referenced
	// Aging says when memcgs are aged.
	Aging Aging
	// Heat says how pages and regions are classed.
	Heat Heat
	// Memcgs are the memcgs to watch, in the file's order; at least one, and no
	// path twice.
	Memcgs []Memcg
	// Labels says which labels process series carry.
	Labels Labels
	// Limits bounds what the exporter may use.
	Limits Limits
}

// Replay is a recording to be played.
type Replay struct {
	// File is its path; never empty where the source is "replay".
	File string
	// Speed is how many times faster than it happened it is played, 0 to
	// a million; 0 waits for nothing.
	Speed float64
}

// Referenced bounds what the source "referenced" does to the processes watched.
type Referenced struct {
	// MaxProcess is how many bytes a process may have, resident and swapped out, for
	// its accessed bits to be cleared: page faults wait meanwhile. All of a larger
	// one is unobserved. 0 is no limit.
	MaxProcess uint64
}

// Aging is the schedule of passes.
type Aging struct {
	// Interval is the time from one pass of a memcg to its next, where the
	// memcg's own entry names no other; MinInterval to 24 hours.
	Interval time.Duration
	// PassesPerWindow is how many passes make a window, 1 to
	// heat.MaxPassesPerWindow.
	PassesPerWindow int
	// CPUBudget is the share of one CPU that all passes may use together;
	// above 0, at most 1.
	CPUBudget float64
	// CanSwap ages anonymous memory even where there is no swap to move it to.
	CanSwap bool
	// Concurrency is how many memcgs may be aged at the same time, 1 to
	// MaxConcurrency.
	Concurrency int
}

// Heat is how accesses become classes and buckets.
type Heat struct {
	// HotFraction is the share of a window's passes that must find a page
	// young for it to be hot; above 0, at most 1.
	HotFraction float64
	// RegionBuckets are the inclusive upper bounds of mglru_region_accesses,
	// strictly ascending; 1 to 64 of them.
	RegionBuckets []uint64
	// IdleAges are for how long memory must be idle to count in
	// mglru_idle_bytes and mglru_reaccessed_bytes_total, strictly ascending; at
	// most heat.MaxIdleAges. Memcg.IdleAges has those that a memcg can tell.
	IdleAges []time.Duration
	// Average is the time constant of mglru_heat_ratio; MinInterval to 30
	// days.
	Average time.Duration
	// NeverAccessed says what counts in mglru_mapping_never_accessed_bytes.
	NeverAccessed NeverAccessed
}

// NeverAccessed is for memory that nobody has been seen to access.
type NeverAccessed struct {
	// Windows is for how many windows in a row it must have been watched; at
	// least 1, and at most heat.MaxIdlePasses passes long together.
	Windows int
	// Top is how many mappings of one process are named, 0 to 100; the
	// others are merged into one. 0 turns the metric off.
	Top int
}

// A Memcg is an entry of the list of memcgs to watch.
type Memcg struct {
	// Path is a path from the cgroup root, or a pattern of paths, in the normal
	// form that memcg.CompilePattern makes of it.
	Path string
	// Interval is the time between passes: the entry's own, else
	// Aging.Interval.
	Interval time.Duration
	// IdleAges are those of Heat.IdleAges that are no longer than heat.MaxIdlePasses
	// intervals: all of them, unless Heat.IdleAges are the default.
	IdleAges []time.Duration
	// Processes says which processes get series of their own.
	Processes Processes
	// Regions are the mappings of its processes that are looked at; the zero value
	// says all.
	Regions heat.Selection
	// AddressBands is into how many bands the address space of each process is
	// folded, 0 to 512; 0 is for none.
	AddressBands int
}

// Processes selects the processes of a memcg.
type Processes struct {
	// Top is how many processes, by resident bytes, get series of their own;
	// the others are merged into one. With 0 all are merged.
	Top int
	// MinResident is how many resident bytes a process needs for series of its
	// own; smaller ones are merged with those beyond Top.
	MinResident uint64
	// Comm must match a process's whole name for it to be watched at all. It
	// is nil where every process is watched.
	Comm *regexp.Regexp
}

// Labels says which labels process series carry. Series that differ only in a
// label that is off are merged.
type Labels struct {
	PID, Comm bool
}

// Limits bounds what the exporter may use.
type Limits struct {
	// MaxSeries is how many series of its own a scrape returns at most, at least
	// 1; a histogram counts as one for each bucket, its sum and its count.
	MaxSeries int
	// MaxMemcgs is how many memcgs are watched at most, at least 1.
	MaxMemcgs int
	// MaxTrackedBytes is how much process memory is tracked page by page, at
	// least one region.
	MaxTrackedBytes uint64
	// MaxHeatmapBytes is about how much memory past windows of processes may
	// take, for their heatmaps; 0 keeps none.
	MaxHeatmapBytes uint64
}

// The ranges of values.
const (
	// MinInterval is the shortest time between two passes. Less than a second
	// is for tests: every pass costs CPU and shortens the kernel's generations.
	MinInterval = 100 * time.Millisecond
	// MaxConcurrency is the highest number of memcgs aged at the same time.
	MaxConcurrency = 64

	maxInterval      = 24 * time.Hour
	maxReplaySpeed   = 1e6 // 0 is even faster
	maxRegionBuckets = 64
	maxAddressBands  = 512
	maxNeverTop      = 100
	maxAverage       = 30 * 24 * time.Hour
	maxIdleAge       = heat.MaxIdlePasses * maxInterval
	maxRegionBound   = heat.PagesPerRegion * heat.MaxPassesPerWindow
	maxTop           = 10_000
	minTrackedBytes  = heat.RegionSize
	maxFileSize      = 1 << 20
)

// SourceAuto stands for the first source that works.
const SourceAuto = "auto"

// Sources returns the values that the key "source" may have.
func Sources() []string { return []string{SourceAuto, "hooks", "stock", "referenced", "replay"} }

// defaults returns the configuration of a file that only lists memcgs.
func defaults() *Config {
	return &Config{
		Source:     SourceAuto,
		Replay:     Replay{Speed: 1},
		Referenced: Referenced{MaxProcess: 512 << 20},
		Aging: Aging{
			Interval:        30 * time.Second,
			PassesPerWindow: 4,
			CPUBudget:       0.02,
			CanSwap:         true,
			Concurrency:     1,
		},
		Heat: Heat{
			HotFraction:   0.5,
			RegionBuckets: []uint64{0, 1, 8, 64, 256, 512, 1024, 2048},
			IdleAges: []time.Duration{
				time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour,
			},
			Average:       10 * time.Minute,
			NeverAccessed: NeverAccessed{Windows: 10, Top: 5},
		},
		Labels: Labels{PID: true, Comm: true},
		Limits: Limits{MaxSeries: 50_000, MaxMemcgs: 10_000, MaxTrackedBytes: 256 << 30, MaxHeatmapBytes: 8 << 20},
	}
}

func defaultMemcg() Memcg {
	return Memcg{Processes: Processes{Top: 20, MinResident: 16 << 20}}
}

// Load reads and parses a file. An error wraps fs.ErrNotExist if there is none.
func Load(file string) (*Config, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read config: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err != nil {
		return nil, fmt.Errorf("read config: %w", err)
	}
	return Parse(file, data)
}
