package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"time"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/memcg"
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

	tree  map[string]uint64
	paths int // bytes of those in tree
	// listed is how many processes each memcg had when it was last listed, processes
	// the sum of that; reasons are those that came up.
	listed             map[string]int
	processes          int
	reasons            map[string]bool
	gens               []memcg.LRUGen
	gensErr            error
	gensLen, gensBytes int
	treeErr            error
	memory             uint64
	pass               *playedPass
	now                time.Duration
}

const (
	// maxHeld is how many bytes a pass may have, beside its records. 96 MiB is
	// residency of some 2 TiB. Only a file made for it has more.
	maxHeld = 96 << 20
	// maxPaths is how many bytes the paths of all memcgs may have.
	maxPaths = 16 << 20
	// maxProcesses is how many processes all memcgs may have, as they were last listed.
	maxProcesses = 1 << 16
	// maxReasons is how many reasons and walkers there may be; each makes a series.
	maxReasons = 64
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
	r := &Replay{file: f, speed: speed, log: log, tree: map[string]uint64{}, listed: map[string]int{}, reasons: map[string]bool{}}
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

// Header returns how the recording was made.
func (r *Replay) Header() recording.Header { return r.header }

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
			if _, there := r.tree[ev.Text]; !there {
				r.paths += len(ev.Text)
			}
			r.tree[ev.Text] = ev.Inode
			if len(r.tree) > maxMemcgs {
				return "", time.Time{}, r.fail(errors.New("there are more memcgs than a kernel can have"))
			}
			if r.paths > maxPaths {
				return "", time.Time{}, r.fail(fmt.Errorf("the paths of memcgs have more than %d bytes", maxPaths))
			}
		case recording.Ungroup:
			if _, there := r.tree[ev.Text]; there {
				r.paths -= len(ev.Text)
				r.processes -= r.listed[ev.Text]
			}
			delete(r.tree, ev.Text)
			delete(r.listed, ev.Text)
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
			if err := r.harvest(); err != nil {
				return "", time.Time{}, err
			}
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
	if r.gensBytes += len(ev.Text); r.gensBytes > maxPaths {
		return r.fail(fmt.Errorf("the paths of generations have more than %d bytes", maxPaths))
	}
	i := len(r.gens) - 1
	switch {
	case ev.Kind == recording.Generations:
		r.gens, r.gensErr, r.gensLen, r.gensBytes = nil, nil, 0, 0
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
