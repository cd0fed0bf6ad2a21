package sampler

import (
	"context"
	"errors"
	"io"
	"time"
)

// A Script says what a Sampler is to do when, in place of its schedule.
type Script interface {
	// Next waits until something is to be done: a pass of a memcg or, where that
	// is empty, a look at the cgroup tree as if it were the time at. The error is
	// io.EOF when all has been done; after any error Next is not called again.
	Next(ctx context.Context) (memcg string, at time.Time, err error)
}

// follow does what the script says, then keeps the last snapshot until the
// context ends.
func (s *Sampler) follow(ctx context.Context) {
	for ctx.Err() == nil {
		memcg, at, err := s.deps.Script.Next(ctx)
		switch {
		case ctx.Err() != nil:
		case errors.Is(err, io.EOF):
			s.deps.Log.Info("The recording has been played to its end: from now on nothing changes any more")
			s.rest(ctx)
		case err != nil:
			s.deps.Log.Error("The recording cannot be played any further: from now on nothing changes any more", "err", err)
			s.rest(ctx)
		default:
			s.step(ctx, memcg, at)
		}
	}
}

// rest waits for the context to end. What another config does not name vanishes
// even now; what it alone names shows without a window.
func (s *Sampler) rest(ctx context.Context) {
	s.triedAll() // no pass will come of the others
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.reloaded:
			s.step(ctx, "", s.deps.Now())
		}
	}
}

// step does one thing.
func (s *Sampler) step(ctx context.Context, memcg string, at time.Time) {
	if memcg == "" {
		s.generationsDue = time.Time{}
		s.lookAtGenerations(at)
		if err := s.Discover(at); err != nil {
			s.deps.Log.Debug("Listing cgroups", "err", err)
		}
		return
	}
	if _, err := s.Pass(ctx, memcg); err != nil {
		s.deps.Log.Debug("Pass failed", "memcg", memcg, "err", err)
	}
}
