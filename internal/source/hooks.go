package source

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"mglru_exporter/bpf"
	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/memcg"
	"mglru_exporter/internal/name"
	"mglru_exporter/internal/process"
)

// passTries is how often a pass is tried that lost a race or was interrupted.
const passTries = 3

// Hooks is the source for kernels with our patches.
type Hooks struct {
	opts    bpf.HooksOptions
	sysRoot string
	ids     idCache
	bpf     *bpf.Hooks
	unseen  unseen
	guests  guests
}

// NewHooks returns a source that is not attached yet. The processes are those in
// procs. lruGen is debugfs' lru_gen file, where the kernel tells its memcg ids;
// sysRoot is "/sys".
func NewHooks(opts bpf.HooksOptions, procs process.FS, lruGen, sysRoot string) *Hooks {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	return &Hooks{opts: opts, sysRoot: sysRoot, ids: idCache{file: lruGen, ids: map[string]cachedID{}}, guests: guests{maps: procs.Maps}}
}

// Info implements Source.
func (h *Hooks) Info() heat.SourceInfo {
	return heat.SourceInfo{Name: "hooks", Granularity: "page"}
}

// Start implements Source.
func (h *Hooks) Start(sink Sink) (err error) {
	h.bpf, err = bpf.OpenHooks(h.opts, sink)
	return err
}

// Watch implements Source.
func (h *Hooks) Watch(add, remove []int) ([]int, error) {
	h.unseen.forget(remove)
	h.guests.forget(remove)
	return h.bpf.Watch(add, remove)
}

// MemoryBytes implements Source.
func (h *Hooks) MemoryBytes() uint64 {
	if h.bpf == nil {
		return 0
	}
	return h.bpf.MemoryBytes()
}

// OtherWalkers implements Source.
func (h *Hooks) OtherWalkers() []heat.Walker {
	return walkers(h.sysRoot, hooksUnobserved(h.bpf.SeesDAMON()))
}

// Close implements Source.
func (h *Hooks) Close() error {
	if h.bpf == nil {
		return nil
	}
	return h.bpf.Close()
}

// Age implements Source. Where somebody took accessed bits away since the pass
// before began, nothing can be said of what this one did not find young; nor where
// a guest's accesses set other bits.
func (h *Hooks) Age(ctx context.Context, req Request) (Outcome, error) {
	nodes, err := pageNodes(h.sysRoot)
	if err != nil {
		return Outcome{}, failure(err)
	}
	begun, err := h.bpf.Unseen()
	if err != nil {
		return Outcome{Nodes: nodes}, failure(err)
	}
	out, ageErr := h.age(ctx, req)
	out.Nodes = nodes
	now, err := h.bpf.Unseen()
	if err == nil {
		skips := h.unseen.pass(req.Processes, begun, now)
		err = h.bpf.Deliver(ctx, append(skips, h.guests.pass(req)...))
	}
	if ageErr == nil && err != nil {
		ageErr = failure(err)
	}
	return out, ageErr
}

// age runs one pass. One that fails for want of luck is tried again at once: what
// the first try harvested counts for the same pass.
func (h *Hooks) age(ctx context.Context, req Request) (out Outcome, _ error) {
	for try := 1; ; try++ {
		id, err := h.ids.lookup(req.Path, req.Inode)
		if err != nil {
			return out, err
		}
		pass, err := h.bpf.Age(ctx, id, req.CanSwap, req.OnlyWatched)
		out.add(pass)
		if err == nil {
			return out, nil
		}
		f := failure(err)
		if f.Reason == ReasonGone {
			h.ids.forget(req.Path)
		}
		if try == passTries || ctx.Err() != nil || !retry[f.Reason] {
			return out, f
		}
	}
}

// add adds what one try did. Whose the lost records were is known if that is known
// of each try's.
func (o *Outcome) add(try bpf.Pass) {
	known := (o.Lost == 0 || len(o.LostBy) > 0) && (try.Lost == 0 || len(try.LostBy) > 0)
	o.Lost += try.Lost
	o.LostBy = append(o.LostBy, try.LostBy...)
	if !known {
		o.LostBy = nil
	}
	o.CPU += try.CPU
}

// retry has the reasons that another try may not meet. An id can be stale: the
// memcg may have been removed and made anew.
var retry = map[string]bool{ReasonRaced: true, ReasonInterrupted: true, ReasonGone: true}

// failure says in our words what bpf_run_aging() said as an errno.
func failure(err error) *Failure {
	reasons := map[unix.Errno]string{
		unix.EAGAIN:     ReasonRaced,
		unix.EINTR:      ReasonInterrupted,
		unix.ENOENT:     ReasonGone,
		unix.ENODEV:     ReasonGone,
		unix.EOPNOTSUPP: ReasonDisabled,
		unix.ENOMEM:     ReasonNoMemory,
	}
	f := &Failure{Reason: ReasonKernel, Err: err}
	if errors.Is(err, bpf.ErrProbesOff) { // whatever else there is, another try cannot make up for it
		f.Reason = ReasonProbesOff
		return f
	}
	if errno, ok := errors.AsType[unix.Errno](err); ok {
		if r, ok := reasons[errno]; ok {
			f.Reason = r
		}
	}
	return f
}

// An idCache remembers the kernel's private ids of memcgs: reading lru_gen
// costs a tenth of a second where there are a thousand of them. The inode of a
// memcg's directory tells it from one that had its path before.
type idCache struct {
	file string
	mu   sync.Mutex
	ids  map[string]cachedID
}

type cachedID struct {
	inode uint64
	id    int
}

func (c *idCache) lookup(path string, inode uint64) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.ids[path]; ok && e.inode == inode {
		return e.id, nil
	}
	for range lookupTries {
		id, err := c.read(path)
		if err != nil {
			return 0, &Failure{Reason: ReasonUnknownID, Err: err}
		}
		if id != 0 {
			c.ids[path] = cachedID{inode, id}
			return id, nil
		}
	}
	return 0, &Failure{Reason: ReasonGone, Err: fmt.Errorf("%s does not list %s", c.file, name.Escape(path))}
}

// lookupTries is how often a memcg is looked for. The kernel finds its place
// again between two reads of the file by counting memcgs, and so leaves one out
// when one before it has gone meanwhile.
const lookupTries = 3

// read returns the id of a memcg, 0 if it is not listed, and forgets those that are
// gone.
func (c *idCache) read(path string) (int, error) {
	f, err := os.Open(c.file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	groups, err := memcg.ParseLRUGen(f)
	if err != nil {
		return 0, fmt.Errorf("parse %s: %w", c.file, err)
	}
	id, listed := 0, make(map[string]bool, len(groups))
	for _, g := range groups {
		listed[g.Path] = true
		if g.Path == path {
			id = int(g.ID)
		}
	}
	maps.DeleteFunc(c.ids, func(path string, _ cachedID) bool { return !listed[path] })
	return id, nil
}

func (c *idCache) forget(path string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.ids, path)
}
