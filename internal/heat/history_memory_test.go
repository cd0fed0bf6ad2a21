package heat

import (
	"cmp"
	"slices"
	"time"
)

// pages are where bugs of bit twiddling live; the rest is noise.
var pages = []int{0, 1, 2, 31, 62, 63, 64, 65, 127, 128, 255, 256, 257, 383, 447, 448, 510, 511}

// idleAges are up to 16, on either side of what passes, windows and histories
// take.
func (h *history) idleAges() []time.Duration {
	var ages []time.Duration
	at := time.Duration(0)
	for range h.IntN(MaxIdleAges + 1) {
		at += time.Duration(1+h.IntN(40)) * time.Second / 4
		ages = append(ages, at)
	}
	return ages
}

func (h *history) tgid() int      { return 1 + h.IntN(maxTGID+1) } // the last never lives
func (h *history) region() uint64 { return 100 + uint64(h.IntN(9)) }

// population lets processes be born, exit, exec, be replaced and be renamed.
func (h *history) population() []Process {
	var list []Process
	for tgid := 1; tgid <= maxTGID; tgid++ {
		p, ok := h.alive[tgid]
		switch {
		case !ok && h.chance(0.4):
			p = Process{ProcessID: ProcessID{tgid, h.Uint64N(4), h.Uint64N(4)}, Comm: h.comm()}
			ok = true
			h.layouts[tgid] = h.layout()
		case ok && h.fault(0.19): // one of four, about as often each
			switch h.IntN(4) {
			case 0:
				ok = false
			case 1:
				p.Start++
			case 2:
				p.Image++
			case 3:
				p.Comm = h.comm()
			}
		}
		delete(h.alive, tgid)
		if ok {
			h.alive[tgid] = p
			list = append(list, p)
		}
	}
	h.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

func (h *history) comm() string { return []string{"a", "b", ""}[h.IntN(3)] }

// layout is a residency with regions at random places, whole or in parts.
func (h *history) layout() *Residency {
	r := &Residency{SwappedPages: h.Uint64N(5)}
	for region := uint64(100); region < 109; region++ {
		if h.chance(0.4) {
			continue
		}
		parts := map[areaKey]*ResidentPart{}
		mixed := h.chance(0.3)
		node, typ := h.node(), Type(h.IntN(int(NumTypes)))
		for _, page := range pages {
			if h.chance(0.2) {
				continue
			}
			if mixed {
				node, typ = h.node(), Type(h.IntN(int(NumTypes)))
			}
			k := areaKey{node, typ}
			if parts[k] == nil {
				parts[k] = &ResidentPart{Region: region, Node: node, Type: typ}
			}
			parts[k].Pages.Set(page)
		}
		for _, p := range parts {
			r.Parts = append(r.Parts, *p)
		}
	}
	slices.SortFunc(r.Parts, func(a, b ResidentPart) int {
		return cmp.Or(cmp.Compare(a.Region, b.Region), cmp.Compare(a.Node, b.Node), cmp.Compare(a.Type, b.Type))
	})
	r.Mappings = h.mappings()
	if h.chance(0.2) {
		r.Unscanned = []UnscannedPages{{Node: h.node(), Type: File, Pages: 1 + h.Uint64N(9)}}
	}
	return r
}

// mappings are some that end and begin anywhere between and within the regions,
// several of them with one name.
func (h *history) mappings() []Mapping {
	if h.chance(0.2) {
		return nil
	}
	var edges []uint64
	for range 2 * h.IntN(12) {
		edges = append(edges, h.region()*PagesPerRegion+uint64(pages[h.IntN(len(pages))]))
	}
	slices.Sort(edges)
	var out []Mapping
	for i := 0; i+1 < len(edges); i += 1 + h.IntN(2) {
		if edges[i] < edges[i+1] {
			out = append(out, Mapping{
				Start: edges[i] * PageSize, End: edges[i+1] * PageSize,
				Name: []string{"[heap]", "/a", "/b", "[anon]", "[stack]"}[h.IntN(5)], NoAccess: h.chance(0.1),
			})
		}
	}
	return out
}

func (h *history) node() int16 {
	switch {
	case h.fault(0.05):
		return []int16{-1, 64, 2}[h.IntN(3)]
	case h.nodes == 1:
		return 0
	}
	return int16(h.IntN(2))
}

// fold gives a process's young pages of one region, or of its whole layout.
func (h *history) fold() {
	tgid := h.tgid()
	p := h.model.procs[tgid]
	regions := []uint64{h.region()}
	if h.chance(0.5) {
		regions = []uint64{100, 101, 102, 103, 104, 105, 106, 107, 108}
	}
	density := h.Float64()
	for _, region := range regions {
		var young Bitmap
		for _, page := range pages {
			if h.chance(density) {
				young.Set(page)
				if p != nil {
					h.model.record(p.young, region*PagesPerRegion+uint64(page))
				}
			}
		}
		if young == (Bitmap{}) {
			continue // a record of nothing, which nobody sends
		}
		if known := h.tracker.Fold(tgid, region, &young); known != (p != nil) {
			h.tb.Fatalf("Fold of %d: known %v, want %v", tgid, known, p != nil)
		}
	}
}

func (h *history) skip() {
	tgid := h.tgid()
	first := h.region()*PagesPerRegion + uint64(pages[h.IntN(len(pages))])
	last := first + h.Uint64N(40)
	switch h.IntN(8) {
	case 0:
		last = first + h.Uint64N(3*PagesPerRegion)
	case 1:
		first, last = 0, ^uint64(0)/PageSize
	}
	end := (last + 1) * PageSize
	if end == 0 {
		end = ^uint64(0)
	}
	h.tracker.Skip(tgid, first*PageSize, end)
	if p := h.model.procs[tgid]; p != nil {
		for region := uint64(100); region < 109; region++ {
			for _, i := range pages {
				if page := region*PagesPerRegion + uint64(i); first <= page && page <= last {
					h.model.record(p.skipped, page)
				}
			}
		}
	}
}
