package bpf

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"

	"github.com/cilium/ebpf/btf"

	"mglru_exporter/internal/heat"
)

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
type Hooks struct {
	harvest
	perPage bool
	// seesDAMON is set if programs watch which accessed bits DAMON clears.
	seesDAMON bool
	bit       uint64 // of EnabledPath, that the probes in use are behind
	probes    probes
}

// OpenHooks loads and attaches the programs. From then on sink is called, from
// one goroutine, with what any walk finds in watched processes; it must not
// keep the slice.
func OpenHooks(opts HooksOptions, sink func([]heat.Record)) (*Hooks, error) {
	h := &Hooks{harvest: newHarvest(opts.Log, sink)}
	if err := h.open(opts); err != nil {
		_ = h.release() // the error at hand says more
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
	if h.seesDAMON = seesDAMON(kernel, runtime.GOARCH) == nil; h.seesDAMON {
		for program := range damonFuncs {
			programs = append(programs, program)
		}
	}
	// Absent without CONFIG_PROC_PAGE_MONITOR and CONFIG_IDLE_PAGE_TRACKING; newer
	// kernels have more than one enabled_store.
	for _, name := range []string{
		hooksProgOnClearBegin, hooksProgOnClearEnd,
		hooksProgBeginPageIdleBitmapRead, hooksProgEndPageIdleBitmapRead,
		hooksProgBeginPageIdleBitmapWrite, hooksProgEndPageIdleBitmapWrite,
		hooksProgBeginStoreEnabled, hooksProgEndStoreEnabled,
	} {
		if hasFunc(kernel, spec.Programs[name].AttachTo) {
			programs = append(programs, name)
		}
	}
	if err := h.load(spec, opts.RingBytes, programs); err != nil {
		return err
	}
	h.probes = findProbes(kernel)
	return enable(h.bit)
}

// PerPage tells whether the per-page hooks are in use.
func (h *Hooks) PerPage() bool { return h.perPage }

// SeesDAMON reports whether the pages that DAMON finds accessed are reported.
func (h *Hooks) SeesDAMON() bool { return h.seesDAMON }

// Age ages a memcg, given by the kernel's id for it (see memcg.ParseLRUGen), on
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
	ageErr = errors.Join(ageErr, probesErr)
	pass := Pass{CPU: threadCPU() - before}
	if err := h.finish(ctx); err != nil {
		return pass, errors.Join(ageErr, err)
	}
	var err error
	pass.Lost, pass.LostBy, err = h.newlyLost()
	return pass, errors.Join(ageErr, err)
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

// Uses count how often something has begun, and has ended, to take accessed bits
// away from the hooks, of any process, since the programs were attached. Where they
// differ it may be at it, or one end was missed.
type Uses struct {
	Begun, Ended uint64
}

// Unseen returns the uses of all whose doing the hooks see but not to whom, by the
// reason of the skips that it is to be taken for. It is the same ones each time.
func (h *Hooks) Unseen() (map[string]Uses, error) {
	all := map[string]Uses{}
	for reason, name := range map[string]string{
		SkipPageIdle: hooksVarPageIdle, SkipSwitched: hooksVarSwitching,
	} {
		var u hooksUses
		if err := h.coll.Variables[name].Get(&u); err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		all[reason] = Uses{Begun: u.Begun, Ended: u.Ended}
	}
	return all, nil
}

// Close detaches everything, switches off the probes that nobody uses any more,
// and waits for the reader; the sink is not called after it returns.
func (h *Hooks) Close() error {
	err := h.close()
	if err := h.probes.disable(); err != nil { // a switch left on is mere cost
		h.log.Debug("Leaving the probes switched on", "err", err)
	}
	return err
}
