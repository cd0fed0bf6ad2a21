package source

import (
	"context"
	"errors"
	"sync"
	"time"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/memcg"
	"mglru_exporter/internal/process"
	"mglru_exporter/internal/recording"
)

// Cgroups is what a Recorder needs of the cgroup tree; see sampler.Cgroups.
type Cgroups interface {
	Walk() ([]memcg.Group, error)
	Procs(path string) ([]int, error)
}

// Processes is what a Recorder needs of /proc; see sampler.Processes.
type Processes interface {
	Identify(pid int) (heat.Process, error)
	Residency(ctx context.Context, pid int, res *heat.Residency) error
}

// A Recorder stands between a sampler and the machine: it is the cgroup tree,
// /proc, the source and the clock to the sampler, passes on what the true ones
// say, and writes it down. The sampler must run one pass at a time and tell when
// one has ended.
type Recorder struct {
	cgroups   Cgroups
	processes Processes
	src       Source
	opts      RecorderOptions
	start     time.Time

	mu    sync.Mutex // guards what follows
	w     *recording.Writer
	ev    recording.Event
	phase phase
	cut   bool // the context has ended within the pass
	// path, at, ends and listed are what is known of a pass before it is sure
	// that it will be one; queried are the processes that were identified.
	path     string
	listed   []int
	procsErr error
	queried  []query
	refused  []int
	at       time.Duration
	ends     []time.Duration
	// late is what came after the pass under way, before it was over.
	late []func()
	tree map[string]uint64
	// space has those processes that a tracker may know; images counts them.
	space  map[int]*space
	images uint64
	err    error
}

// RecorderOptions say how to record.
type RecorderOptions struct {
	// Watched tells which memcgs to record at all; nil for all.
	Watched func(path string) bool
	// Addresses records where regions are.
	Addresses bool
	// Failed is called once when nothing can be written any more.
	Failed func(error)
}

// A phase is how far a pass has come.
type phase int

const (
	between phase = iota // no pass is under way
	listing              // processes are being listed and identified
	reading              // they are watched, and residency may be read
	aging                // the source is at work
	aged                 // processes are identified again
)

// A query is a process that was identified.
type query struct {
	result recording.Result
	heat.Process
}

// A space is what is remembered of a process's address space, so that nothing
// in the recording tells where things are in it.
type space struct {
	heat.ProcessID
	image   uint64 // stands for Image, a hash of addresses
	numbers recording.Numbering
}

// NewRecorder begins a recording in w, whose header says when that was.
func NewRecorder(w *recording.Writer, h recording.Header, cgroups Cgroups, processes Processes, src Source, opts RecorderOptions) *Recorder {
	return &Recorder{
		cgroups: cgroups, processes: processes, src: src, opts: opts, start: h.Started, w: w,
		tree: map[string]uint64{}, space: map[int]*space{},
	}
}

// Now is the clock. It knows of no steps of the machine's clock since the start.
func (r *Recorder) Now() time.Time {
	at := time.Since(r.start)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch r.phase {
	case between:
		r.at = at
	case listing:
		r.ends = append(r.ends, at)
	default:
		r.write(recording.Event{Kind: recording.Clock, At: at})
	}
	return r.start.Add(at)
}

