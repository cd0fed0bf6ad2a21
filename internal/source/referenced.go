package source

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/process"
)

// Referenced is the source for any kernel that has /proc/PID/clear_refs. It
// learns how many bytes of each mapping were accessed since it last cleared the
// process's accessed bits, but not which: a window is one pass.
type Referenced struct {
	fs      process.FS
	reclaim reclaim
	sysRoot string // "/sys"
	readers sync.Pool
	// maxProcess is that of SetMaxProcess.
	maxProcess atomic.Uint64
	// compareMemory returns how the kernel orders the address spaces of two processes:
	// 0 if they share one.
	compareMemory func(tgid, other int) (order int, err error)

	mu    sync.Mutex // guards what follows
	procs map[int]*observed
	// owners are the tgids that own their address space, by the hash of their program:
	// only processes of one program can share one. Each list is in the order of
	// compareMemory.
	owners map[uint64][]int
}

// observed is what is known of a process since it was last cleared.
type observed struct {
	id heat.ProcessID
	// owner is set once its address space is known to be nobody's whom we clear
	// as well, and asked once that was tried. Both are guarded by Referenced.mu.
	owner, asked bool

	mu sync.Mutex // guards what follows
	// memcg is where it was when it was last cleared.
	memcg uint64
	// maps are its mappings as they were when it was cleared; nil before.
	maps []wasMapped
	// reclaimed is how far reclaim had come, and walkers tells whether any
	// other walker was active.
	reclaimed reclaimed
	walkers   bool
}

// NewReferenced returns a source that reads procRoot and sysRoot ("/proc",
// "/sys").
func NewReferenced(procRoot, sysRoot string) *Referenced {
	fs := process.NewFS(procRoot)
	r := &Referenced{
		fs:      fs,
		sysRoot: sysRoot,
		reclaim: newReclaim(procRoot, sysRoot),
		procs:   map[int]*observed{},
		owners:  map[uint64][]int{},
	}
	r.compareMemory = r.compare
	r.readers.New = func() any { return process.NewMappingReader(r.fs) }
	return r
}

// Through makes reads of processes go through a Guard that others use too, and returns
// the source. It must not run yet.
func (r *Referenced) Through(g *process.Guard) *Referenced {
	r.fs = r.fs.With(g)
	return r
}

func openReferenced(reads *process.Guard, _ *slog.Logger) (Source, error) {
	return NewReferenced("/proc", "/sys").Through(reads), nil
}

// Info implements Source.
func (r *Referenced) Info() heat.SourceInfo {
	return heat.SourceInfo{Name: "referenced", Granularity: "mapping"}
}

// Start implements Source. There is nothing to start: no record will come.
func (r *Referenced) Start(Sink) error { return nil }

// Watch implements Source.
func (r *Referenced) Watch(_, remove []int) ([]int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, tgid := range remove {
		r.forget(tgid)
	}
	return nil, nil
}

// Age implements Source. It is an error: a MappingSource ages each process as it
// observes it.
func (r *Referenced) Age(context.Context, Request) (Outcome, error) {
	return Outcome{}, errors.New("source referenced ages processes, not memcgs")
}

// MemoryBytes implements Source.
func (r *Referenced) MemoryBytes() uint64 { return 0 }

// OtherWalkers implements Source.
func (r *Referenced) OtherWalkers() []heat.Walker { return walkers(r.sysRoot, heat.UnobservedShared) }

// Close implements Source.
func (r *Referenced) Close() error { return nil }

// Reasons for which what was not referenced is unobserved all the same.
const (
	skipReclaim = "reclaim"       // reclaim may have cleared the accessed bits
	skipWalker  = "other_walker"  // DAMON may have moved them to the page
	skipShared  = "shared_memory" // another process has the same address space
	skipLarge   = "large_process" // its page faults would wait for too long
)

// SkipReasons implements MappingSource.
func (r *Referenced) SkipReasons() []string {
	return []string{skipReclaim, skipWalker, skipGuest, skipShared, skipLarge}
}

