package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"os"
	"slices"
	"time"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/memcg"
	"mglru_exporter/internal/preflight"
	"mglru_exporter/internal/process"
	"mglru_exporter/internal/recording"
)

// A Replay plays a recording: it is the cgroup tree, /proc, the source and the
// clock to a sampler, and says what is to be done next. What the sampler is told
// depends on nothing but the file. All methods must be called by one goroutine,
// which runs one pass after another, as Next says.
type Replay struct {
	file   *os.File
	header recording.Header
	speed  float64
	log    *slog.Logger
	sink   Sink

	// ahead is at the end of the pass that tape is in: a pass is begun only
	// once all of it is known to be whole.
	ahead, tape *recording.Reader
	ev          recording.Event
	peeked      bool // ev is still to be dealt with
	err         error
	begun       time.Time // when the first step was due; zero before it
	batch       []heat.Record

	tree    map[string]uint64
	gens    []memcg.LRUGen
	gensErr error
	gensLen int
	treeErr error
	memory  uint64
	pass    *playedPass
	now     time.Duration
}

// playedPass is what is known of the pass under way.
type playedPass struct {
	path     string
	result   recording.Result
	pids     []int
	queries  map[int][]query
	asked    map[int]int // how often, by pid
	refused  map[int]bool
	walkers  [2][]string // before and after aging
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
}

// played is what a process had in memory.
type played struct {
	result recording.Result
	res    heat.Residency
	window heat.MappingWindow
}

const (
	// maxHeld is how many bytes a pass may have, beside its records. 256 MiB is
	// residency of some 4 TiB. Only a file made for it has more.
	maxHeld = 256 << 20
	// maxMemcgs is MEM_CGROUP_ID_MAX of the kernel.
	maxMemcgs = 1<<16 - 1
	// maxGenerations is 16 for each memcg that there can be: some 4 nodes.
	maxGenerations = 16 * maxMemcgs
	// batchSize is how many records go into the sink at once.
	batchSize = 256
)

// OpenReplay opens a recording. Speed is how many times faster than it happened
// it is played; 0 waits for nothing.
func OpenReplay(file string, speed float64, log *slog.Logger) (*Replay, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("open the recording: %w", err)
	}
	r := &Replay{file: f, speed: speed, log: log, tree: map[string]uint64{}}
	if r.tape, err = readerOf(f); err == nil {
		r.ahead, err = readerOf(f)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	r.header = r.tape.Header()
	return r, nil
}

func readerOf(f *os.File) (*recording.Reader, error) {
	return recording.NewReader(io.NewSectionReader(f, 0, math.MaxInt64), f.Name())
}

// PreflightReplay tells whether a recording can be played.
func PreflightReplay(file string) preflight.Report {
	r := preflight.Requirement{Name: "recording", Repair: "make one with mglru_exporter record FILE, and name it in replay.file"}
	detail, err := readThrough(file)
	if err != nil {
		r.Detail = err.Error()
	} else {
		r.Met, r.Repair, r.Detail = true, "", detail
	}
	return preflight.Report{Source: "replay", Requirements: []preflight.Requirement{r}}
}

func readThrough(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	d, err := readerOf(f)
	if err != nil {
		return "", err
	}
	var ev recording.Event
	passes := 0
	for {
		switch err := d.Next(&ev); {
		case errors.Is(err, io.EOF):
			h := d.Header()
			return fmt.Sprintf("%s has %d passes in %s, recorded %s on Linux %s with source %s",
				file, passes, ev.At.Round(time.Second), h.Started.UTC().Format(time.RFC3339), h.Kernel, h.Source), nil
		case err != nil && passes > 0:
			return "", fmt.Errorf("%w; the %d passes before can be played", err, passes)
		case err != nil:
			return "", err
		}
		if ev.Kind == recording.Done {
			passes++
		}
	}
}

// Header returns how the recording was made.
func (r *Replay) Header() recording.Header { return r.header }

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

// Next waits until the next step is due, and returns the memcg whose pass it
// is, "" for a look at the cgroup tree, and when it was. The error is io.EOF at
// the end, or says where and why the recording cannot be played on.
func (r *Replay) Next(ctx context.Context) (memcg string, at time.Time, err error) {
	defer r.flush()
	if err := r.finish(); err != nil {
		return "", time.Time{}, err
	}
	for {
		if err := r.peek(); err != nil {
			return "", time.Time{}, err
		}
		r.peeked = false
		switch ev := &r.ev; ev.Kind {
		case recording.Group:
			r.tree[ev.Text] = ev.Inode
			if len(r.tree) > maxMemcgs {
				return "", time.Time{}, r.fail(errors.New("there are more memcgs than a kernel can have"))
			}
		case recording.Ungroup:
			delete(r.tree, ev.Text)
		case recording.Generations, recording.GenMemcg, recording.GenNode, recording.Gen:
			if err := r.generation(); err != nil {
				return "", time.Time{}, err
			}
		case recording.Discovered:
			r.treeErr, r.now = nil, ev.At
			if ev.Text != "" {
				r.treeErr = errors.New(ev.Text)
			}
			r.flush()
			return "", r.header.Started.Add(ev.At), r.wait(ctx, ev.At)
		case recording.Young, recording.Skip, recording.Walk:
			r.harvest()
		case recording.Pass:
			if err := r.lookAhead(); err != nil {
				return "", time.Time{}, err
			}
			r.flush()
			p := &playedPass{path: ev.Text, result: ev.Result, queries: map[int][]query{}, asked: map[int]int{}, refused: map[int]bool{}, parts: map[int]*played{}}
			path, begin := ev.Text, ev.At
			r.pass, r.now = p, begin
			if err := r.prepare(p); err != nil {
				return "", time.Time{}, err
			}
			return path, r.header.Started.Add(begin), r.wait(ctx, begin)
		case recording.End:
			return "", time.Time{}, io.EOF
		default:
			return "", time.Time{}, r.fail(fmt.Errorf("an event of kind %d is outside of a pass", ev.Kind))
		}
	}
}

