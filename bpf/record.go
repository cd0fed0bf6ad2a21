package bpf

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/cilium/ebpf/btf"

	"mglru_exporter/internal/heat"
)

// Kinds of ring records, as in enum kind of hooks.bpf.c.
const (
	kindRegion = 1
	kindPage   = 2
	kindSkip   = 3
	kindWalk   = 4
	kindMark   = 5
	kindClear  = 6

	infoOther = 1
	infoAnon  = 2

	headerSize = 32
	regionSize = headerSize + 16*8
)

// SkipReasons are the reasons that a KindSkip record of the hooks can have on a
// kernel with the patches that this exporter was released with.
func SkipReasons() []string {
	return []string{
		"none", "foreign", "no_swap", "migrating", "not_lru", "pte_lock", "pmd_lock", "split", "heuristics",
		"vma", "notifier", "mm_small", "mm_exiting", "mmap_lock", "memcg_lock", "aborted", skipClearRefs, SkipPageIdle, SkipSwitched,
	}
}

// skipClearRefs is the reason where somebody wrote to /proc/PID/clear_refs.
const skipClearRefs = "clear_refs"

// Reasons where accessed bits of any process may have been taken away.
const (
	SkipPageIdle = "page_idle" // somebody used page_idle/bitmap
	SkipSwitched = "switched"  // somebody wrote to EnabledPath: the probes may have been off
)

// skipReasons reads the names of enum mglru_skip_reason from the kernel, whose
// numbers are its own.
func skipReasons(kernel *btf.Spec) (map[uint32]string, error) {
	var e *btf.Enum
	if err := kernel.TypeByName("mglru_skip_reason", &e); err != nil {
		return nil, err
	}
	names := make(map[uint32]string, len(e.Values))
	for _, v := range e.Values {
		names[uint32(v.Value)] = strings.ToLower(strings.TrimPrefix(v.Name, "MGLRU_SKIP_"))
	}
	return names, nil
}

// decode fills r from a ring sample. A mark sets no kind and returns its cookie.
func decode(b []byte, reasons map[uint32]string, r *heat.Record) (cookie uint64, err error) {
	if len(b) < headerSize {
		return 0, fmt.Errorf("ring record of %d bytes", len(b))
	}
	le := binary.LittleEndian
	kind, info := le.Uint32(b), le.Uint32(b[12:])
	r.TGID = int(int32(le.Uint32(b[4:])))
	r.Node = int(int32(le.Uint32(b[8:])))
	r.Start = le.Uint64(b[16:])
	r.End = le.Uint64(b[24:])
	r.Other, r.Reason = false, ""
	switch kind {
	case kindRegion:
		if len(b) < regionSize {
			return 0, fmt.Errorf("ring region record of %d bytes", len(b))
		}
		r.Kind = heat.KindYoung
		r.Other = info&infoOther != 0
		for i := range r.Anon {
			r.Anon[i] = le.Uint64(b[headerSize+8*i:])
			r.NotAnon[i] = le.Uint64(b[headerSize+8*(len(r.Anon)+i):])
		}
	case kindPage:
		r.Kind = heat.KindYoung
		r.Other = info&infoOther != 0
		r.Anon, r.NotAnon = heat.Bitmap{}, heat.Bitmap{}
		pages := &r.NotAnon
		if info&infoAnon != 0 {
			pages = &r.Anon
		}
		from := int(r.Start % heat.RegionSize / heat.PageSize)
		n := int(min(r.End-r.Start, heat.RegionSize) / heat.PageSize)
		pages.SetRange(from, min(from+n, heat.PagesPerRegion))
		r.Start -= r.Start % heat.RegionSize
	case kindSkip:
		r.Kind = heat.KindSkip
		if r.Reason = reasons[info]; r.Reason == "" {
			r.Reason = "unknown"
		}
	case kindClear:
		r.Kind, r.Reason = heat.KindSkip, skipClearRefs
	case kindWalk:
		r.Kind = heat.KindWalk
	case kindMark:
		r.Kind = 0
		return r.Start, nil
	default:
		return 0, fmt.Errorf("ring record of unknown kind %d", kind)
	}
	return 0, nil
}
