package source

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"mglru_exporter/bpf"
	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/memcg"
	"mglru_exporter/internal/name"
	"mglru_exporter/internal/process"
)

// Stock is the source for x86-64 kernels without our patches. It ages through
// debugfs.
//
// What the kernel does not say of itself has to be proved here, or is
// unobserved: that a walk has come to the end of a process, which mappings it
// leaves out, and which pages are another memcg's.
//
// One thing is not proved. A walk passes over a page table, which is 2 MiB, if
// somebody else holds its lock at that moment (walk_pte_range()), or if it is
// just being split from a huge page. Accessed bits there stay set for the next
// pass, so that only a page can read cold wrongly whose accesses all come after
// the window's last pass but one, and then it counts in the next window. To see
// it takes a program at _raw_spin_trylock(), which the allocator calls for each
// page, or 0.1 to 0.4 s a pass to attach and detach one.
type Stock struct {
	opts    bpf.StockOptions
	sysRoot string
	gens    *genCache
	proofs  proofs
	bpf     *bpf.Stock
	// aging is the inode of the memcg that is aged, or was last.
	aging atomic.Uint64
}

// NewStock returns a source that is not attached yet. The processes are those in
// procs, and the memcgs those in cgroups; lruGen and sysRoot are as for NewHooks.
func NewStock(opts bpf.StockOptions, procs process.FS, cgroups *memcg.Hierarchy, lruGen, sysRoot string) *Stock {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	return &Stock{opts: opts, sysRoot: sysRoot, gens: newGenCache(lruGen), proofs: newProofs(procs, cgroups.MayHaveDying, opts.Log)}
}

// Info implements Source.
func (s *Stock) Info() heat.SourceInfo {
	return heat.SourceInfo{Name: "stock", Granularity: "page"}
}

// Start implements Source.
func (s *Stock) Start(sink Sink) (err error) {
	s.bpf, err = bpf.OpenStock(s.opts, func(records []heat.Record) { sink(s.harvested(records)) })
	return err
}

// harvested learns from records, and returns those that are to be passed on: not
// the word that a walk of one memcg came to the end of a process whose pass is
// another's. The process has moved since its pass listed it, and that walk passed
// over the pages that it brought along.
func (s *Stock) harvested(records []heat.Record) []heat.Record {
	inode, n := s.aging.Load(), 0
	s.proofs.take(records, inode)
	for i := range records {
		if r := &records[i]; r.Kind == heat.KindWalk {
			if p := s.proofs.of(r.TGID); p == nil || p.inode != inode {
				continue
			}
		}
		if n != i {
			records[n] = records[i]
		}
		n++
	}
	return records[:n]
}

// Watch implements Source.
func (s *Stock) Watch(add, remove []int) ([]int, error) {
	s.proofs.forget(remove)
	return s.bpf.Watch(add, remove)
}

// MemoryBytes implements Source.
func (s *Stock) MemoryBytes() uint64 {
	if s.bpf == nil {
		return 0
	}
	return s.bpf.MemoryBytes()
}

// OtherWalkers implements Source. The harvest sees what they clear.
func (s *Stock) OtherWalkers() []heat.Walker { return walkers(s.sysRoot, heat.UnobservedNone) }

// Close implements Source.
func (s *Stock) Close() error {
	if s.bpf == nil {
		return nil
	}
	return s.bpf.Close()
}

