package sampler

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/process"
)

const (
	// blockedFailed is the failure reason where a process blocks reads of its memory.
	blockedFailed = "blocked"
	// mostHanging is how many reads of one memcg's processes may hang. With that many,
	// only those processes of the memcg are read whose last read succeeded.
	mostHanging = 4
	// stuckAfter is how long a pass may take until the exporter is not healthy.
	stuckAfter = 10 * time.Minute
	// idleAfter is how long the schedule may show no sign of life until the exporter
	// is not healthy.
	idleAfter = time.Minute
)

// A hanging knows the processes that blocked a read, for as long as the read hangs.
type hanging struct {
	mu sync.Mutex
	by map[int]heat.BlockedProcess // by PID
}

func (h *hanging) add(p heat.BlockedProcess) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.by == nil {
		h.by = map[int]heat.BlockedProcess{}
	}
	h.by[p.PID] = p
}

// now forgets all but the given reads, and returns these, sorted by PID.
func (h *hanging) now(blocked []process.Blocked) []heat.BlockedProcess {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(blocked) == 0 {
		h.by = nil
		return nil
	}
	by, all := make(map[int]heat.BlockedProcess, len(blocked)), make([]heat.BlockedProcess, len(blocked))
	for i, b := range blocked {
		p := h.by[b.PID]
		p.PID, p.Since = b.PID, b.Since
		by[b.PID], all[i] = p, p
	}
	h.by = by
	return all
}

// blocked returns the processes whose reads hang, sorted by PID.
func (s *Sampler) blocked() []heat.BlockedProcess {
	if s.deps.Reads == nil {
		return nil
	}
	return s.hanging.now(s.deps.Reads.Blocked())
}

// reads decides in one pass of a group which processes are read.
type reads struct {
	s    *Sampler
	g    *group
	hang map[int]bool // processes of the group whose reads hang
	read map[int]bool // those whose reads succeeded in this pass
}

// reads begins the reads of one pass.
func (s *Sampler) reads(g *group) *reads {
	r := &reads{s: s, g: g, hang: map[int]bool{}, read: map[int]bool{}}
	for _, p := range s.blocked() {
		if p.Memcg == g.path {
			r.hang[p.PID] = true
		}
	}
	return r
}

// errNotRead is why a process was not read at all.
var errNotRead = fmt.Errorf("not read while other processes of the memcg hang: %w", process.ErrBlocked)

// do reads a process, unless too many of the memcg hang, and counts a failure.
func (r *reads) do(ctx context.Context, p heat.Process, read func() error) error {
	err := errNotRead
	if len(r.hang) < mostHanging || r.g.readable[p.TGID] {
		err = read()
	}
	reason := ""
	switch {
	case err == nil:
		r.read[p.TGID] = true
	case errors.Is(err, process.ErrGone), errors.Is(err, process.ErrNoMemory), ctx.Err() != nil:
	case errors.Is(err, process.ErrBlocked):
		reason = blockedFailed
		if !errors.Is(err, errNotRead) && !r.hang[p.TGID] {
			r.hang[p.TGID] = true
			r.s.hanging.add(heat.BlockedProcess{PID: p.TGID, Comm: p.Comm, Memcg: r.g.path})
		}
	default:
		reason = residencyFailed
	}
	if reason != "" {
		r.g.lock()
		r.g.stats.Failures[reason]++
		r.g.mu.Unlock()
		r.s.deps.Log.Debug("Reading a process", "memcg", r.g.path, "pid", p.TGID, "err", err)
	}
	return err
}

// unread returns what a process that blocks reads has in memory, without its pages,
// or nil if that is not known.
func (s *Sampler) unread(tgid int, err error) *heat.Residency {
	if s.deps.Unread == nil || !errors.Is(err, process.ErrBlocked) {
		return nil
	}
	res, err := s.deps.Unread(tgid)
	if err != nil {
		return nil
	}
	return res
}

// end ends the reads of a pass.
func (r *reads) end() { r.g.readable = r.read }

// chargeReads adds the CPU time that the guarded reads of processes have used, on
// other threads, to a part of a pass.
func (s *Sampler) chargeReads(g *group, part string, procs []heat.Process) {
	if s.deps.Reads == nil {
		return
	}
	var used time.Duration
	for _, p := range procs {
		used += s.deps.Reads.Used(p.TGID)
	}
	g.reads += used
	s.part(g, part, used)
}

// Healthy returns an error if the schedule stands still, or if a pass has been under
// way for so long that it will hardly end.
func (s *Sampler) Healthy() error {
	now := time.Now()
	if at := s.alive.Load(); at != nil && now.Sub(*at) > idleAfter {
		return fmt.Errorf("the schedule has shown no sign of life for %s", now.Sub(*at).Round(time.Second))
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for g, begun := range s.running {
		if d := now.Sub(begun); d > stuckAfter {
			return fmt.Errorf("a pass of memcg %q has been under way for %s", g.path, d.Round(time.Second))
		}
	}
	return nil
}
