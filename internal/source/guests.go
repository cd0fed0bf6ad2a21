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
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ran == nil {
		g.ran = map[int]bool{}
	}
	for i := range req.Processes {
		tgid := req.Processes[i].TGID
		skip := g.ran[tgid]
		if req.Residency[tgid] != nil {
			maps, err := g.maps(tgid)
			// Of a process that does not tell nothing is cold.
			now := err != nil || slices.ContainsFunc(maps, func(v process.VMA) bool { return v.ShowsVCPU() })
			skip = skip || now
			if now {
				g.ran[tgid] = true
			} else {
				delete(g.ran, tgid)
			}
		}
		if skip {
			skips = append(skips, heat.Record{Kind: heat.KindSkip, TGID: tgid, End: math.MaxUint64, Reason: skipGuest})
		}
	}
	return skips
}

// forget drops processes.
func (g *guests) forget(tgids []int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, tgid := range tgids {
		delete(g.ran, tgid)
	}
}