// generation takes in one event of the kernel's generations.
func (r *Replay) generation() error {
	ev := &r.ev
	if r.gensLen++; r.gensLen > maxGenerations {
		return r.fail(errors.New("there are more generations than a kernel can have"))
	}
	i := len(r.gens) - 1
	switch {
	case ev.Kind == recording.Generations:
		r.gens, r.gensErr, r.gensLen = nil, nil, 0
		if ev.Text != "" {
			r.gensErr = errors.New(ev.Text)
		}
	case ev.Kind == recording.GenMemcg:
		r.gens = append(r.gens, memcg.LRUGen{Path: ev.Text})
	case i < 0:
		return r.fail(errors.New("a generation is of no memcg"))
	case ev.Kind == recording.GenNode:
		r.gens[i].Nodes = append(r.gens[i].Nodes, memcg.LRUGenNode{Node: ev.Node})
	case len(r.gens[i].Nodes) == 0:
		return r.fail(errors.New("a generation is of no node"))
	default:
		n := &r.gens[i].Nodes[len(r.gens[i].Nodes)-1]
		n.Gens = append(n.Gens, ev.Gen)
	}
	return nil
}

// Generations lists the kernel's generations as they were last read.
func (r *Replay) Generations() ([]memcg.LRUGen, error) { return r.gens, r.gensErr }

// wait waits for a moment of the recording.
func (r *Replay) wait(ctx context.Context, at time.Duration) error {
	if r.speed == 0 {
		return ctx.Err()
	}
	// It begins with the first step: how long the recorder took to get there is
	// of no interest.
	if r.begun.IsZero() {
		r.begun = time.Now().Add(-r.scaled(at))
	}
	timer := time.NewTimer(time.Until(r.begun.Add(r.scaled(at))))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func (r *Replay) scaled(at time.Duration) time.Duration {
	return time.Duration(min(float64(at)/r.speed, math.MaxInt64/2))
}

// peek reads the next event unless there is one to be dealt with.
func (r *Replay) peek() error {
	if r.peeked || r.err != nil {
		return r.err
	}
	if err := r.tape.Next(&r.ev); err != nil {
		r.err = err
		return err
	}
	r.peeked = true
	return nil
}

// fail notes that the tape makes no sense from here on.
func (r *Replay) fail(err error) error {
	r.err = &recording.Error{File: r.file.Name(), Offset: r.tape.Offset(), Err: err}
	return r.err
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

// prepare reads what was known before memory was looked at.
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
		case recording.PID, recording.Identity, recording.Refused:
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
	case recording.Identity:
		p.queries[ev.Process.TGID] = append(p.queries[ev.Process.TGID], query{ev.Result, ev.Process})
	case recording.Refused:
		p.refused[ev.TGID] = true
	case recording.Residency, recording.Observed:
		p.lastPart = &played{result: ev.Result, res: heat.Residency{SwappedPages: ev.Swapped}, window: heat.MappingWindow{SwappedBytes: ev.Swapped}}
		p.parts[ev.TGID] = p.lastPart
	case recording.Part, recording.Unscanned, recording.Area, recording.Unsure:
		if p.lastPart == nil {
			return r.fail(errors.New("memory of no process"))
		}
		p.lastPart.add(ev)
	case recording.Young, recording.Skip, recording.Walk:
		r.harvest()
		size = 0
	case recording.Walker:
		i := 0
		if p.aged {
			i = 1
		}
		p.walkers[i] = append(p.walkers[i], ev.Text)
	case recording.Aging:
		p.aging = true
	case recording.LostBy:
		p.outcome.LostBy = append(p.outcome.LostBy, ev.TGID)
	case recording.Aged:
		r.aged(p)
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

func (m *played) add(ev *recording.Event) {
	switch ev.Kind {
	case recording.Part:
		m.res.Parts = append(m.res.Parts, ev.Part)
	case recording.Unscanned:
		m.res.Unscanned = append(m.res.Unscanned, ev.Unscanned)
	case recording.Area:
		m.window.AddArea(ev.Area)
	case recording.Unsure:
		m.window.Skips = append(m.window.Skips, ev.Text)
	}
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

// harvest gives the record at hand to the sink, sooner or later.
func (r *Replay) harvest() {
	if r.batch = append(r.batch, r.ev.Record); len(r.batch) >= batchSize {
		r.flush()
	}
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

// OtherWalkers implements Blind.
func (r *Replay) OtherWalkers() []string {
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
	}
	return errRecorded
}

// mappingReplay is a Replay of a MappingSource.
type mappingReplay struct{ *Replay }

// SkipReasons implements MappingSource.
func (r mappingReplay) SkipReasons() []string { return r.header.SkipReasons }

// Observe implements MappingSource. A recording does not tell mappings apart, so
// there is nothing to be selected; see CheckSelection.
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
