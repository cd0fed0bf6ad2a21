package bpf

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
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

// Names in harvest.h, which all our objects share.
const (
	mapRing      = "ring"
	mapWatched   = "watched"
	varWakeBytes = "wake_bytes"
	varLost      = "lost"
	progFinish   = "finish"
)

type watch struct{ Lost uint64 }

type finishArgs struct{ Cookie uint64 }

// A harvest is the programs of one source and the reader of their records. The
// kernel side is owned by this process: when it dies, however it dies, nothing
// stays attached.
type harvest struct {
	log     *slog.Logger
	coll    *ebpf.Collection
	links   []link.Link
	reader  ring
	sink    func([]heat.Record)
	reasons map[uint32]string
	done    chan struct{}
	marks   chan uint64
	// deliveries are records for the sink that do not come from the ring.
	deliveries chan delivery
	mu         sync.Mutex // serialises Age: there is one aging thread
	cookie     uint64
	lostSum    uint64
	missed     map[string]uint64 // calls, by program, up to the last pass
	// undecodable is how many records since the last pass made no sense.
	undecodable atomic.Uint64

	lostMu   sync.Mutex // guards lostSeen, for which Watch must not wait until Age is done
	lostSeen map[uint32]uint64
}

// A ring is a *ringbuf.Reader, or a test's.
type ring interface {
	ReadInto(*ringbuf.Record) error
	Flush() error
	Close() error
}

// A delivery is done once the sink has had the records.
type delivery struct {
	records []heat.Record
	done    chan struct{}
}

func newHarvest(log *slog.Logger, sink func([]heat.Record)) harvest {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return harvest{log: log, sink: sink, done: make(chan struct{}), marks: make(chan uint64, 1), deliveries: make(chan delivery, 1), lostSeen: map[uint32]uint64{}, missed: map[string]uint64{}}
}