// Observe implements MappingSource.
func (r *Referenced) Observe(p heat.Process, s *heat.Selection) (*heat.MappingWindow, error) {
	reader := r.readers.Get().(*process.MappingReader)
	defer r.readers.Put(reader)
	o := r.lookup(p.ProcessID)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.memcg != p.Memcg {
		o.memcg, o.maps = p.Memcg, nil
	}
	if w, err := r.leave(o); w != nil || err != nil {
		return w, err
	}
	w, err := r.observe(reader, o, s, r.shares(o))
	if err != nil {
		r.mu.Lock()
		r.forget(p.TGID)
		r.mu.Unlock()
		return nil, err
	}
	return w, nil
}

// SetMaxProcess implements Limiter.
func (r *Referenced) SetMaxProcess(bytes uint64) { r.maxProcess.Store(bytes) }

// leave returns the window of a process that is too large to be looked at, or nil. To
// know how large it is takes no lock of the process's.
func (r *Referenced) leave(o *observed) (*heat.MappingWindow, error) {
	limit := r.maxProcess.Load()
	if limit == 0 {
		return nil, nil
	}
	res, err := r.fs.Unread(o.id.TGID)
	if err != nil {
		// If it is gone, to look at it says so too.
		if gone(err) {
			err = nil
		}
		return nil, err
	}
	w := &heat.MappingWindow{SwappedBytes: res.SwappedPages * heat.PageSize, Skips: []string{skipLarge}}
	nodes, err := nodesWithMemory(r.sysRoot)
	if err != nil {
		return nil, err
	}
	for _, u := range res.Unscanned {
		a := heat.Area{Node: int(u.Node), Type: u.Type, Unobserved: u.Pages * heat.PageSize, Resident: u.Pages * heat.PageSize}
		if len(nodes) == 1 {
			a.Node = nodes[0]
		}
		w.AddArea(a)
	}
	if w.Resident()+w.SwappedBytes <= limit {
		return nil, nil
	}
	o.maps = nil // it may become smaller, and then begins anew
	return w, nil
}

// observe ends the window of a process and begins the next. An access between
// the reading and the clearing of its page is lost, so as little as can be is
// done between the two; how far reclaim has come has to be known for both.
func (r *Referenced) observe(reader *process.MappingReader, o *observed, s *heat.Selection, shares bool) (*heat.MappingWindow, error) {
	tgid := o.id.TGID
	walkers := len(activeWalkers(r.sysRoot)) > 0
	nodes, err := nodesWithMemory(r.sysRoot)
	if err != nil {
		return nil, err
	}
	maps, err := reader.Read(tgid)
	if err != nil {
		return nil, err
	}
	reclaimed, err := r.reclaim.read()
	if err != nil {
		return nil, err
	}
	if !shares {
		if err := reader.ClearRefs(tgid); err != nil {
			return nil, err
		}
	}
	if err := reader.Locate(tgid, maps, nodes); err != nil {
		return nil, err
	}
	j := judge{
		selection: *s, before: o.maps, walkers: walkers || o.walkers, guest: slices.ContainsFunc(maps, func(m process.Mapping) bool { return m.ShowsVCPU() }),
		lost: r.reclaim.lost(o.reclaimed, reclaimed),
	}
	w := j.window(maps)
	if shares {
		w.Skips = append(w.Skips, skipShared)
		return w, nil
	}
	o.maps, o.reclaimed, o.walkers = remember(maps, o.maps), reclaimed, walkers
	return w, nil
}

// lookup finds what is known of a process, or notes that nothing is.
func (r *Referenced) lookup(id heat.ProcessID) *observed {
	r.mu.Lock()
	defer r.mu.Unlock()
	if o := r.procs[id.TGID]; o != nil && o.id == id {
		return o
	}
	r.forget(id.TGID)
	o := &observed{id: id}
	r.procs[id.TGID] = o
	return o
}

// forget drops what is known of a process. The caller holds mu.
func (r *Referenced) forget(tgid int) {
	o := r.procs[tgid]
	if o == nil {
		return
	}
	delete(r.procs, tgid)
	r.disown(o)
}
