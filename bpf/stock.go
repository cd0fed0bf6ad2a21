package bpf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strconv"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"mglru_exporter/internal/heat"
)

// Functions of the kernel that Stock attaches to, and which it cannot do
// without.
var (
	stockFuncs = map[string]string{
		stockProgOnWalk:   "walk_page_range",
		stockProgOnWalked: "walk_page_range",
		stockProgOnPte:    "ptep_test_and_clear_young",
		stockProgOnPmd:    "pmdp_test_and_clear_young",
	}
	stockOptional = map[string]string{
		stockProgOnPteFlush: "ptep_clear_flush_young",
		stockProgOnPmdFlush: "pmdp_clear_flush_young",
	}
)

// stockReasons are as in enum reason of stock.bpf.c.
var stockReasons = map[uint32]string{1: "vma", 2: "notifier"}

// StockOptions say how to open Stock. The zero value is for production.
type StockOptions struct {
	// RingBytes is as in HooksOptions.
	RingBytes uint32
	// Log gets what goes wrong in the background; nil discards it.
	Log *slog.Logger
}

// Stock harvests accessed bits on an x86-64 kernel without our patches, whoever
// clears them. That a pass has walked a process shows as heat.KindWalk once the
// walk has come to its end; mappings that walks leave out show as heat.KindSkip.
type Stock struct {
	harvest
}

// OpenStock loads and attaches the programs. From then on sink is called, from
// one goroutine, with what is found young in watched processes; it must not
// keep the slice.
func OpenStock(opts StockOptions, sink func([]heat.Record)) (*Stock, error) {
	s := &Stock{harvest: newHarvest(opts.Log, sink)}
	s.reasons = stockReasons
	if err := s.open(opts); err != nil {
		_ = s.release() // the error at hand says more
		return nil, err
	}
	go s.read()
	return s, nil
}

func (s *Stock) open(opts StockOptions) error {
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return fmt.Errorf("read the kernel's BTF: %w", err)
	}
	spec, err := loadStock()
	if err != nil {
		return err
	}
	var programs []string
	for program := range stockFuncs {
		programs = append(programs, program)
	}
	for program, name := range stockOptional {
		if hasFunc(kernel, name) {
			programs = append(programs, program)
		}
	}
	return s.load(spec, opts.RingBytes, programs)
}

// Age calls age, which is to have the kernel age a memcg on this very thread, and
// lists the mappings of the given processes that the walk has left out. Age may
// ask how many processes have been walked from end to end by now. When Age
// returns, the sink has had all records of the pass. Processes whose mappings
// could not be listed are in LostBy.
func (s *Stock) Age(ctx context.Context, age func(walked func() uint64) error, tgids []int) (Pass, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := threadCPU()
	if err := s.run(stockProgBegin, stockBeginArgs{}); err != nil {
		return Pass{}, err
	}
	ageErr := age(s.walked)
	var blind []int
	for _, tgid := range tgids {
		if err := s.list(tgid); err != nil {
			s.log.Debug("Listing mappings", "pid", tgid, "err", err)
			blind = append(blind, tgid)
		}
	}
	pass := Pass{CPU: threadCPU() - before}
	if err := s.finish(ctx); err != nil {
		return pass, errors.Join(ageErr, err)
	}
	var err error
	pass.Lost, pass.LostBy, err = s.newlyLost()
	if pass.Lost == 0 || len(pass.LostBy) > 0 { // else all have lost
		pass.LostBy = append(pass.LostBy, blind...)
	}
	return pass, errors.Join(ageErr, err)
}

func (s *Stock) walked() uint64 {
	var n uint64
	if err := s.coll.Variables[stockVarWalked].Get(&n); err != nil {
		return 0
	}
	return n
}

// errNoMapping says that a process has no mapping, or none that could be seen.
var errNoMapping = errors.New("no mapping was seen")

// list has the kernel emit a record for each mapping of a process that the walk
// leaves out.
func (s *Stock) list(tgid int) error {
	n, err := s.listThread(tgid)
	if err != nil || n > 0 {
		return err
	}
	// A leader that has exited has no memory, but its process may have. An
	// iterator over all threads of a process leaves out all but the leader where
	// they share their files (task_group_seq_get_next() in kernel/bpf/task_iter.c).
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", tgid))
	if err != nil {
		return err
	}
	for _, t := range threads {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			return err
		}
		if n, err := s.listThread(tid); err == nil && n > 0 {
			return nil
		}
	}
	return errNoMapping
}

// listThread is list for the memory of one thread, and returns how many mappings
// it has in all.
func (s *Stock) listThread(tid int) (mappings uint64, err error) {
	if err := s.coll.Variables[stockVarMappings].Set(uint64(0)); err != nil {
		return 0, err
	}
	if err := iterate(s.coll.Programs[stockProgListVma], iterTask{tid: uint32(tid)}); err != nil {
		return 0, err
	}
	err = s.coll.Variables[stockVarMappings].Get(&mappings)
	return mappings, err
}

// iterTask is the task part of union bpf_iter_link_info; we ask for a thread.
type iterTask struct{ tid, pid, pidFD uint32 }

// iterate runs an iterator over the given tasks.
func iterate(p *ebpf.Program, which iterTask) error {
	link, err := bpf(unix.BPF_LINK_CREATE, &struct {
		prog, target, attachType, flags uint32
		info                            unsafe.Pointer
		infoLen, _                      uint32
	}{prog: uint32(p.FD()), attachType: uint32(ebpf.AttachTraceIter), info: unsafe.Pointer(&which), infoLen: uint32(unsafe.Sizeof(which))})
	runtime.KeepAlive(p)
	runtime.KeepAlive(&which)
	if err != nil {
		return fmt.Errorf("link the iterator: %w", err)
	}
	defer link.Close()
	it, err := bpf(unix.BPF_ITER_CREATE, &struct{ link, flags uint32 }{link: uint32(link.Fd())})
	if err != nil {
		return fmt.Errorf("make the iterator: %w", err)
	}
	defer it.Close()
	if _, err := io.Copy(io.Discard, it); err != nil {
		return fmt.Errorf("run the iterator: %w", err)
	}
	return nil
}

// bpf is the system call, for commands that return a file.
func bpf[T any](cmd uintptr, attr *T) (*os.File, error) {
	fd, _, errno := unix.Syscall(unix.SYS_BPF, cmd, uintptr(unsafe.Pointer(attr)), unsafe.Sizeof(*attr))
	runtime.KeepAlive(attr)
	if errno != 0 {
		return nil, errno
	}
	return os.NewFile(fd, "bpf"), nil
}

// Close detaches everything and waits for the reader; the sink is not called
// after it returns.
func (s *Stock) Close() error { return s.close() }
