package bpf

import (
	"encoding/binary"
	"fmt"

	"mglru_exporter/internal/heat"
)

// Kinds of ring records, as in enum kind of hooks.bpf.c.
const (
	kindRegion = 1
	kindPage   = 2
	kindSkip   = 3
	kindWalk   = 4
	kindMark   = 5

	infoOther = 1
	infoAnon  = 2

	headerSize = 32
	regionSize = headerSize + 16*8
)

// skipReasons are enum mglru_skip_reason of the kernel patch, in its order.
var skipReasons = [...]string{
	"unknown",
	"vma",
	"mm_small",
	"mm_exiting",
	"mmap_lock",
	"memcg_lock",
	"aborted",
	"pte_lock",
	"pmd_lock",
	"foreign",
	"no_swap",
}

// SkipReasons are the reasons that a KindSkip record can have.
func SkipReasons() []string { return skipReasons[:] }

// decode fills r from a ring sample. A mark sets no kind and returns its cookie.
func decode(b []byte, r *heat.Record) (cookie uint64, err error) {
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
		if int(info) >= len(skipReasons) {
			info = 0
		}
		r.Reason = skipReasons[info]
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