// Walk lists the cgroups.
func (r *Recorder) Walk() ([]memcg.Group, error) {
	groups, err := r.cgroups.Walk()
	at := time.Since(r.start)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.order(func() { r.discovered(groups, err, at) })
	return groups, err
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

// order does something now or, while a pass is under way, after it.
func (r *Recorder) order(f func()) {
	if r.phase == between {
		f()
		return
	}
	r.late = append(r.late, f)
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

// Watch adds and removes processes.
func (r *Recorder) Watch(add, remove []int) ([]int, error) {
	refused, err := r.src.Watch(add, remove)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, tgid := range remove {
		delete(r.space, tgid)
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

// begin writes the beginning of the pass, once it is sure that it will be one.
func (r *Recorder) begin() {
	if r.phase != listing {
		return
	}
	r.phase = reading
	r.write(recording.Event{Kind: recording.Pass, At: r.at, Text: r.path, Result: resultOf(r.procsErr)})
	for _, pid := range r.listed {
		r.write(recording.Event{Kind: recording.PID, TGID: pid})
	}
	for _, q := range r.queried {
		r.identity(q)
	}
	for _, tgid := range r.refused {
		r.write(recording.Event{Kind: recording.Refused, TGID: tgid})
	}
}

// Residency reads what a process has in memory.
func (r *Recorder) Residency(ctx context.Context, pid int, res *heat.Residency) error {
	err := r.processes.Residency(ctx, pid, res)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begin()
	r.cut = r.cut || ctx.Err() != nil
	r.write(recording.Event{Kind: recording.Residency, TGID: pid, Result: resultOf(err), Swapped: res.SwappedPages})
	for _, part := range res.Parts {
		part.Region = r.number(pid, part.Region)
		r.write(recording.Event{Kind: recording.Part, Part: part})
	}
	for _, u := range res.Unscanned {
		r.write(recording.Event{Kind: recording.Unscanned, Unscanned: u})
	}
	return err
}

// number returns what stands for a region. In the order of residency, which is
// that of addresses, numbers rise, unless a process has used up those there are.
func (r *Recorder) number(tgid int, region uint64) uint64 {
	if r.opts.Addresses {
		return region
	}
	s := r.space[tgid]
	if s == nil {
		s = &space{}
		r.space[tgid] = s
	}
	return s.numbers.Number(region)
}

// OtherWalkers asks a source that is Blind; others see all.
func (r *Recorder) OtherWalkers() []string {
	var active []string
	if b, ok := r.src.(Blind); ok {
		active = b.OtherWalkers()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begin()
	for _, name := range active {
		r.write(recording.Event{Kind: recording.Walker, Text: name})
	}
	return active
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

// Ended ends the pass under way; the sampler calls it after each pass.
func (r *Recorder) Ended(_ string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	// A pass that failed, or had nothing to ask, has looked at the clock at its
	// end. One that was not worth it has not.
	if r.phase == listing && len(r.ends) > 0 {
		r.begin()
		for _, at := range r.ends {
			r.write(recording.Event{Kind: recording.Clock, At: at})
		}
	}
	if begun := r.phase > listing; begun && !r.cut && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		r.write(recording.Event{Kind: recording.Done})
	}
	r.phase, r.refused, r.listed, r.procsErr, r.ends = between, nil, nil, nil, r.ends[:0]
	for _, f := range r.late {
		f()
	}
	r.late = nil
	r.failed(r.w.Flush())
}

// Source returns the source for the sampler to use, the Recorder itself or a
// MappingSource.
func (r *Recorder) Source() Source {
	if src, ok := r.src.(MappingSource); ok {
		return &mappingRecorder{r, src}
	}
	return r
}

type mappingRecorder struct {
	*Recorder
	src MappingSource
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

// MemoryBytes is what the source holds in the kernel.
func (r *Recorder) MemoryBytes() uint64 { return r.src.MemoryBytes() }

// Close closes the source and ends the recording. The error is that of either.
func (r *Recorder) Close() error {
	err := r.src.Close()
	at := time.Since(r.start)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.write(recording.Event{Kind: recording.End, At: at})
	r.failed(r.w.Flush())
	return errors.Join(err, r.err)
}

// Err returns why nothing can be written any more, or nil.
func (r *Recorder) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

func (r *Recorder) write(ev recording.Event) { r.put(&ev) }

func (r *Recorder) put(ev *recording.Event) { r.failed(r.w.Write(ev)) }

func (r *Recorder) failed(err error) {
	if err == nil || r.err != nil {
		return
	}
	r.err = err
	if r.opts.Failed != nil {
		r.opts.Failed(err)
	}
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
	}
	return recording.Failed
}
