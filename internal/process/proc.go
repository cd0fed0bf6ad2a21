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

// Residency is Reader.Read.
func (p *Proc) Residency(ctx context.Context, pid int, res *heat.Residency) error {
	r := p.readers.Get().(*Reader)
	defer p.readers.Put(r)
	return r.Read(ctx, pid, res)
}
