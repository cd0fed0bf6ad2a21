package bpf

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"mglru_exporter/internal/heat"
)

// DefaultRingBytes is the size of the ring buffer: some 100,000 region records,
// the young pages of about 200 GiB, wait for the reader before one is lost.
const DefaultRingBytes = 16 << 20

// batchRecords is how many records the sink gets at most in one call.
const batchRecords = 256

// HooksOptions say how to open Hooks. The zero value is for production.
type HooksOptions struct {
	// RingBytes is the size of the ring buffer, a power of two and a multiple
	// of the page size; 0 is DefaultRingBytes.
	RingBytes uint32
	// PerPage uses the per-page hooks even where the region probe exists.
	PerPage bool
	// Log gets what goes wrong in the background; nil discards it.
	Log *slog.Logger
}

// Hooks ages memcgs and harvests accessed bits on a kernel with our patches.
// The kernel side is owned by this process: when it dies, however it dies,
// nothing stays attached.
type Hooks struct {
	log      *slog.Logger
	coll     *ebpf.Collection
	links    []link.Link
	reader   *ringbuf.Reader
	sink     func([]heat.Record)
	bit      uint64 // of EnabledPath, that the probes in use are behind
	restore  func()
	done     chan struct{}
	marks    chan uint64
	perPage  bool
	reasons  map[uint32]string
	mu       sync.Mutex // serialises Age: there is one aging thread
	cookie   uint64
	lostSeen map[uint32]uint64
	lostSum  uint64
}

// OpenHooks loads and attaches the programs. From then on sink is called, from
// one goroutine, with what any walk finds in watched processes; it must not
// keep the slice.
func OpenHooks(opts HooksOptions, sink func([]heat.Record)) (*Hooks, error) {
	h := &Hooks{
		log:      opts.Log,
		sink:     sink,
		done:     make(chan struct{}),
		marks:    make(chan uint64, 1),
		lostSeen: map[uint32]uint64{},
	}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	if err := h.open(opts); err != nil {
		h.release()
		return nil, err
	}
	go h.read()
	return h, nil
}

func (h *Hooks) open(opts HooksOptions) error {
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return fmt.Errorf("read the kernel's BTF: %w", err)
	}
	if h.reasons, err = skipReasons(kernel); err != nil {
		return fmt.Errorf("read enum mglru_skip_reason of the kernel: %w", err)
	}
	spec, err := loadHooks()
	if err != nil {
		return err
	}
	programs := []string{hooksProgOnMm, hooksProgOnSkip}
	h.bit = EnabledRegionProbe
	if h.perPage = opts.PerPage || !hasFunc(kernel, "mglru_region_probe"); h.perPage {
		programs = append(programs, hooksProgOnPte, hooksProgOnPmd)
		h.bit = EnabledPageProbes
	} else {
		programs = append(programs, hooksProgOnRegion)
	}
	for name, p := range spec.Programs {
		if p.Type == ebpf.Tracing && !slices.Contains(programs, name) {
			delete(spec.Programs, name)
		}
	}
	size := opts.RingBytes
	if size == 0 {
		size = DefaultRingBytes
	}
	spec.Maps[hooksMapRing].MaxEntries = size
	if err := spec.Variables[hooksVarWakeBytes].Set(uint64(size / 8)); err != nil {
		return fmt.Errorf("set %s: %w", hooksVarWakeBytes, err)
	}
	if h.coll, err = ebpf.NewCollection(spec); err != nil {
		return fmt.Errorf("load the BPF programs: %w", err)
	}
	for _, name := range programs {
		l, err := link.AttachTracing(link.TracingOptions{Program: h.coll.Programs[name]})
		if err != nil {
			return fmt.Errorf("attach %s: %w", name, err)
		}
		h.links = append(h.links, l)
	}
	if h.reader, err = ringbuf.NewReader(h.coll.Maps[hooksMapRing]); err != nil {
		return fmt.Errorf("open the ring buffer: %w", err)
	}
	h.restore, err = enable(h.bit)
	return err
}

