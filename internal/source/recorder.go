package source

import (
	"context"
	"errors"
	"sync"
	"time"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/recording"
)

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

// order does something now or, while a pass is under way, after it.
func (r *Recorder) order(f func()) {
	if r.phase == between {
		f()
		return
	}
	r.late = append(r.late, f)
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
