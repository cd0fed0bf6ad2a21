package source

import (
	"errors"
	"fmt"
	"time"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/process"
	"mglru_exporter/internal/recording"
)

// playedPass is what is known of the pass under way.
type playedPass struct {
	path     string
	result   recording.Result
	pids     []int
	queries  map[int][]query
	asked    map[int]int // how often, by pid
	refused  map[int]bool
	walkers  [2][]heat.Walker // before and after aging
	clock    []time.Duration
	parts    map[int]*played
	outcome  Outcome
	err      error
	lastPart *played
	// begun is set once the sampler has looked at the clock.
	begun bool
	// aging is set once the tape is past the event of that kind, over once it is
	// past the last event of the pass.
	aging, aged, over bool
	held              int
	bytes             uint64 // of memory, as said
}

// maxPassBytes is how much memory the processes of one memcg may have, swapped and
// resident: so much that there is no such machine, and so little that sums do not
// overflow.
const maxPassBytes = 1 << 60

// played is what a process had in memory.
type played struct {
	result recording.Result
	res    heat.Residency
	window heat.MappingWindow
}

// lookAhead returns why the pass that begins here is not whole.
func (r *Replay) lookAhead() error {
	var ev recording.Event
	for inside := false; ; {
		if err := r.ahead.Next(&ev); err != nil {
			r.err = err
			return err
		}
		switch ev.Kind {
		case recording.Pass:
			inside = true
		case recording.Done:
			if inside {
				return nil
			}
		}
	}
}

