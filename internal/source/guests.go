package source

import (
	"math"
	"slices"
	"sync"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/process"
)

// skipGuest is the skip reason for a process that runs a guest of KVM. The
// guest's accesses set bits in page tables of its own, which neither the walk of
// the kernels that have hooks nor /proc looks at.
const skipGuest = "guest_memory"

// guests knows which processes run a guest of KVM.
type guests struct {
	// maps returns what a process maps: process.FS.Maps.
	maps func(tgid int) ([]process.VMA, error)

	mu  sync.Mutex // guards what follows
	ran map[int]bool
}

// pass returns a skip for each process that runs a guest, after the walk. Which do
// is asked where the pass ends a window; one that ran a guest as the window began
// is skipped in all of its passes.
func (g *guests) pass(req Request) (skips []heat.Record) {
	for i := range req.Processes {
		tgid := req.Processes[i].TGID
		ends, now := req.Residency[tgid] != nil, false
		if ends { // without the lock: others must not wait for a process's
			maps, err := g.maps(tgid)
			// Of a process that does not tell nothing is cold.
			now = err != nil || slices.ContainsFunc(maps, func(v process.VMA) bool { return v.ShowsVCPU() })
		}
		if g.look(tgid, ends, now) {
			skips = append(skips, heat.Record{Kind: heat.KindSkip, TGID: tgid, End: math.MaxUint64, Reason: skipGuest})
		}
	}
	return skips
}

// look tells whether a process ran a guest as the window began, or does now, as it
// ends.
func (g *guests) look(tgid int, ends, now bool) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	ran := g.ran[tgid]
	if ends {
		delete(g.ran, tgid)
	}
	if now {
		if g.ran == nil {
			g.ran = map[int]bool{}
		}
		g.ran[tgid] = true
	}
	return ran || now
}

// forget drops processes.
func (g *guests) forget(tgids []int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, tgid := range tgids {
		delete(g.ran, tgid)
	}
}
