package source

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"sync"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/process"
)

// Skip reasons that the kernel does not tell without our patches.
const (
	skipForeign = "foreign" // charged to another memcg, or on no LRU list
	skipNoSwap  = "no_swap" // memory that could only be swapped, and aging is to leave it out
)

// maxChargeReads bounds what one pass spends on asking whose pages are; what is
// left is unobserved until a later window.
const maxChargeReads = 1 << 18

// proofs knows of which pages it is certain that our walk looks at them. The
// walk passes over pages that are charged to another memcg than the one which it
// ages: those of a process that has moved, and files that others have read first.
// It says nothing of them, and so they look as if nobody used them. But a page
// that it has ever found young is not one of them; and of the others,
// which are cold if they are ours, /proc/kpagecgroup can tell, unless there are memcgs
// below ours whose removal has left pages behind: the file takes these for ours.
//
// A page that is anonymous stays in its memcg as long as it is resident, and
// beyond. One of a file may be evicted and then read by somebody else within one
// window, so its proof is good for one window. So is that of any page of a process
// in whose memory ksmd replaces pages, by some that may be another memcg's.
type proofs struct {
	log   *slog.Logger
	fs    process.FS
	dying func(path string) (bool, error) // see memcg.Hierarchy.MayHaveDying

	mu    sync.Mutex // guards what follows
	procs map[int]*proof
	last  *proof

	reading sync.Mutex // guards what follows, and what proofs keep
	charges *process.ChargeReader
}

// A proof is what is known of one process in one memcg. Both maps are by region.
type proof struct {
	id    heat.ProcessID
	inode uint64
	young map[uint64]*heat.Bitmap // since the last window
	kept  map[uint64]*heat.Bitmap // of windows before
}

func newProofs(fs process.FS, dying func(path string) (bool, error), log *slog.Logger) proofs {
	return proofs{log: log, fs: fs, dying: dying, procs: map[int]*proof{}, charges: process.NewChargeReader(fs)}
}

// begin starts a pass: what was known of a process that is another one now, or
// in another memcg, is dropped.
func (p *proofs) begin(req Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = nil
	for i := range req.Processes {
		id := req.Processes[i].ProcessID
		if old := p.procs[id.TGID]; old == nil || old.id != id || old.inode != req.Inode {
			p.procs[id.TGID] = &proof{id: id, inode: req.Inode, young: map[uint64]*heat.Bitmap{}}
		}
	}
}

// forget drops processes.
func (p *proofs) forget(tgids []int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = nil
	for _, tgid := range tgids {
		delete(p.procs, tgid)
	}
}

// take learns from what a walk of ours finds young that ages the memcg of that
// inode: of a process that has moved into another one meanwhile, nothing.
func (p *proofs) take(records []heat.Record, inode uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range records {
		r := &records[i]
		if r.Kind != heat.KindYoung || r.Other {
			continue
		}
		if p.last == nil || p.last.id.TGID != r.TGID {
			if p.last = p.procs[r.TGID]; p.last == nil {
				continue
			}
		}
		if p.last.inode != inode {
			continue
		}
		pages := p.last.young[r.Start/heat.RegionSize]
		if pages == nil {
			pages = &heat.Bitmap{}
			p.last.young[r.Start/heat.RegionSize] = pages
		}
		pages.Or(&r.Anon)
		pages.Or(&r.NotAnon)
	}
}

// end returns a heat.KindSkip record for all that is resident without a proof,
// where the pass ends a window.
func (p *proofs) end(ctx context.Context, req Request) []heat.Record {
	if req.Residency == nil {
		return nil
	}
	// The reader of the ring must not wait for this.
	p.reading.Lock()
	defer p.reading.Unlock()
	var skips []heat.Record
	var judged []*proof
	limit, told := p.charges.Reads()+maxChargeReads, p.told(req)
	for i := range req.Processes {
		tgid := req.Processes[i].TGID
		proof, young := p.sinceWindow(tgid, req.Inode)
		if proof == nil { // another memcg's by now, or nobody's
			continue
		}
		res := req.Residency[tgid]
		merges := p.merges(tgid)
		if merges || res == nil { // nor is it known what has left meanwhile
			proof.kept = nil
		}
		if res == nil {
			continue
		}
		w := window{req: req, proof: proof, young: young, charges: p.charges, limit: limit, failed: !told, log: p.log}
		skips = w.skips(ctx, res, skips)
		if merges {
			proof.kept = nil
		}
		judged = append(judged, proof)
	}
	p.charges.Close()
	if !told || p.told(req) {
		return skips
	}
	// A memcg began to die while we asked, whose pages were taken for ours.
	skips = skips[:0]
	for _, proof := range judged {
		proof.kept = nil
		skips = append(skips, heat.Record{Kind: heat.KindSkip, TGID: proof.id.TGID, Node: -1, Reason: skipForeign, End: math.MaxUint64})
	}
	return skips
}

