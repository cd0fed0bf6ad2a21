package sampler

import (
	"context"
	"errors"
	"time"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/source"
)

// firstMappingWindow is how long the first window of a memcg lasts at most, with
// a source for which a window is one pass: there is something to see before
// long, even where passes come rarely.
const firstMappingWindow = 10 * time.Second

// nextAfter returns how long after a pass of a group its next one is due. First
// tells that it was the group's first.
func (s *Sampler) nextAfter(g *group, first bool) time.Duration {
	if _, ok := s.src.(source.MappingSource); ok && first && g.primed {
		return min(g.entry.Interval, firstMappingWindow)
	}
	return g.entry.Interval
}

// runMappings is a pass, and a window, with a source that sees how much of each
// mapping was accessed.
func (s *Sampler) runMappings(ctx context.Context, g *group, src source.MappingSource, procs []heat.Process) error {
	s.otherWalkers() // for the snapshot: the source's windows allow for them
	windows := s.observe(ctx, g, src, procs)
	s.verify(g, procs)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	start := threadTime()
	defer func() { s.part(g, "window", threadTime()-start) }()
	g.lock()
	defer g.mu.Unlock()
	if err := g.tracker.SetParams(g.params(0)); err != nil {
		return errors.Join(errInternal, err)
	}
	for _, w := range windows {
		for _, reason := range w.Skips {
			g.stats.Skips[reason]++
		}
	}
	series, err := g.tracker.EndMappingWindow(windows)
	g.passes = 1
	return s.publishWindow(g, s.deps.Now(), series, err)
}

// observe ends the window of each process and begins its next one.
func (s *Sampler) observe(ctx context.Context, g *group, src source.MappingSource, procs []heat.Process) map[int]*heat.MappingWindow {
	start := threadTime()
	defer func() { s.part(g, "age", threadTime()-start) }()
	windows := make(map[int]*heat.MappingWindow, len(procs))
	reads := s.reads(g)
	defer reads.end()
	for _, p := range procs {
		if ctx.Err() != nil {
			break
		}
		err := reads.do(ctx, p, func() (err error) {
			windows[p.TGID], err = src.Observe(p, &g.entry.Regions)
			return err
		})
		if err != nil {
			delete(windows, p.TGID)
		}
		if res := s.unread(p.TGID, err); res != nil {
			windows[p.TGID] = unreadWindow(res)
		}
	}
	s.chargeReads(g, "age", procs)
	return windows
}

// unreadWindow is the window of a process that could not be read: all that it has in
// memory is unobserved.
func unreadWindow(res *heat.Residency) *heat.MappingWindow {
	w := &heat.MappingWindow{SwappedBytes: res.SwappedPages * heat.PageSize}
	for _, u := range res.Unscanned {
		w.AddArea(heat.Area{Node: int(u.Node), Type: u.Type, Unobserved: u.Pages * heat.PageSize, Resident: u.Pages * heat.PageSize})
	}
	return w
}
