package sampler

import (
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mglru_exporter/internal/config"
	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/memcg"
)

// durationBounds are the buckets, in seconds, of the passes' durations.
var durationBounds = []float64{0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60}

// A group is one memcg that is aged.
type group struct {
	path  string
	inode uint64
	// entry and cfg are what the config said as the last pass began. Only passes
	// use them, and there is one at a time. They may change within a window.
	entry *config.Memcg
	cfg   *config.Config

	// listing is the number of the listing that its processes are from, guarded by
	// Sampler.mu.
	listing uint64
	// owns has the processes that the group is the owner of, as Sampler.owner has;
	// Sampler.mu guards it.
	owns map[int]struct{}
	// due and cost are the scheduler's, guarded by Sampler.mu. Place is 1 + the
	// index in its queue, 0 while a pass runs.
	due   time.Time
	cost  time.Duration
	place int
	// parts is the CPU time of the pass so far that a part was named for.
	parts time.Duration
	// reads is the part of it that other threads used, for reads of processes.
	reads time.Duration
	// counted is what Sampler.regions has of the group.
	counted atomic.Int64

	// passes is how many passes of the window have run; primed tells that
	// there was a first pass, which wipes the slate and ends a window at once.
	passes int
	primed bool
	// residency is that of the last window, to be read into again: the largest
	// thing that a window needs.
	residency map[int]*heat.Residency
	// readable are the processes whose last read succeeded.
	readable map[int]bool
	// blind is set if, as the last pass ended, a walker was active that the
	// source does not see: what it clears until the next pass is lost to that.
	blind bool

	// published is what the last snapshot has of the group, at its index at; both
	// are guarded by Sampler.publishing.
	published *heat.MemcgSnapshot
	at        int

	mu      sync.Mutex // guards what follows; lock takes it
	tracker *heat.Tracker
	stats   heat.PassStats
	last    heat.MemcgSnapshot
	// changed means that changes has the group.
	changed bool
	changes *changes
}

// lock locks the group to change what mu guards: the next snapshot shows it.
func (g *group) lock() {
	g.mu.Lock()
	if !g.changed {
		g.changed = true
		g.changes.add(g)
	}
}

func newGroup(c memcg.Group, entry *config.Memcg, cfg *config.Config, failReasons, skipReasons []string) (*group, error) {
	g := &group{
		path: c.Path, inode: c.Inode, entry: entry, cfg: cfg, owns: map[int]struct{}{},
		last: heat.MemcgSnapshot{Path: c.Path},
		stats: heat.PassStats{
			Failures:       map[string]uint64{},
			Skips:          map[string]uint64{notWalked: 0, otherWalker: 0},
			Resets:         map[string]uint64{},
			DurationBounds: durationBounds,
			DurationCounts: make([]uint64, len(durationBounds)+1),
		},
	}
	for _, r := range failReasons {
		g.stats.Failures[r] = 0
	}
	for _, r := range []string{blockedFailed, identifyFailed, residencyFailed, watchFailed, internalError} {
		g.stats.Failures[r] = 0
	}
	for _, r := range skipReasons {
		g.stats.Skips[r] = 0
	}
	for _, r := range []heat.Reset{heat.ResetExit, heat.ResetExec, heat.ResetReused, heat.ResetMoved} {
		g.stats.Resets[string(r)] = 0
	}
	var err error
	g.tracker, err = heat.NewTracker(g.params(0))
	return g, err
}

// adopt takes over what the config says now. False means: nothing.
func (g *group) adopt(p *plan) bool {
	entry := p.entry(g.path)
	if entry == nil {
		return false
	}
	g.entry, g.cfg = entry, p.cfg
	return true
}

// params are the tracker's parameters; maxRegions 0 is no bound.
func (g *group) params(maxRegions int) heat.Params {
	p := heat.Params{
		// A reload may have come too late to end the window in time.
		PassesPerWindow: max(g.cfg.Aging.PassesPerWindow, g.passes),
		HotFraction:     g.cfg.Heat.HotFraction,
		RegionBuckets:   g.cfg.Heat.RegionBuckets,
		IdleAges:        g.entry.IdleAges,
		Average:         g.cfg.Heat.Average,
		Top:             g.entry.Processes.Top,
		MinResident:     g.entry.Processes.MinResident,
		LabelPID:        g.cfg.Labels.PID,
		LabelComm:       g.cfg.Labels.Comm,
		MaxRegions:      maxRegions,
		AddressBands:    g.entry.AddressBands,
		NeverTop:        g.cfg.Heat.NeverAccessed.Top,
	}
	// The config may have been written for shorter windows than a recording has.
	p.NeverWindows = min(g.cfg.Heat.NeverAccessed.Windows, heat.MaxIdlePasses/p.PassesPerWindow)
	if p.Top == 0 { // the config's word for: merge all
		p.MinResident = math.MaxUint64
	}
	return p
}

// restricts tells whether the config leaves out processes of the group.
func (g *group) restricts() bool { return g.entry.Processes.Comm != nil }

func (g *group) take(records []heat.Record) {
	g.lock()
	defer g.mu.Unlock()
	g.stats.Records += uint64(len(records))
	for i := range records {
		r := &records[i]
		if r.Kind == heat.KindSkip {
			g.stats.Skips[r.Reason]++
		}
		g.tracker.Take(r)
	}
}

// idle tells whether the group knows no process.
func (g *group) idle() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	n, _ := g.tracker.Size()
	return n == 0
}

// empty makes the last window one without a process, where it still shows some:
// their window may never end, because no pass follows.
func (g *group) empty(now func() time.Time) {
	g.residency = nil
	g.mu.Lock()
	shows := len(g.last.Series) > 0
	g.mu.Unlock()
	if !shows {
		return
	}
	g.lock()
	defer g.mu.Unlock()
	g.last.WindowEnd, g.last.Series, g.last.UntrackedRegions = now(), nil, 0
}

// snapshot returns the last window with the counters of now.
func (g *group) snapshot() *heat.MemcgSnapshot {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.changed = false
	m := g.last
	m.TrackedProcesses, m.TrackedRegions = g.tracker.Size()
	m.Passes = g.stats
	m.Passes.Failures = maps.Clone(g.stats.Failures)
	m.Passes.Skips = maps.Clone(g.stats.Skips)
	m.Passes.Resets = maps.Clone(g.stats.Resets)
	m.Passes.DurationCounts = slices.Clone(g.stats.DurationCounts)
	return &m
}

func (g *group) observeDuration(d time.Duration) {
	i, _ := slices.BinarySearch(durationBounds, d.Seconds())
	g.stats.DurationCounts[i]++
	g.stats.DurationSum += d.Seconds()
}
