package source

import (
	"math"
	"sync"

	"mglru_exporter/bpf"
	"mglru_exporter/internal/heat"
)

// pageIdle knows of each process how often page_idle/bitmap had been used as the
// last pass over it began.
type pageIdle struct {
	mu    sync.Mutex // guards what follows
	since map[int]uint64
}

// usedThen stands for a number that there will never be: the bitmap was in use as
// the pass began.
const usedThen = math.MaxUint64

// pass returns a skip for each process whose accessed bits may have been cleared
// since the pass before looked at them, which was after it began, and until this
// one has. Begun and active tell of the use of the bitmap as this pass began, now
// as it has ended.
func (p *pageIdle) pass(procs []heat.Process, begun uint64, active bool, now uint64) (skips []heat.Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.since == nil {
		p.since = map[int]uint64{}
	}
	if active {
		begun = usedThen
	}
	for i := range procs {
		tgid := procs[i].TGID
		since, ok := p.since[tgid]
		if !ok { // nothing is said of its first pass but what it finds young
			since = begun
		}
		if since != now {
			skips = append(skips, heat.Record{Kind: heat.KindSkip, TGID: tgid, End: math.MaxUint64, Reason: bpf.SkipPageIdle})
		}
		p.since[tgid] = begun
	}
	return skips
}

func (p *pageIdle) forget(tgids []int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, tgid := range tgids {
		delete(p.since, tgid)
	}
}
