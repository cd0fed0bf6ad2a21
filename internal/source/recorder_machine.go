package source

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/memcg"
	"mglru_exporter/internal/process"
	"mglru_exporter/internal/recording"
)

// Walk lists the cgroups.
func (r *Recorder) Walk() ([]memcg.Group, error) {
	groups, err := r.cgroups.Walk()
	at := time.Since(r.start)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.order(func() { r.discovered(groups, err, at) })
	return groups, err
}

// discovered writes what is new since the last walk.
func (r *Recorder) discovered(groups []memcg.Group, err error, at time.Duration) {
	seen := make(map[string]bool, len(groups))
	for _, g := range groups {
		if r.opts.Watched != nil && !r.opts.Watched(g.Path) {
			continue
		}
		seen[g.Path] = true
		if inode, ok := r.tree[g.Path]; !ok || inode != g.Inode {
			r.tree[g.Path] = g.Inode
			r.write(recording.Event{Kind: recording.Group, Text: g.Path, Inode: g.Inode})
		}
	}
	for path := range r.tree {
		if !seen[path] {
			delete(r.tree, path)
			r.write(recording.Event{Kind: recording.Ungroup, Text: path})
		}
	}
	r.write(recording.Event{Kind: recording.Discovered, At: at, Text: text(err)})
}

// Generations wraps what reads the kernel's generations.
func (r *Recorder) Generations(read func() ([]memcg.LRUGen, error)) func() ([]memcg.LRUGen, error) {
	return func() ([]memcg.LRUGen, error) {
		list, err := read()
		r.mu.Lock()
		defer r.mu.Unlock()
		r.order(func() { r.generations(list, err) })
		return list, err
	}
}

func (r *Recorder) generations(list []memcg.LRUGen, err error) {
	r.write(recording.Event{Kind: recording.Generations, Text: text(err)})
	for i := range list {
		if r.opts.Watched != nil && !r.opts.Watched(list[i].Path) {
			continue
		}
		r.write(recording.Event{Kind: recording.GenMemcg, Text: list[i].Path})
		for _, n := range list[i].Nodes {
			r.write(recording.Event{Kind: recording.GenNode, Node: n.Node})
			for _, g := range n.Gens {
				r.write(recording.Event{Kind: recording.Gen, Gen: g})
			}
		}
	}
}

// Procs lists a memcg's processes: a pass begins.
func (r *Recorder) Procs(path string) ([]int, error) {
	r.mu.Lock()
	r.phase, r.path, r.cut = listing, path, false
	r.queried = r.queried[:0]
	r.mu.Unlock()
	pids, err := r.cgroups.Procs(path)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listed, r.procsErr = pids, err
	return pids, err
}

// Identify identifies a process.
func (r *Recorder) Identify(pid int) (heat.Process, error) {
	p, err := r.processes.Identify(pid)
	r.mu.Lock()
	defer r.mu.Unlock()
	q := query{resultOf(err), p}
	q.TGID = pid
	if err == nil {
		q.Image = r.imageOf(p.ProcessID)
	} else {
		delete(r.space, pid)
	}
	switch r.phase {
	case between:
	case listing:
		r.queried = append(r.queried, q)
	default:
		r.identity(q)
	}
	return p, err
}

func (r *Recorder) identity(q query) {
	r.write(recording.Event{Kind: recording.Identity, Result: q.result, Process: q.Process})
}

// imageOf returns a small number for what may be a hash of addresses.
func (r *Recorder) imageOf(id heat.ProcessID) uint64 {
	s := r.space[id.TGID]
	if s == nil || s.ProcessID != id {
		r.images++
		s = &space{ProcessID: id, image: r.images}
		r.space[id.TGID] = s
	}
	return s.image
}

// Residency reads what a process has in memory.
func (r *Recorder) Residency(ctx context.Context, pid int, res *heat.Residency) error {
	err := r.processes.Residency(ctx, pid, res)
	if err != nil {
		res = &heat.Residency{} // the other may still be in use
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begin()
	r.cut = r.cut || ctx.Err() != nil
	r.write(recording.Event{Kind: recording.Residency, TGID: pid, Result: resultOf(err), Swapped: res.SwappedPages})
	r.mappings(pid, res)
	for _, part := range res.Parts {
		part.Region = r.number(pid, part.Region)
		r.write(recording.Event{Kind: recording.Part, Part: part})
	}
	for _, u := range res.Unscanned {
		u.Mapping = r.number(pid, u.Mapping/heat.RegionSize)*heat.RegionSize + u.Mapping%heat.RegionSize
		r.write(recording.Event{Kind: recording.Unscanned, Unscanned: u})
	}
	return err
}

// mappings writes a process's mappings. Without addresses one is written in
// several pieces where its regions have no numbers in a row.
func (r *Recorder) mappings(tgid int, res *heat.Residency) {
	if r.opts.Addresses {
		for _, m := range res.Mappings {
			r.write(recording.Event{Kind: recording.Mapping, Mapping: m})
		}
		return
	}
	numbers := &r.spaceOf(tgid).numbers
	for _, m := range res.Mappings {
		numbers.Cover(m.Start, m.End)
	}
	var pieces []heat.Mapping
	for _, m := range res.Mappings {
		for _, p := range numbers.Pieces(m.Start, m.End) {
			piece := m
			piece.Start, piece.End = p.Start, p.End
			if piece.HasFile() {
				piece.Offset += p.Skipped
			}
			pieces = append(pieces, piece)
		}
	}
	slices.SortFunc(pieces, func(a, b heat.Mapping) int { return cmp.Compare(a.Start, b.Start) })
	for _, m := range pieces {
		r.write(recording.Event{Kind: recording.Mapping, Mapping: m})
	}
}

// number returns what stands for a region. In the order of residency, which is
// that of addresses, numbers rise, unless a process has used up those there are.
func (r *Recorder) number(tgid int, region uint64) uint64 {
	if r.opts.Addresses {
		return region
	}
	return r.spaceOf(tgid).numbers.Number(region)
}

// spaceOf returns what is remembered of a process's address space.
func (r *Recorder) spaceOf(tgid int) *space {
	s := r.space[tgid]
	if s == nil {
		s = &space{}
		r.space[tgid] = s
	}
	return s
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func resultOf(err error) recording.Result {
	switch {
	case err == nil:
		return recording.OK
	case errors.Is(err, process.ErrGone), errors.Is(err, memcg.ErrGone):
		return recording.Gone
	case errors.Is(err, process.ErrNoMemory):
		return recording.NoMemory
	case errors.Is(err, process.ErrBlocked):
		return recording.Blocked
	}
	return recording.Failed
}