// Age implements Source.
func (s *Stock) Age(ctx context.Context, req Request) (Outcome, error) {
	nodes, err := pageNodes(s.sysRoot)
	if err != nil {
		return Outcome{}, failure(err)
	}
	out := Outcome{Nodes: nodes}
	if err := bpf.StockEnabled(); err != nil {
		return out, &Failure{Reason: ReasonDisabled, Err: err}
	}
	s.proofs.begin(req)
	tgids := make([]int, len(req.Processes))
	for i := range req.Processes {
		tgids[i] = req.Processes[i].TGID
	}
	pass, err := s.bpf.Age(ctx, func(walked func() uint64) error {
		s.aging.Store(req.Inode)
		return s.age(ctx, req, nodes, walked)
	}, tgids)
	out.Lost, out.LostBy, out.CPU = pass.Lost, pass.LostBy, pass.CPU
	if derr := s.bpf.Deliver(ctx, s.proofs.end(ctx, req)); derr != nil {
		err = errors.Join(err, derr)
	}
	if err == nil {
		return out, nil
	}
	if f := (*Failure)(nil); errors.As(err, &f) {
		return out, err
	}
	return out, failure(err)
}

// age ages each node of the mask in turn.
func (s *Stock) age(ctx context.Context, req Request, nodes uint64, walked func() uint64) (err error) {
	leave, err := enterInitialCgroups("/proc")
	if err != nil {
		return &Failure{Reason: ReasonKernel, Err: err}
	}
	defer func() { err = errors.Join(err, leave()) }()
	w, err := openWriter(s.gens.file)
	if err != nil {
		return &Failure{Reason: ReasonKernel, Err: err}
	}
	defer w.close()
	for left := nodes; left != 0; left &= left - 1 {
		if err := s.ageNode(ctx, w, req, bits.TrailingZeros64(left), walked); err != nil {
			return err
		}
	}
	return nil
}

// ageNode makes a new generation on one node. To read where the generations
// are costs more than to make one where there are many memcgs; so it writes what
// must come next if nobody else has aged the memcg, and looks only if no process
// was walked: with a number that is out of date the kernel does nothing, without
// a word (run_aging() in mm/vmscan.c).
func (s *Stock) ageNode(ctx context.Context, w *writer, req Request, node int, walked func() uint64) error {
	swappiness := 0 // leaves out what could only be swapped
	if req.CanSwap {
		swappiness = 200
	}
	g, fresh, err := s.gens.lookup(req.Path, req.Inode)
	again := false
	for try := 1; ; try++ {
		if err != nil {
			return err
		}
		seq, ok := g.seqs[node]
		if !ok && fresh && again {
			return &Failure{Reason: ReasonKernel, Err: fmt.Errorf("%s does not list node %d of %s", s.gens.file, node, name.Escape(req.Path))}
		}
		if !ok { // the node has come since, or the memcg went while the file was read
			fresh, again = true, true
			g, err = s.gens.read(req.Path, req.Inode)
			continue
		}
		before := walked()
		werr := w.write(fmt.Sprintf("+ %d %d %d %d 1", g.id, node, seq, swappiness))
		if werr == nil && walked() > before {
			s.gens.aged(req.Path, node)
			return nil
		}
		if werr != nil && !errors.Is(werr, unix.EINVAL) && !errors.Is(werr, unix.EEXIST) && !errors.Is(werr, unix.EINTR) {
			return failure(werr)
		}
		was := seq
		if g, err = s.gens.read(req.Path, req.Inode); err != nil {
			return err
		}
		if werr == nil && fresh && g.seqs[node] > was {
			return nil // it has aged, and has no process to be walked
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if try == passTries {
			reason := ReasonRaced
			if errors.Is(werr, unix.EINVAL) {
				reason = ReasonGone // it is removed, but listed as long as it has pages
			}
			return &Failure{Reason: reason, Err: errors.Join(fmt.Errorf("node %d of %s: generation %d stays the youngest", node, name.Escape(req.Path), was), werr)}
		}
		fresh = true
	}
}

// A writer writes commands to lru_gen. It goes around package os, whose poller
// has no use for it.
type writer struct{ fd int }

func openWriter(path string) (*writer, error) {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return &writer{fd}, nil
}

func (w *writer) write(command string) error {
	_, err := unix.Write(w.fd, []byte(command))
	return err
}

func (w *writer) close() { unix.Close(w.fd) }