// hasFunc tells whether a function, which fentry can attach to, is in the
// kernel.
func hasFunc(kernel *btf.Spec, name string) bool {
	var f *btf.Func
	return kernel.TypeByName(name, &f) == nil
}

// PerPage tells whether the per-page hooks are in use.
func (h *Hooks) PerPage() bool { return h.perPage }

// Watch adds and removes processes, by tgid, whose records are wanted. It
// returns those that could not be added because the map is full, if any.
func (h *Hooks) Watch(add, remove []int) (refused []int, err error) {
	m := h.coll.Maps[hooksMapWatched]
	for _, tgid := range remove {
		key := uint32(tgid)
		if err := m.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil, fmt.Errorf("forget process %d: %w", tgid, err)
		}
		h.mu.Lock()
		delete(h.lostSeen, key)
		h.mu.Unlock()
	}
	for _, tgid := range add {
		err := m.Update(uint32(tgid), hooksWatch{}, ebpf.UpdateNoExist)
		switch {
		case err == nil, errors.Is(err, ebpf.ErrKeyExist):
		case errors.Is(err, unix.E2BIG), errors.Is(err, unix.ENOMEM):
			refused = append(refused, tgid)
		default:
			return refused, fmt.Errorf("watch process %d: %w", tgid, err)
		}
	}
	return refused, nil
}

// A Pass is what one call of Age did.
type Pass struct {
	// Lost is how many records found the ring full since the pass before, and
	// LostBy whose they were, by tgid.
	Lost   uint64
	LostBy []int
	// CPU is the CPU time of the aging thread.
	CPU time.Duration
}

// Age ages a memcg, given by the kernel's id for it (see memcg.LookupID), on
// every node that has memory. When it returns, the sink has had all records of
// the pass. The error is a unix.Errno as bpf_run_aging() documents it, or that
// of a syscall; what was harvested before it has been delivered.
func (h *Hooks) Age(ctx context.Context, memcgID int, canSwap, onlyWatched bool) (Pass, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var restrict uint32
	if onlyWatched {
		restrict = 1
	}
	if err := h.coll.Variables[hooksVarOnlyWatched].Set(restrict); err != nil {
		return Pass{}, fmt.Errorf("set %s: %w", hooksVarOnlyWatched, err)
	}
	before := threadCPU()
	args := hooksAgeArgs{MemcgId: int32(memcgID)}
	if canSwap {
		args.CanSwap = 1
	}
	probesErr := h.probesOn()
	ageErr := h.run(hooksProgAge, args)
	if probesErr == nil {
		probesErr = h.probesOn()
	}
	if ageErr == nil {
		ageErr = probesErr
	}
	pass := Pass{CPU: threadCPU() - before}
	if err := h.finish(ctx); err != nil {
		return pass, errors.Join(ageErr, err)
	}
	var err error
	pass.Lost, pass.LostBy, err = h.newlyLost()
	return pass, errors.Join(ageErr, err)
}

func (h *Hooks) run(name string, args any) error {
	ret, err := h.coll.Programs[name].Run(&ebpf.RunOptions{Context: args})
	if err != nil {
		return fmt.Errorf("run %s: %w", name, err)
	}
	if ret := int32(ret); ret < 0 {
		return unix.Errno(-ret)
	}
	return nil
}

// finish flushes what the kernel side holds and waits until the sink has had it.
func (h *Hooks) finish(ctx context.Context) error {
	h.cookie++
	for {
		err := h.run(hooksProgFinish, hooksFinishArgs{Cookie: h.cookie})
		if err == nil {
			break
		}
		if !errors.Is(err, unix.ENOSPC) {
			return err
		}
		// The ring is full. The reader was not told, for want of a record.
		h.reader.Flush()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-h.done:
			return os.ErrClosed
		case <-time.After(time.Millisecond):
		}
	}
	for {
		select {
		case c := <-h.marks:
			if c == h.cookie {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		case <-h.done:
			return os.ErrClosed
		}
	}
}

