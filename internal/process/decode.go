package process

import (
	"encoding/binary"

	"mglru_exporter/internal/heat"
)

// Bits of an entry of /proc/PID/pagemap, from
// Documentation/admin-guide/mm/pagemap.rst.
const (
	pmFrame    = 1<<55 - 1 // the page frame number, if present
	pmSwapType = 1<<5 - 1  // the swap file's number, if swapped
	pmGuard    = 1 << 58   // part of a guard region (6.15)
	pmFile     = 1 << 61   // neither anonymous nor free of a struct page
	pmSwap     = 1 << 62
	pmPresent  = 1 << 63

	// minSpecialSwap is the lowest swap type that may be no swap file but a
	// page being migrated, a marker or the like: MAX_SWAPFILES in
	// include/linux/swap.h with all of them configured.
	minSpecialSwap = 23
)

// A fileID names what a mapping maps. All that has no file, which is the
// kernel's own special mappings, is told apart by name.
type fileID struct {
	dev, inode uint64
	name       string
}

// A decoder adds pagemap entries to a Residency, in ascending order of
// addresses.
type decoder struct {
	res   *heat.Residency
	nodes *NodeMap
	flags *pageFlags
	types map[fileID]heat.Type // of files whose type has been looked up

	// reload reads where nodes are again; reloaded is set once it has been
	// tried for the process at hand.
	reload   func() (*NodeMap, error)
	reloaded bool

	zeroPFN uint64
	seenPFN bool // any page frame number but 0

	// The mapping that the entries belong to.
	vma       *VMA
	kind      areaKind
	fileType  heat.Type // of its pages that are not anonymous
	typeKnown bool

	// What the fast path takes: entries whose upper three bits are bits and
	// whose page frame number is in span go to part.
	bits uint64
	span nodeSpan
	part int
}

// reset makes the decoder add to another, empty, Residency.
func (d *decoder) reset(res *heat.Residency, zeroPFN uint64) {
	d.res, d.zeroPFN, d.seenPFN = res, zeroPFN, false
	d.forget()
}

// enter says that the entries to come belong to v.
func (d *decoder) enter(v *VMA) {
	d.vma, d.kind, d.typeKnown = v, v.kind(), false
	d.forget()
}

// forget makes the next entry go the slow path.
func (d *decoder) forget() { d.span, d.bits = nodeSpan{}, 0 }

// decode adds the entries b of the pages from page on.
func (d *decoder) decode(b []byte, page uint64) error {
	for len(b) > 0 {
		first := page % heat.PagesPerRegion
		n := min(uint64(len(b)/8), heat.PagesPerRegion-first)
		if n == 0 {
			return nil
		}
		chunk := b[:n*8]
		if !(n == heat.PagesPerRegion && (d.kind == areaAnon || d.vma.mayBeZero()) && d.isHugeZero(chunk)) {
			if err := d.decodeRegion(chunk, page/heat.PagesPerRegion, first); err != nil {
				return err
			}
		}
		b, page = b[n*8:], page+n
	}
	return nil
}

// decodeRegion adds entries of one region, from its page i on.
func (d *decoder) decodeRegion(b []byte, region, i uint64) error {
	// A part belongs to one region.
	d.forget()
	for len(b) >= 8 {
		// The entries of one word of the bitmap.
		n := min(64-i%64, uint64(len(b)/8))
		var word uint64
		entries := b[:n*8]
		for k := i % 64; len(entries) >= 8; k, entries = k+1, entries[8:] {
			e := binary.LittleEndian.Uint64(entries)
			// An entry that has not changed beyond its page frame number, and
			// that not beyond the span, needs no second look.
			pfn := e & pmFrame
			if e>>61 != d.bits || pfn-d.span.start >= d.span.end-d.span.start {
				if e&(pmPresent|pmSwap) == 0 {
					continue
				}
				if word != 0 {
					d.res.Parts[d.part].Pages[i/64] |= word
					word = 0
				}
				if ok, err := d.add(e, region); !ok {
					if err != nil {
						return err
					}
					continue
				}
			} else if pfn == d.zeroPFN {
				continue
			}
			word |= 1 << (k & 63)
		}
		if word != 0 {
			d.res.Parts[d.part].Pages[i/64] |= word
		}
		b, i = b[n*8:], i+n
	}
	return nil
}

