package heatmap

import (
	"encoding/binary"
	"math"
	"time"

	"mglru_exporter/internal/heat"
)

// idleUnit is how finely idle ages are kept: no two passes of a memcg are
// closer.
const idleUnit = 100 * time.Millisecond

// A cell is a heat.RegionHeat without its region, idle in idleUnits.
type cell struct {
	accesses              uint32
	resident, anon, shmem uint16
	hot, warm, cold       uint16
	node                  int16
	idle                  uint32
}

// maxNodes is one above the highest node that Linux can number, MAX_NUMNODES.
const maxNodes = 1 << 10

func newCell(r *heat.RegionHeat) cell {
	node := r.Node
	if node < 0 || node >= maxNodes {
		node = -1
	}
	return cell{
		accesses: r.Accesses,
		resident: r.Resident, anon: r.Anon, shmem: r.Shmem,
		hot: r.Hot, warm: r.Warm, cold: r.Cold,
		node: node,
		idle: uint32(min(max(r.Idle, 0)/idleUnit, math.MaxUint32)), // down: it is "at least"
	}
}

// Cells are kept as a byte of flags each, and after it as uvarints what the
// flags do not say, in the order of the fields above. Most cells are like the
// one before, and most others full of pages of one type: a cell takes next to
// nothing where little happens, and some 7 bytes where much does.
const (
	repeated = 1 << iota // the cell comes more than once; how often more follows
	full                 // all pages of the region are resident
	judged               // none of them is unobserved
	quiet                // no accesses, and so no page hot or warm
	sameIdle             // as in the cell before
	sameNode             // as in the cell before
	allAnon              // with allShmem: some are and some are not
	allShmem             // with neither: all are file
)

const mixed = allAnon | allShmem

// appendCells appends the cells of regions.
func appendCells(dst []byte, regions []heat.RegionHeat) []byte {
	var before cell
	for i := 0; i < len(regions); {
		c, n := newCell(&regions[i]), 1
		for i+n < len(regions) && newCell(&regions[i+n]) == c {
			n++
		}
		dst = c.append(dst, &before, n)
		before = c
		i += n
	}
	return dst
}

// append appends a cell that comes n times.
func (c *cell) append(dst []byte, before *cell, n int) []byte {
	var flags byte
	set := func(flag byte, has bool) {
		if has {
			flags |= flag
		}
	}
	set(repeated, n > 1)
	set(full, c.resident == heat.PagesPerRegion)
	set(judged, int(c.hot)+int(c.warm)+int(c.cold) == int(c.resident))
	set(quiet, c.accesses == 0 && c.hot == 0 && c.warm == 0)
	set(sameIdle, c.idle == before.idle)
	set(sameNode, c.node == before.node)
	switch {
	case c.anon == 0 && c.shmem == 0:
	case c.anon == c.resident && c.shmem == 0:
		flags |= allAnon
	case c.shmem == c.resident && c.anon == 0:
		flags |= allShmem
	default:
		flags |= mixed
	}
	dst = append(dst, flags)
	if flags&repeated != 0 {
		dst = binary.AppendUvarint(dst, uint64(n-1))
	}
	if flags&full == 0 {
		dst = binary.AppendUvarint(dst, uint64(c.resident))
	}
	if flags&mixed == mixed {
		dst = binary.AppendUvarint(dst, uint64(c.anon))
		dst = binary.AppendUvarint(dst, uint64(c.shmem))
	}
	if flags&quiet == 0 {
		dst = binary.AppendUvarint(dst, uint64(c.accesses))
		dst = binary.AppendUvarint(dst, uint64(c.hot))
		dst = binary.AppendUvarint(dst, uint64(c.warm))
	}
	if flags&judged == 0 {
		dst = binary.AppendUvarint(dst, uint64(c.cold))
	}
	if flags&sameIdle == 0 {
		dst = binary.AppendUvarint(dst, uint64(c.idle))
	}
	if flags&sameNode == 0 {
		dst = binary.AppendVarint(dst, int64(c.node))
	}
	return dst
}

// A cellReader reads what appendCells has written.
type cellReader struct {
	left []byte
	cell cell // the last that next has read
}

// next reads a cell, and returns how often it comes: 0 at the end.
func (r *cellReader) next() int {
	if len(r.left) == 0 {
		return 0
	}
	flags, n := r.left[0], 1
	r.left = r.left[1:]
	before := r.cell
	c := &r.cell
	*c = cell{idle: before.idle, node: before.node, resident: heat.PagesPerRegion}
	if flags&repeated != 0 {
		n += int(r.uvarint())
	}
	if flags&full == 0 {
		c.resident = uint16(r.uvarint())
	}
	switch flags & mixed {
	case allAnon:
		c.anon = c.resident
	case allShmem:
		c.shmem = c.resident
	case mixed:
		c.anon = uint16(r.uvarint())
		c.shmem = uint16(r.uvarint())
	}
	if flags&quiet == 0 {
		c.accesses = uint32(r.uvarint())
		c.hot = uint16(r.uvarint())
		c.warm = uint16(r.uvarint())
	}
	if flags&judged != 0 {
		c.cold = c.resident - c.hot - c.warm
	} else {
		c.cold = uint16(r.uvarint())
	}
	if flags&sameIdle == 0 {
		c.idle = uint32(r.uvarint())
	}
	if flags&sameNode == 0 {
		v := r.uvarint()
		c.node = int16(int64(v>>1) ^ -int64(v&1)) // as binary.Varint
	}
	return n
}

func (r *cellReader) uvarint() uint64 {
	if len(r.left) > 0 && r.left[0] < 0x80 { // nearly always
		v := r.left[0]
		r.left = r.left[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(r.left)
	r.left = r.left[n:]
	return v
}