// told tells whether the kernel can tell what the memcg is charged for.
func (p *proofs) told(req Request) bool {
	dying, err := p.dying(req.Path)
	if err != nil {
		p.log.Debug("Asking for dying memcgs", "memcg", req.Path, "err", err)
	}
	return !dying && err == nil
}

// merges tells whether ksmd may have replaced pages of a process.
func (p *proofs) merges(tgid int) bool {
	n, err := p.fs.MergedPages(tgid)
	if errors.Is(err, process.ErrGone) { // this kernel has no ksmd, or the process is gone
		return false
	}
	if err != nil {
		p.log.Debug("Asking whether pages are merged", "pid", tgid, "err", err)
	}
	return n > 0 || err != nil
}

// sinceWindow returns the proof of a process in a memcg, if that is where it is, and
// takes from it what was found young since the last window.
func (p *proofs) sinceWindow(tgid int, inode uint64) (*proof, map[uint64]*heat.Bitmap) {
	p.mu.Lock()
	defer p.mu.Unlock()
	proof := p.procs[tgid]
	if proof == nil || proof.inode != inode {
		return nil, nil
	}
	young := proof.young
	proof.young = map[uint64]*heat.Bitmap{}
	return proof, young
}

// of returns the proof of a process.
func (p *proofs) of(tgid int) *proof {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.procs[tgid]
}

// window is one process at the end of a window.
type window struct {
	req     Request
	proof   *proof
	young   map[uint64]*heat.Bitmap
	charges *process.ChargeReader
	limit   int
	log     *slog.Logger
	opened  bool
	failed  bool
}

// skips appends a record for each run of pages that have no proof, and forgets
// the proofs that are no longer good.
func (w *window) skips(ctx context.Context, res *heat.Residency, out []heat.Record) []heat.Record {
	keep := make(map[uint64]*heat.Bitmap, len(w.proof.kept))
	for i := range res.Parts {
		part := &res.Parts[i]
		if !w.req.CanSwap && part.Type != heat.File {
			out = appendRuns(out, w.proof.id.TGID, part.Region, &part.Pages, skipNoSwap)
			continue
		}
		proved := w.proved(part.Region)
		if missing := without(&part.Pages, &proved); missing != (heat.Bitmap{}) {
			charged := w.charged(ctx, part.Region, &missing)
			foreign := without(&missing, &charged)
			out = appendRuns(out, w.proof.id.TGID, part.Region, &foreign, skipForeign)
			proved.Or(&charged)
		}
		if part.Type != heat.Anon {
			continue
		}
		k := keep[part.Region]
		if k == nil {
			k = &heat.Bitmap{}
			keep[part.Region] = k
		}
		for j := range k {
			k[j] |= part.Pages[j] & proved[j]
		}
	}
	w.proof.kept = keep
	return out
}

// proved returns the pages of a region that are known to be the memcg's.
func (w *window) proved(region uint64) (proved heat.Bitmap) {
	for _, pages := range []*heat.Bitmap{w.young[region], w.proof.kept[region]} {
		if pages != nil {
			proved.Or(pages)
		}
	}
	return proved
}

// charged asks the kernel which pages are the memcg's.
func (w *window) charged(ctx context.Context, region uint64, pages *heat.Bitmap) heat.Bitmap {
	if w.failed || w.charges.Reads() > w.limit || ctx.Err() != nil {
		return heat.Bitmap{}
	}
	var err error
	if !w.opened {
		err = w.charges.Open(w.proof.id.TGID)
		w.opened = true
	}
	var out heat.Bitmap
	if err == nil {
		out, err = w.charges.Charged(region, pages, w.req.Inode)
	}
	if err != nil {
		w.failed = true
		w.log.Debug("Asking whose pages are", "pid", w.proof.id.TGID, "err", err)
	}
	return out
}

func without(a, b *heat.Bitmap) (c heat.Bitmap) {
	for i := range a {
		c[i] = a[i] &^ b[i]
	}
	return c
}

// appendRuns appends a record for each run of pages of a region.
func appendRuns(out []heat.Record, tgid int, region uint64, pages *heat.Bitmap, reason string) []heat.Record {
	if *pages == (heat.Bitmap{}) {
		return out
	}
	for i := 0; i < heat.PagesPerRegion; i++ {
		if !pages.Has(i) {
			continue
		}
		from := i
		for i < heat.PagesPerRegion && pages.Has(i) {
			i++
		}
		start := region * heat.RegionSize
		out = append(out, heat.Record{
			Kind: heat.KindSkip, TGID: tgid, Node: -1, Reason: reason,
			Start: start + uint64(from)*heat.PageSize, End: start + uint64(i)*heat.PageSize,
		})
	}
	return out
}