// add looks closely at an entry that is present or swapped. It returns true if
// the page is to be counted, and then has set part to where.
func (d *decoder) add(e, region uint64) (bool, error) {
	if e&pmPresent == 0 {
		if e&pmSwapType < minSpecialSwap && e&pmGuard == 0 {
			d.res.SwappedPages++
		}
		return false, nil
	}
	pfn := e & pmFrame
	special := e&pmFile == 0 && (d.kind == areaShared || d.kind == areaDevice)
	if pfn == 0 {
		// Frame 0 is never a process's memory, but may be a device's.
		if d.seenPFN || special {
			return false, nil
		}
		return false, ErrNoPFN
	}
	d.seenPFN = true
	if pfn == d.zeroPFN {
		return false, nil
	}
	typ := heat.Anon
	switch {
	case e&pmFile != 0:
		if d.kind == areaAnon {
			// Kernels up to 6.18 set the bit for the huge zero page.
			return false, nil
		}
		typ = d.typeOf(pfn)
	case d.kind == areaShared:
		return false, nil
	case d.kind == areaDevice:
		if flags, ok := d.flags.readHead(pfn); ok && flags&kpfAnon == 0 {
			return false, nil
		}
	}
	span, ok := d.nodes.lookup(pfn)
	if !ok {
		if span, ok = d.findNew(pfn, typ); !ok {
			return false, nil
		}
	}
	d.part = d.partOf(region, span.node, typ)
	d.span, d.bits = span, e>>61
	if special || typ != heat.Anon && !d.typeKnown {
		d.forget() // look closely at the next one, too
	}
	return true, nil
}

// findNew returns the span of a page frame that is in none we know: it is no
// memory, or has come online since the nodes were read. Where it is memory, but
// nobody says of which node, the page is counted as not looked at.
func (d *decoder) findNew(pfn uint64, typ heat.Type) (nodeSpan, bool) {
	if !d.flags.isMemory(pfn) {
		return nodeSpan{}, false
	}
	if !d.reloaded {
		d.reloaded = true
		if nodes, err := d.reload(); err == nil {
			d.nodes = nodes
		}
	}
	span, ok := d.nodes.lookup(pfn)
	if !ok {
		d.addUnscanned(typ)
	}
	return span, ok
}

// addUnscanned counts a page of the mapping, of which nothing but its type is
// known.
func (d *decoder) addUnscanned(typ heat.Type) {
	list := d.res.Unscanned
	for i := len(list) - 1; i >= 0 && list[i].Mapping == d.vma.Start; i-- {
		if list[i].Type == typ {
			list[i].Pages++
			return
		}
	}
	d.res.Unscanned = append(d.res.Unscanned, heat.UnscannedPages{Node: nodeUnknown, Type: typ, Mapping: d.vma.Start, Pages: 1})
}

// partOf returns the index of the part of region, which is the last one, that
// has node and type. It makes it if there is none.
func (d *decoder) partOf(region uint64, node int16, typ heat.Type) int {
	parts := d.res.Parts
	i := len(parts)
	for ; i > 0 && parts[i-1].Region == region; i-- {
		p := &parts[i-1]
		if p.Node == node && p.Type == typ {
			return i - 1
		}
		if p.Node < node || p.Node == node && p.Type < typ {
			break
		}
	}
	parts = append(parts, heat.ResidentPart{})
	copy(parts[i+1:], parts[i:])
	parts[i] = heat.ResidentPart{Region: region, Node: node, Type: typ}
	d.res.Parts = parts
	return i
}

// typeOf returns the type of a page of the mapping that is not anonymous. It
// looks at one page of each file only.
func (d *decoder) typeOf(pfn uint64) heat.Type {
	if d.typeKnown {
		return d.fileType
	}
	id := fileID{dev: d.vma.Dev, inode: d.vma.Inode}
	if id.inode == 0 {
		id.name = d.vma.Name
	}
	typ, ok := d.types[id]
	if !ok {
		if typ, ok = d.flags.fileType(pfn); !ok {
			// The page has just gone, or nothing can be known: the next page
			// is asked again.
			return d.vma.typeByName()
		}
		d.types[id] = typ
	}
	d.fileType, d.typeKnown = typ, true
	return typ
}

// isHugeZero tells whether the entries of a whole region are the huge zero
// page. There is one at a time, but the kernel may free it and make another
// elsewhere, so each candidate is looked up.
func (d *decoder) isHugeZero(b []byte) bool {
	first := binary.LittleEndian.Uint64(b)
	last := binary.LittleEndian.Uint64(b[(heat.PagesPerRegion-1)*8:])
	pfn := first & pmFrame
	if first&pmPresent == 0 || pfn == 0 || pfn%heat.PagesPerRegion != 0 || last != first+heat.PagesPerRegion-1 {
		return false
	}
	flags, ok := d.flags.read(pfn)
	return ok && flags&kpfZeroPage != 0
}
