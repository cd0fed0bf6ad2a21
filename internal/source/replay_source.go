package source

import (
	"context"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/process"
)

// Source returns the source for a sampler to use: the Replay itself, or a
// MappingSource if one was recorded.
func (r *Replay) Source() Source {
	if r.header.Granularity == "mapping" {
		return mappingReplay{r}
	}
	return r
}

// Info implements Source.
func (r *Replay) Info() heat.SourceInfo {
	return heat.SourceInfo{Name: "replay", Granularity: r.header.Granularity}
}

// Start implements Source.
func (r *Replay) Start(sink Sink) error {
	r.sink = sink
	return nil
}

// Watch implements Source.
func (r *Replay) Watch(add, _ []int) (refused []int, _ error) {
	p := r.current()
	for _, tgid := range add {
		if p.refused[tgid] {
			refused = append(refused, tgid)
		}
	}
	return refused, nil
}

// OtherWalkers implements Source.
func (r *Replay) OtherWalkers() []heat.Walker {
	defer r.flush()
	p := r.current()
	if p.aged {
		return p.walkers[1]
	}
	if err := r.until(p, func() bool { return p.aging }); err != nil {
		r.log.Debug("Playing a recording", "err", err)
	}
	return p.walkers[0]
}

// Age implements Source.
func (r *Replay) Age(context.Context, Request) (Outcome, error) {
	defer r.flush()
	p := r.current()
	if err := r.until(p, func() bool { return p.over }); err != nil {
		return p.outcome, &Failure{Reason: ReasonKernel, Err: err}
	}
	return p.outcome, p.err
}

// MemoryBytes implements Source: what the recorded one held.
func (r *Replay) MemoryBytes() uint64 {
	return r.memory
}

// Close implements Source.
func (r *Replay) Close() error { return r.file.Close() }

// mappingReplay is a Replay of a MappingSource.
type mappingReplay struct{ *Replay }

// OtherWalkers implements Source. All of such a pass was read as it began.
func (r mappingReplay) OtherWalkers() []heat.Walker { return r.current().walkers[0] }

// SkipReasons implements MappingSource.
func (r mappingReplay) SkipReasons() []string { return r.header.SkipReasons }

// Observe implements MappingSource. Such a recording does not tell mappings apart,
// as its header says: nothing can be selected.
func (r mappingReplay) Observe(p heat.Process, _ *heat.Selection) (*heat.MappingWindow, error) {
	m, err := r.memoryOf(p.TGID)
	if err != nil {
		return nil, err
	}
	if err := errorOf(m.result, process.ErrGone); err != nil {
		return nil, err
	}
	return &m.window, nil
}
