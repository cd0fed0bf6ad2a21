package source

import (
	"math"
	"sync"

	"mglru_exporter/bpf"
	"mglru_exporter/internal/heat"
)

// unseen knows of each process what had been used, as the last pass over it began,
// of all that takes accessed bits away from the hooks without a sign of whose.
type unseen struct {
	mu    sync.Mutex // guards what follows
	since map[int]map[string]bpf.Uses
}

// pass returns a skip for each process whose accessed bits may have been taken away
// since the pass before looked at them, which was after it began, and until this
// one has. Begun is what bpf.Hooks.Unseen said as this pass began, now as it has
// ended.
func (u *unseen) pass(procs []heat.Process, begun, now map[string]bpf.Uses) (skips []heat.Record) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.since == nil {
		u.since = map[int]map[string]bpf.Uses{}
	}
	for i := range procs {
		tgid := procs[i].TGID
		since, ok := u.since[tgid]
		if !ok { // nothing is said of its first pass but what it finds young
			since = begun
		}
		u.since[tgid] = begun
		for reason, then := range since {
			if then != now[reason] { // one began or ended: none lasts for a whole pass
				skips = append(skips, heat.Record{Kind: heat.KindSkip, TGID: tgid, End: math.MaxUint64, Reason: reason})
			}
		}
	}
	return skips
}

func (u *unseen) forget(tgids []int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, tgid := range tgids {
		delete(u.since, tgid)
	}
}