// prepare reads what was known before memory was looked at, and so all of a pass
// that had no memory to look at.
func (r *Replay) prepare(p *playedPass) error {
	// Where no records have to wait for the sampler to be ready for them, all of
	// the pass can be read at once.
	if p.result != recording.OK || r.header.Granularity == "mapping" {
		return r.until(p, func() bool { return p.over })
	}
	for {
		if err := r.peek(); err != nil {
			return err
		}
		switch r.ev.Kind {
		case recording.PID, recording.Identity, recording.Refused, recording.Clock:
			if err := r.step(p); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// until plays the pass on until it has come as far as asked for.
func (r *Replay) until(p *playedPass, reached func() bool) error {
	for !reached() && !p.over {
		if err := r.peek(); err != nil {
			return err
		}
		if err := r.step(p); err != nil {
			return err
		}
	}
	return nil
}

// step takes in one event of a pass.
func (r *Replay) step(p *playedPass) error {
	r.peeked = false
	ev := &r.ev
	size := 96 + len(ev.Text)
	switch ev.Kind {
	case recording.PID:
		p.pids = append(p.pids, ev.TGID)
		if err := r.list(p.path, len(p.pids)); err != nil {
			return err
		}
	case recording.Identity:
		p.queries[ev.Process.TGID] = append(p.queries[ev.Process.TGID], query{ev.Result, ev.Process})
	case recording.Refused:
		p.refused[ev.TGID] = true
	case recording.Residency, recording.Observed:
		if p.bytes += ev.Swapped; p.bytes > maxPassBytes {
			return r.fail(fmt.Errorf("one pass has more than %d bytes of memory", uint64(maxPassBytes)))
		}
		p.lastPart = &played{result: ev.Result, res: heat.Residency{SwappedPages: ev.Swapped}, window: heat.MappingWindow{SwappedBytes: ev.Swapped}}
		p.parts[ev.TGID] = p.lastPart
	case recording.Mapping, recording.Part, recording.Unscanned, recording.Area, recording.Unsure:
		if p.lastPart == nil {
			return r.fail(errors.New("memory of no process"))
		}
		if err := p.lastPart.add(ev); err != nil {
			return r.fail(err)
		}
		if p.bytes += bytesOf(ev); p.bytes > maxPassBytes {
			return r.fail(fmt.Errorf("one pass has more than %d bytes of memory", uint64(maxPassBytes)))
		}
		if ev.Kind == recording.Unsure {
			if err := r.reason(ev.Text); err != nil {
				return err
			}
		}
		size += len(ev.Mapping.Name)
	case recording.Young, recording.Skip, recording.Walk:
		if err := r.harvest(); err != nil {
			return err
		}
		size = 0
	case recording.Walker:
		if err := r.reason(ev.Text); err != nil {
			return err
		}
		i := 0
		if p.aged {
			i = 1
		}
		p.walkers[i] = append(p.walkers[i], recordedWalker(ev.Text))
	case recording.Aging:
		p.aging = true
	case recording.LostBy:
		p.outcome.LostBy = append(p.outcome.LostBy, ev.TGID)
	case recording.Aged:
		r.aged(p)
		if err := r.reason(ev.Reason); err != nil {
			return err
		}
	case recording.Clock:
		p.clock = append(p.clock, ev.At)
	case recording.Done:
		p.aging, p.aged, p.over = true, true, true
	default:
		return r.fail(fmt.Errorf("an event of kind %d is in a pass", ev.Kind))
	}
	if p.held += size; p.held > maxHeld {
		return r.fail(fmt.Errorf("one pass has more than %d bytes", maxHeld))
	}
	return nil
}

func (m *played) add(ev *recording.Event) error {
	switch ev.Kind {
	case recording.Mapping:
		if n := len(m.res.Mappings); n > 0 && ev.Mapping.Start < m.res.Mappings[n-1].End {
			return errors.New("a mapping begins before the one before it ends")
		}
		m.res.Mappings = append(m.res.Mappings, ev.Mapping)
	case recording.Part:
		m.res.Parts = append(m.res.Parts, ev.Part)
	case recording.Unscanned:
		m.res.Unscanned = append(m.res.Unscanned, ev.Unscanned)
	case recording.Area:
		m.window.AddArea(ev.Area)
	case recording.Unsure:
		m.window.Skips = append(m.window.Skips, ev.Text)
	}
	return nil
}

func (r *Replay) aged(p *playedPass) {
	ev := &r.ev
	p.aged = true
	p.outcome.Nodes, p.outcome.Lost, p.outcome.CPU = ev.Outcome.Nodes, ev.Outcome.Lost, ev.Outcome.CPU
	if ev.Result != recording.OK {
		p.err = &Failure{Reason: ev.Reason, Err: errors.New(ev.Text)}
	}
	r.memory = ev.Outcome.Memory
}

// bytesOf is how much memory an event tells of.
func bytesOf(ev *recording.Event) uint64 {
	switch ev.Kind {
	case recording.Part:
		return uint64(ev.Part.Pages.Count()) * heat.PageSize
	case recording.Unscanned:
		return ev.Unscanned.Pages * heat.PageSize
	case recording.Area:
		return max(ev.Area.Resident, ev.Area.Hot+ev.Area.Warm+ev.Area.Cold+ev.Area.Unobserved)
	}
	return 0
}

// list notes how many processes the memcg of the pass under way has so far.
func (r *Replay) list(path string, n int) error {
	if n == 1 {
		r.processes -= r.listed[path]
		r.listed[path] = 0
	}
	r.listed[path]++
	if r.processes++; r.processes > maxProcesses {
		return r.fail(fmt.Errorf("there are more than %d processes", maxProcesses))
	}
	return nil
}

// reason notes a reason or a walker: each is a label of a series.
func (r *Replay) reason(text string) error {
	if r.reasons[text] {
		return nil
	}
	if len(r.reasons) == maxReasons {
		return r.fail(fmt.Errorf("there are more than %d reasons", maxReasons))
	}
	r.reasons[text] = true
	return nil
}

// harvest gives the record at hand to the sink, sooner or later.
func (r *Replay) harvest() error {
	if r.ev.Kind == recording.Skip {
		if err := r.reason(r.ev.Record.Reason); err != nil {
			return err
		}
	}
	if r.batch = append(r.batch, r.ev.Record); len(r.batch) >= batchSize {
		r.flush()
	}
	return nil
}

// flush gives the sink all records that it has not had. The sampler must hold no
// lock that its sink takes.
func (r *Replay) flush() {
	if len(r.batch) > 0 {
		r.sink(r.batch)
		r.batch = r.batch[:0]
	}
}

// finish passes over what the sampler has not asked for of the last pass.
func (r *Replay) finish() error {
	p := r.pass
	if p == nil {
		return r.err
	}
	err := r.until(p, func() bool { return false })
	if n := len(p.clock); n > 0 {
		r.now = p.clock[n-1]
	}
	r.pass = nil
	return err
}

// current returns the pass under way, which the sampler is in.
func (r *Replay) current() *playedPass {
	if r.pass == nil {
		return &playedPass{over: true}
	}
	return r.pass
}

// memoryOf plays the pass on until all of a process's memory has been read.
func (r *Replay) memoryOf(pid int) (*played, error) {
	defer r.flush()
	p := r.current()
	err := r.until(p, func() bool {
		m := p.parts[pid]
		return p.aging || m != nil && m != p.lastPart
	})
	m := p.parts[pid]
	switch {
	case m != nil:
		delete(p.parts, pid)
		return m, nil
	case err != nil:
		return nil, err
	}
	return nil, process.ErrGone // it was not asked for when it was recorded
}
