package source

import (
	"context"
	"slices"
	"strings"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/recording"
)

// Source returns the source for the sampler to use, the Recorder itself or a
// MappingSource.
func (r *Recorder) Source() Source {
	if src, ok := r.src.(MappingSource); ok {
		return &mappingRecorder{r, src}
	}
	return r
}

// Info tells of the source.
func (r *Recorder) Info() heat.SourceInfo { return r.src.Info() }

// Start starts the source.
func (r *Recorder) Start(sink Sink) error {
	return r.src.Start(func(records []heat.Record) {
		r.records(records)
		sink(records)
	})
}

func (r *Recorder) records(records []heat.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.phase == aged {
		// They are of the next pass.
		records := append([]heat.Record(nil), records...)
		r.late = append(r.late, func() { r.harvest(records) })
		return
	}
	r.harvest(records)
}

func (r *Recorder) harvest(records []heat.Record) {
	for i := range records {
		rec := &records[i]
		s := r.space[rec.TGID]
		r.ev.Record = *rec
		to := &r.ev.Record
		switch rec.Kind {
		case heat.KindYoung:
			r.ev.Kind = recording.Young
			switch {
			case r.opts.Addresses:
			case s == nil: // nobody whom a tracker knows
				to.Start = 0
			default:
				to.Start = s.numbers.Number(rec.Start/heat.RegionSize) * heat.RegionSize
			}
		case heat.KindSkip:
			r.ev.Kind = recording.Skip
			switch {
			case r.opts.Addresses:
			case s == nil:
				to.Start, to.End = 0, 0
			default:
				to.Start, to.End = s.numbers.Span(rec.Start, rec.End)
			}
		case heat.KindWalk:
			r.ev.Kind = recording.Walk
		default:
			continue
		}
		r.put(&r.ev)
	}
}

// Watch adds and removes processes.
func (r *Recorder) Watch(add, remove []int) ([]int, error) {
	refused, err := r.src.Watch(add, remove)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, tgid := range remove {
		if !slices.Contains(add, tgid) { // or else it has only moved
			delete(r.space, tgid)
		}
	}
	switch {
	case len(add) == 0: // maybe not even for a pass
	case err != nil:
		r.refused = add
	default:
		r.refused = refused
	}
	return refused, err
}

// OtherWalkers asks the source.
func (r *Recorder) OtherWalkers() []heat.Walker {
	active := r.src.OtherWalkers()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begin()
	for _, w := range active {
		r.write(recording.Event{Kind: recording.Walker, Text: walkerText(w)})
	}
	return active
}

// walkerText is the text of a recorded walker; recordedWalker is its reverse.
func walkerText(w heat.Walker) string {
	if w.Unobserved == heat.UnobservedAll {
		return w.Name
	}
	return w.Name + " " + string(w.Unobserved)
}

func recordedWalker(text string) heat.Walker {
	name, unobserved, _ := strings.Cut(text, " ")
	switch w := (heat.Walker{Name: name, Unobserved: heat.Unobserved(unobserved)}); w.Unobserved {
	case heat.UnobservedNone, heat.UnobservedShared:
		return w
	}
	return heat.Walker{Name: text, Unobserved: heat.UnobservedAll}
}

// Age ages a memcg.
func (r *Recorder) Age(ctx context.Context, req Request) (Outcome, error) {
	r.mu.Lock()
	r.begin()
	r.phase = aging
	r.write(recording.Event{Kind: recording.Aging})
	r.mu.Unlock()
	out, err := r.src.Age(ctx, req)
	memory := r.src.MemoryBytes()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut = r.cut || ctx.Err() != nil
	for _, tgid := range out.LostBy {
		r.write(recording.Event{Kind: recording.LostBy, TGID: tgid})
	}
	ev := recording.Event{Kind: recording.Aged, Outcome: recording.Outcome{
		Nodes: out.Nodes, Lost: out.Lost, CPU: out.CPU, Memory: memory,
	}}
	if err != nil {
		ev.Result, ev.Reason, ev.Text = recording.Failed, ReasonOf(err), text(err)
	}
	r.write(ev)
	r.phase = aged
	return out, err
}

// MemoryBytes is what the source holds in the kernel.
func (r *Recorder) MemoryBytes() uint64 { return r.src.MemoryBytes() }

type mappingRecorder struct {
	*Recorder
	src MappingSource
}

// SetMaxProcess implements Limiter, if the source does.
func (r *mappingRecorder) SetMaxProcess(bytes uint64) {
	if l, ok := r.src.(Limiter); ok {
		l.SetMaxProcess(bytes)
	}
}

// SkipReasons implements MappingSource.
func (r *mappingRecorder) SkipReasons() []string { return r.src.SkipReasons() }

// Observe implements MappingSource. It selects nothing: what is left out is not in
// the recording, and nobody looks at what the sampler makes of it.
func (r *mappingRecorder) Observe(p heat.Process, _ *heat.Selection) (*heat.MappingWindow, error) {
	w, err := r.src.Observe(p, &heat.Selection{})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begin()
	ev := recording.Event{Kind: recording.Observed, TGID: p.TGID, Result: resultOf(err)}
	if err != nil {
		r.write(ev)
		return nil, err
	}
	ev.Swapped = w.SwappedBytes
	r.write(ev)
	for _, a := range w.Areas {
		r.write(recording.Event{Kind: recording.Area, Area: a})
	}
	for _, reason := range w.Skips {
		r.write(recording.Event{Kind: recording.Unsure, Text: reason})
	}
	return w, nil
}
