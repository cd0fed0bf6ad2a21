package process

import (
	"context"
	"sync"

	"mglru_exporter/internal/heat"
)

// Proc is FS and a pool of Readers: it is safe for concurrent use.
type Proc struct {
	FS
	readers sync.Pool
}

// NewProc reads where nodes are, below procRoot and sysRoot ("/proc", "/sys").
func NewProc(procRoot, sysRoot string) (*Proc, error) {
	nodes, err := LoadNodeMap(procRoot, sysRoot)
	if err != nil {
		return nil, err
	}
	fs := NewFS(procRoot)
	return &Proc{FS: fs, readers: sync.Pool{New: func() any { return NewReader(fs, sysRoot, nodes) }}}, nil
}

// Through makes reads go through a Guard that others use too, and returns the Proc.
func (p *Proc) Through(g *Guard) *Proc {
	p.FS = p.FS.With(g)
	return p
}

// Residency is Reader.Read through the Guard. After ErrBlocked, or the error of a
// context, res must not be used any more: the read may still be under way.
func (p *Proc) Residency(ctx context.Context, pid int, res *heat.Residency) error {
	r := p.readers.Get().(*Reader)
	running, err := p.guard.Run(ctx, pid, &r.progress, func() error { return r.Read(ctx, pid, res) })
	if !running {
		p.readers.Put(r)
	}
	return err
}
