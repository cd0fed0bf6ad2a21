package heat

import (
	"cmp"
	"slices"
)

// A sweep goes through skips along with regions in ascending order.
type sweep struct {
	skips  []skip
	active []skip
}

func (w *sweep) begin(skips []skip) {
	slices.SortFunc(skips, func(a, b skip) int { return cmp.Compare(a.from, b.from) })
	w.skips, w.active = skips, w.active[:0]
}

// at returns the skips that reach into a region.
func (w *sweep) at(region uint64) []skip {
	if len(w.skips) == 0 && len(w.active) == 0 {
		return nil
	}
	from, to := region*PagesPerRegion, (region+1)*PagesPerRegion
	for len(w.skips) > 0 && w.skips[0].from < to {
		w.active = append(w.active, w.skips[0])
		w.skips = w.skips[1:]
	}
	w.active = slices.DeleteFunc(w.active, func(s skip) bool { return s.to <= from })
	return w.active
}

// watch makes the resident pages the ones that the next window can judge.
func (t *Tracker) watch(p *process, res *Residency, watch bool) {
	p.missed = p.stale || p.folded
	p.gaps = 0
	if p.folded {
		p.gaps = 1
	}
	p.keepSkips(t.clock.passes)
	p.cursor = 0
	if !watch || !p.layout.sorted {
		p.nodes, p.regions, p.runs, p.young, p.slabs = 0, nil, nil, [slots][]Bitmap{}, nil
		return
	}
	for k := range p.young {
		if k >= t.params.PassesPerWindow {
			p.young[k] = nil
		}
	}
	if p.layout.same {
		return
	}
	t.move(p, res, p.layout.regions)
}

// keepSkips keeps the skips that matter to the next window.
func (p *process) keepSkips(passes int) {
	keep := p.skips[:0]
	for _, s := range p.skips {
		switch s.pass {
		case passes: // the next pass
			s.pass = 0
		case passes - 1: // lastPass itself, if the window had none
			s.pass = lastPass
		default:
			continue
		}
		keep = append(keep, s)
	}
	p.skips = keep
}

// move makes room for the regions of a residency, and puts the slabs of those
// that stay into their new places. What was found young must have been cleared.
func (t *Tracker) move(p *process, res *Residency, n int) {
	old, slabs := p.regions, p.slabs
	p.regions, t.spare = t.spare[:0], old
	if cap(p.regions) < n {
		p.regions = make([]uint64, 0, n+n/16)
	}
	p.runs = p.runs[:0]
	for i := range res.Parts {
		if r := res.Parts[i].Region; i == 0 || res.Parts[i-1].Region != r {
			if n := len(p.regions); n > 0 && p.regions[n-1] == r-1 {
				p.runs[len(p.runs)-1].last = r
			} else {
				p.runs = append(p.runs, run{r, r, n})
			}
			p.regions = append(p.regions, r)
		}
	}
	if c := cap(slabs); c < n || c > 4*n {
		if c = n; slabs != nil {
			c += n / 16
		}
		p.slabs = make([]slab, n, c)
		for i, j := 0, 0; i < len(old) && j < n; {
			switch {
			case old[i] < p.regions[j]:
				i++
			case old[i] > p.regions[j]:
				j++
			default:
				p.slabs[j] = slabs[i]
				i, j = i+1, j+1
			}
		}
		p.young = [slots][]Bitmap{}
		p.trackNew(old, res, &t.birth)
		return
	}
	p.slabs = slabs[:n]
	for k := range p.young {
		if cap(p.young[k]) < n {
			p.young[k] = nil
		} else {
			p.young[k] = p.young[k][:n]
		}
	}
	// First those that go down, from below, then those that go up, from above:
	// so none comes where one is that has yet to go.
	for i, j := 0, 0; i < len(old) && j < n; {
		switch {
		case old[i] < p.regions[j]:
			i++
		case old[i] > p.regions[j]:
			j++
		default:
			if j < i {
				slabs[j] = slabs[i]
			}
			i, j = i+1, j+1
		}
	}
	for i, j := len(old)-1, n-1; i >= 0 && j >= 0; {
		switch {
		case old[i] > p.regions[j]:
			i--
		case old[i] < p.regions[j]:
			j--
		default:
			if j > i {
				p.slabs[j] = p.slabs[i]
			}
			i, j = i-1, j-1
		}
	}
	p.trackNew(old, res, &t.birth)
}

// trackNew begins to track the regions that were not among the old ones.
func (p *process) trackNew(old []uint64, res *Residency, birth *birth) {
	i, k := 0, 0 // of old, and of the parts
	for j, r := range p.regions {
		for i < len(old) && old[i] < r {
			i++
		}
		stays := i < len(old) && old[i] == r
		if !stays {
			p.slabs[j] = slab{}
			p.slabs[j].begin(birth)
		}
		for ; k < len(res.Parts) && res.Parts[k].Region == r; k++ {
			if part := &res.Parts[k]; !stays && part.Node < maxNodes {
				p.slabs[j].tracked.Or(&part.Pages)
			}
		}
	}
}

// age lets the passes of a window go by in all ages.
func (t *Tracker) age(passes int) {
	left := t.birth.left
	if left < passes {
		for _, p := range t.procs {
			for i := range p.slabs {
				p.slabs[i].postpone(epoch - left)
			}
		}
		left = epoch
	}
	t.birth = birthAt(left - passes)
}