// load loads the object and attaches the given tracing programs, leaving out
// its others.
func (h *harvest) load(spec *ebpf.CollectionSpec, ringBytes uint32, programs []string) (err error) {
	for name, p := range spec.Programs {
		if p.Type == ebpf.Tracing && p.AttachType != ebpf.AttachTraceIter && !slices.Contains(programs, name) {
			delete(spec.Programs, name)
		}
	}
	if ringBytes == 0 {
		ringBytes = DefaultRingBytes
	}
	spec.Maps[mapRing].MaxEntries = ringBytes
	if err := spec.Variables[varWakeBytes].Set(uint64(ringBytes / 8)); err != nil {
		return fmt.Errorf("set %s: %w", varWakeBytes, err)
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
	reader, err := ringbuf.NewReader(h.coll.Maps[mapRing])
	if err != nil {
		return fmt.Errorf("open the ring buffer: %w", err)
	}
	h.reader = reader
	return nil
}

// hasFunc tells whether a function, which fentry can attach to, is in the
// kernel.
func hasFunc(kernel *btf.Spec, name string) bool {
	var f *btf.Func
	return kernel.TypeByName(name, &f) == nil
}

// Watch adds and removes processes, by tgid, whose records are wanted. It
// returns those that could not be added because the map is full, if any.
func (h *harvest) Watch(add, remove []int) (refused []int, err error) {
	m := h.coll.Maps[mapWatched]
	for _, tgid := range remove {
		key := uint32(tgid)
		if err := m.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil, fmt.Errorf("forget process %d: %w", tgid, err)
		}
		h.lostMu.Lock()
		delete(h.lostSeen, key)
		h.lostMu.Unlock()
	}
	for _, tgid := range add {
		err := m.Update(uint32(tgid), watch{}, ebpf.UpdateNoExist)
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
	// Lost is how many records were lost since the pass before, and LostBy whose
	// they were, by tgid, if that is known of all: they found the ring full, were
	// never made because a call was missed, or made no sense.
	Lost   uint64
	LostBy []int
	// CPU is the CPU time of the aging thread.
	CPU time.Duration
}

func (h *harvest) run(name string, args any) error {
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
func (h *harvest) finish(ctx context.Context) error {
	h.cookie++
	for {
		err := h.run(progFinish, finishArgs{h.cookie})
		if err == nil {
			break
		}
		if !errors.Is(err, unix.ENOSPC) {
			return err
		}
		// The ring is full. The reader was not told, for want of a record.
		if err := h.reader.Flush(); err != nil {
			return fmt.Errorf("wake the reader: %w", err)
		}
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

// newlyLost asks how many records were lost since the last call, and whose they
// were, if that is known of all.
func (h *harvest) newlyLost() (n uint64, by []int, err error) {
	n, by, err = h.newlyDropped()
	unknown, unknownErr := h.newlyUnknown()
	if unknown > 0 {
		n, by = n+unknown, nil
	}
	return n, by, errors.Join(err, unknownErr)
}

// newlyUnknown returns how much was lost since the last call of which nobody knows
// whose it was.
func (h *harvest) newlyUnknown() (n uint64, err error) {
	n, err = newlyMissed(h.missed, h.coll.Programs)
	return n + h.undecodable.Swap(0), err
}

// newlyMissed returns how many calls, above those seen before, the kernel did not
// show us, because the program was running already on that CPU. It can be where a
// program may be interrupted by another thread: on a kernel that preempts itself,
// if no page-table lock is held, or with PREEMPT_RT. Whose the call was about is
// not known. On an error it has counted those programs that it could ask, and the
// next call finds what the others missed.
func newlyMissed[P interface {
	Stats() (*ebpf.ProgramStats, error)
}](seen map[string]uint64, programs map[string]P) (n uint64, err error) {
	var errs []error
	for name, p := range programs {
		st, err := p.Stats()
		if err != nil {
			errs = append(errs, fmt.Errorf("read missed calls of %s: %w", name, err))
			continue
		}
		if st.RecursionMisses > seen[name] {
			n += st.RecursionMisses - seen[name]
		}
		seen[name] = st.RecursionMisses
	}
	return n, errors.Join(errs...)
}

// newlyDropped asks whose records found the ring full since the last call. The sum
// is read first: what is dropped later is found the next time.
func (h *harvest) newlyDropped() (n uint64, by []int, err error) {
	var sum uint64
	if err := h.coll.Variables[varLost].Get(&sum); err != nil {
		return 0, nil, fmt.Errorf("read %s: %w", varLost, err)
	}
	n = sum - h.lostSum
	if n == 0 {
		return 0, nil, nil
	}
	h.lostSum = sum
	h.lostMu.Lock()
	defer h.lostMu.Unlock()
	var key uint32
	var w watch
	it := h.coll.Maps[mapWatched].Iterate()
	for it.Next(&key, &w) {
		if w.Lost != h.lostSeen[key] {
			h.lostSeen[key] = w.Lost
			by = append(by, int(key))
		}
	}
	if err := it.Err(); err != nil {
		return n, nil, fmt.Errorf("read lost records: %w", err)
	}
	return n, by, nil
}

// read hands records to the sink until the reader is closed.
func (h *harvest) read() {
	defer close(h.done)
	var raw ringbuf.Record
	batch := make([]heat.Record, batchRecords)
	n := 0
	for {
		err := h.reader.ReadInto(&raw)
		if errors.Is(err, ringbuf.ErrFlushed) {
			for len(h.deliveries) > 0 {
				d := <-h.deliveries
				h.sink(d.records)
				close(d.done)
			}
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
			h.undecodable.Add(1)
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

// Deliver hands records to the sink on the goroutine that calls it for all
// others, and returns when the sink has had them.
func (h *harvest) Deliver(ctx context.Context, records []heat.Record) error {
	if len(records) == 0 {
		return nil
	}
	d := delivery{records, make(chan struct{})}
	select {
	case h.deliveries <- d:
	case <-ctx.Done():
		return ctx.Err()
	case <-h.done:
		return os.ErrClosed
	}
	if err := h.reader.Flush(); err != nil {
		return fmt.Errorf("wake the reader: %w", err)
	}
	select {
	case <-d.done:
		return nil
	case <-h.done:
		return os.ErrClosed
	}
}

// MemoryBytes returns the memory that the maps and programs hold in the kernel.
func (h *harvest) MemoryBytes() uint64 {
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

// close detaches everything and waits for the reader; the sink is not called
// after it returns.
func (h *harvest) close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	err := h.release()
	<-h.done
	return err
}

func (h *harvest) release() error {
	var errs []error
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
