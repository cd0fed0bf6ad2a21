package source

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/memcg"
	"mglru_exporter/internal/process"
	"mglru_exporter/internal/recording"
)

// Now is the time that the sampler saw when it was recorded.
func (r *Replay) Now() time.Time {
	if p := r.pass; p != nil && p.begun && len(p.clock) > 0 {
		r.now, p.clock = p.clock[0], p.clock[1:]
	} else if p != nil {
		p.begun = true
	}
	return r.header.Started.Add(r.now)
}

// Walk lists the memcgs.
func (r *Replay) Walk() ([]memcg.Group, error) {
	groups := make([]memcg.Group, 0, len(r.tree))
	for _, path := range slices.Sorted(maps.Keys(r.tree)) {
		groups = append(groups, memcg.Group{Path: path, Inode: r.tree[path]})
	}
	return groups, r.treeErr
}

// Generations lists the kernel's generations as they were last read.
func (r *Replay) Generations() ([]memcg.LRUGen, error) { return r.gens, r.gensErr }

// Procs lists the processes of the memcg whose pass is under way.
func (r *Replay) Procs(path string) ([]int, error) {
	p := r.current()
	if p.path != path {
		return nil, memcg.ErrGone
	}
	return p.pids, errorOf(p.result, memcg.ErrGone)
}

// Identify identifies a process as it was when it was asked for as often.
func (r *Replay) Identify(pid int) (heat.Process, error) {
	p := r.current()
	answers := p.queries[pid]
	if len(answers) == 0 {
		return heat.Process{}, process.ErrGone
	}
	a := answers[min(p.asked[pid], len(answers)-1)]
	p.asked[pid]++
	return a.Process, errorOf(a.result, process.ErrGone)
}

// Residency tells what a process had in memory.
func (r *Replay) Residency(_ context.Context, pid int, res *heat.Residency) error {
	m, err := r.memoryOf(pid)
	if err != nil {
		return err
	}
	*res = m.res
	return errorOf(m.result, process.ErrGone)
}

// errRecorded stands for an error whose words were not recorded.
var errRecorded = errors.New("it could not be read when it was recorded")

func errorOf(r recording.Result, gone error) error {
	switch r {
	case recording.OK:
		return nil
	case recording.Gone:
		return gone
	case recording.NoMemory:
		return process.ErrNoMemory
	case recording.Blocked:
		return process.ErrBlocked
	}
	return errRecorded
}