// ErrProbesOff is returned by Age if somebody has switched our probes off, as
// writing "y" to EnabledPath does. They are on again by then, but what was
// accessed meanwhile was not seen.
var ErrProbesOff = errors.New("the probes were switched off in " + EnabledPath)

// probesOn sees to it that the probes are on, and tells if they were not. With
// MGLRU off altogether it leaves that to the aging to tell.
func (h *Hooks) probesOn() error {
	now, err := Enabled()
	if err != nil || now&EnabledCore == 0 || now&h.bit != 0 {
		return err
	}
	if err := writeEnabled(now | h.bit); err != nil {
		return errors.Join(ErrProbesOff, err)
	}
	return ErrProbesOff
}

// newlyLost asks whose records were lost since the last call. The sum is read
// first: what is lost later is found the next time.
func (h *Hooks) newlyLost() (n uint64, by []int, err error) {
	var sum uint64
	if err := h.coll.Variables[hooksVarLost].Get(&sum); err != nil {
		return 0, nil, fmt.Errorf("read %s: %w", hooksVarLost, err)
	}
	n = sum - h.lostSum
	if n == 0 {
		return 0, nil, nil
	}
	h.lostSum = sum
	var key uint32
	var w hooksWatch
	it := h.coll.Maps[hooksMapWatched].Iterate()
	for it.Next(&key, &w) {
		if w.Lost != h.lostSeen[key] {
			h.lostSeen[key] = w.Lost
			by = append(by, int(key))
		}
	}
	if err := it.Err(); err != nil {
		return n, by, fmt.Errorf("read lost records: %w", err)
	}
	return n, by, nil
}

// read hands records to the sink until the reader is closed.
func (h *Hooks) read() {
	defer close(h.done)
	var raw ringbuf.Record
	batch := make([]heat.Record, batchRecords)
	n := 0
	for {
		err := h.reader.ReadInto(&raw)
		if errors.Is(err, ringbuf.ErrFlushed) {
			continue
		}
		if err != nil {
			if !errors.Is(err, ringbuf.ErrClosed) {
				h.log.Error("Reading the ring buffer ended", "err", err)
			}
			return
		}
		cookie, err := decode(raw.RawSample, h.reasons, &batch[n])
		if err != nil {
			h.log.Error("Undecodable harvest record", "err", err)
			continue
		}
		if batch[n].Kind != 0 {
			n++
		}
		if n > 0 && (n == len(batch) || raw.Remaining == 0 || cookie != 0) {
			h.sink(batch[:n])
			n = 0
		}
		if cookie != 0 {
			select {
			case h.marks <- cookie:
			default: // nobody waits for it any more
				select {
				case <-h.marks:
				default:
				}
				h.marks <- cookie
			}
		}
	}
}

// MemoryBytes returns the memory that the maps and programs hold in the kernel.
func (h *Hooks) MemoryBytes() uint64 {
	var sum uint64
	for _, m := range h.coll.Maps {
		if info, err := m.Info(); err == nil {
			if n, ok := info.Memlock(); ok {
				sum += n
			}
		}
	}
	for _, p := range h.coll.Programs {
		if info, err := p.Info(); err == nil {
			if n, ok := info.Memlock(); ok {
				sum += n
			}
		}
	}
	return sum
}

// Close detaches everything and waits for the reader; the sink is not called
// after it returns.
func (h *Hooks) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	err := h.release()
	<-h.done
	return err
}

func (h *Hooks) release() error {
	var errs []error
	if h.restore != nil {
		h.restore()
	}
	for _, l := range h.links {
		errs = append(errs, l.Close())
	}
	if h.reader != nil {
		errs = append(errs, h.reader.Close())
	}
	if h.coll != nil {
		h.coll.Close()
	}
	return errors.Join(errs...)
}

// threadCPU returns the CPU time of the calling thread.
func threadCPU() time.Duration {
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &ru); err != nil {
		return 0
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}
