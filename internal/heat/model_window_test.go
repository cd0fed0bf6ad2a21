package heat

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"
)

// nameOf is the name of the mapping that a page is in.
func nameOf(mappings []Mapping, page uint64) string {
	for _, m := range mappings {
		if m.Start <= page*PageSize && page*PageSize < m.End {
			return m.Name
		}
	}
	return UnknownMapping
}

// topNever sorts the names of the areas' mappings and merges those beyond the top.
func (m *model) topNever(areas map[areaKey]*Area) {
	total := map[string]uint64{}
	for _, a := range areas {
		for _, n := range a.Never {
			total[n.Mapping] += n.Bytes
		}
	}
	names := slices.SortedFunc(maps.Keys(total), func(a, b string) int {
		return cmp.Or(cmp.Compare(total[b], total[a]), cmp.Compare(a, b))
	})
	for _, a := range areas {
		var never []MappingBytes
		var others uint64
		for _, n := range a.Never {
			if slices.Index(names, n.Mapping) < m.params.NeverTop {
				never = append(never, n)
			} else {
				others += n.Bytes
			}
		}
		if others > 0 {
			never = append(never, MappingBytes{OtherMappings, others})
			m.seen["merged mapping"]++
		}
		slices.SortFunc(never, func(a, b MappingBytes) int {
			return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Mapping, b.Mapping))
		})
		a.Never = never
	}
}

// endWindow returns the verdicts by process and page, and the series.
func (m *model) endWindow(residency map[int]*Residency) (map[int]map[uint64]verdict, []Series) {
	verdicts := map[int]map[uint64]verdict{}
	m.details = map[int]ProcessWindow{}
	sizes := map[int]uint64{}
	groups := map[seriesKey][]*modelProcess{}
	groupSize := map[seriesKey]uint64{}
	for tgid, res := range residency {
		p := m.procs[tgid]
		if p == nil {
			continue
		}
		for _, part := range res.Parts {
			sizes[tgid] += uint64(part.Pages.Count())
		}
		for _, u := range res.Unscanned {
			sizes[tgid] += u.Pages
		}
		k := seriesKey{}
		if m.params.LabelPID {
			k.pid = tgid
		}
		if m.params.LabelComm {
			k.comm = p.Comm
		}
		if k == (seriesKey{}) && m.params.LabelComm {
			k.pid = PIDOther
		}
		groups[k] = append(groups[k], p)
		groupSize[k] += sizes[tgid]
	}
	keys := make([]seriesKey, 0, len(groups))
	for k := range groups {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b seriesKey) int {
		return cmp.Or(cmp.Compare(groupSize[b], groupSize[a]), cmp.Compare(a.pid, b.pid), cmp.Compare(a.comm, b.comm))
	})
	areas := map[seriesKey]map[areaKey]*Area{}
	swapped := map[seriesKey]uint64{}
	bands := map[seriesKey][]Band{}
	hists := map[seriesKey]map[areaKey]*modelCounter{}
	left := m.params.MaxRegions
	m.untracked = 0
	for rank, k := range keys {
		procs := groups[k]
		slices.SortFunc(procs, func(a, b *modelProcess) int {
			return cmp.Or(cmp.Compare(sizes[b.TGID], sizes[a.TGID]), cmp.Compare(a.TGID, b.TGID))
		})
		out := k
		small := m.params.Top > 0 && rank >= m.params.Top || groupSize[k]*PageSize < m.params.MinResident
		if small && (m.params.LabelPID || m.params.LabelComm) {
			out = seriesKey{pid: PIDOther}
		}
		if areas[out] == nil {
			areas[out] = map[areaKey]*Area{}
		}
		for _, p := range procs {
			hist := m.merged[out]
			if out.pid > 0 {
				hist = p.own
			} else if hist == nil {
				hist = map[areaKey]*modelCounter{}
				m.merged[out] = hist
			}
			hists[out] = hist
			res := residency[p.TGID]
			swapped[out] += res.SwappedPages * PageSize
			verdicts[p.TGID] = map[uint64]verdict{}
			m.ages(p, res)
			m.sum(p, res, areas[out], hist, verdicts[p.TGID])
			m.details[p.TGID] = ProcessWindow{
				Process: p.Process, End: m.ends[m.pass-1], Passes: m.pass - m.first,
				Regions: m.regions(p, res, verdicts[p.TGID]), Mappings: res.Mappings,
			}
			if out.pid > 0 && m.params.AddressBands > 0 {
				bands[out] = foldBands(res.Mappings, m.details[p.TGID].Regions, m.params.AddressBands)
			}

			regions := map[uint64]bool{}
			next := map[uint64]int16{}
			for _, part := range res.Parts {
				regions[part.Region] = true
				for i := range PagesPerRegion {
					if part.Pages.Has(i) {
						next[part.Region*PagesPerRegion+uint64(i)] = part.Node
					}
				}
				if part.Node >= 0 && part.Node < 64 && p.walks[m.pass-1]>>part.Node&1 == 0 {
					p.unwalked[m.pass-1] = true
				}
			}
			p.resident = nil
			since := map[uint64]int{}
			if m.params.MaxRegions == 0 || len(regions) <= left {
				p.resident = next
				left -= len(regions)
				for page, node := range next {
					if node >= 64 {
						continue
					}
					since[page] = m.pass - 1
					if first, ok := p.since[page]; ok {
						since[page] = first
					}
				}
			} else {
				m.untracked += len(regions)
			}
			p.since = since
		}
	}
	for tgid, p := range m.procs {
		if residency[tgid] == nil {
			p.resident = nil
			p.since = map[uint64]int{}
		}
		p.early = false
		for _, passes := range p.young {
			if passes[m.pass] {
				p.early = true
				p.gaps[m.pass] = true
			}
		}
		p.young = map[uint64]map[int]bool{}
	}
	series := m.series(areas, hists, swapped)
	for i, s := range series {
		series[i].Bands = bands[seriesKey{s.PID, s.Comm}]
	}
	m.first = m.pass
	return verdicts, series
}

// sum adds a process's pages to the areas of its series.
func (m *model) sum(p *modelProcess, res *Residency, areas map[areaKey]*Area, hist map[areaKey]*modelCounter, verdicts map[uint64]verdict) {
	area := func(node int16, typ Type) *Area {
		k := areaKey{node, typ}
		if areas[k] == nil {
			areas[k] = &Area{Node: int(node), Type: typ, Idle: make([]uint64, len(m.params.IdleAges))}
		}
		return areas[k]
	}
	counter := func(part *ResidentPart) *modelCounter {
		k := areaKey{part.Node, part.Type}
		if hist[k] == nil {
			hist[k] = &modelCounter{Histogram: Histogram{Counts: make([]uint64, len(m.params.RegionBuckets)+1), Native: make([]uint64, nativeBuckets)}, reaccessed: map[time.Duration]uint64{}}
		}
		return hist[k]
	}
	for _, part := range res.Parts {
		var accesses uint64
		watched := false
		a := area(part.Node, part.Type)
		for i := range PagesPerRegion {
			if !part.Pages.Has(i) {
				continue
			}
			page := part.Region*PagesPerRegion + uint64(i)
			v := m.judge(p, page)
			verdicts[page] = v
			a.Resident += PageSize
			switch v.Class {
			case "hot":
				a.Hot += PageSize
			case "warm":
				a.Warm += PageSize
			case "cold":
				a.Cold += PageSize
			default:
				a.Unobserved += PageSize
			}
			if v.Class != "unobserved" {
				watched = true
				accesses += uint64(v.Young)
				counter(&part).judged++
			}
			if _, tracked := p.since[page]; !tracked {
				continue
			}
			if m.params.NeverWindows > 0 && m.params.NeverTop > 0 && len(res.Mappings) > 0 && part.Node < 64 && m.never(p, page) {
				name := nameOf(res.Mappings, page)
				at := slices.IndexFunc(a.Never, func(n MappingBytes) bool { return n.Mapping == name })
				if at < 0 {
					at = len(a.Never)
					a.Never = append(a.Never, MappingBytes{Mapping: name})
				}
				a.Never[at].Bytes += PageSize
				m.seen["never accessed"]++
				if name == UnknownMapping {
					m.seen["unknown mapping"]++
				}
			}
			for i, d := range m.params.IdleAges {
				if part.Node < 64 && m.idle(p, page, m.pass-1) >= d {
					a.Idle[i] += PageSize
					m.seen["idle"]++
				}
			}
			m.reaccesses(p, page, func(idle time.Duration) {
				for _, d := range m.params.IdleAges {
					if idle >= d {
						counter(&part).reaccessed[d] += PageSize
						m.seen["reaccessed"]++
					}
				}
			})
		}
		if !watched {
			continue
		}
		k := areaKey{part.Node, part.Type}
		hist[k].accesses += int(accesses)
		bucket := 0
		for bucket < len(m.params.RegionBuckets) && accesses > m.params.RegionBuckets[bucket] {
			bucket++
		}
		hist[k].Counts[bucket]++
		native := 0
		if accesses > 0 {
			for native = 1; float64(accesses) > math.Exp2(float64(native-1)/4); {
				native++
			}
		}
		hist[k].Native[native]++
		hist[k].Sum += accesses
	}
	for _, u := range res.Unscanned {
		a := area(u.Node, u.Type)
		a.Resident += u.Pages * PageSize
		a.Unobserved += u.Pages * PageSize
	}
}

// regions is what there is to say of each region, page by page.
func (m *model) regions(p *modelProcess, res *Residency, verdicts map[uint64]verdict) []RegionHeat {
	out := []RegionHeat{}
	for region := uint64(100); region < 109; region++ {
		h := RegionHeat{Region: region, Node: -1, Idle: math.MaxInt64}
		nodes := map[int16]int{}
		for _, part := range res.Parts {
			for i := range PagesPerRegion {
				if part.Region != region || !part.Pages.Has(i) {
					continue
				}
				page := region*PagesPerRegion + uint64(i)
				h.Resident++
				switch part.Type {
				case Anon:
					h.Anon++
				case Shmem:
					h.Shmem++
				}
				switch v := verdicts[page]; v.Class {
				case "hot":
					h.Hot++
					h.Accesses += uint32(v.Young)
				case "warm":
					h.Warm++
					h.Accesses += uint32(v.Young)
				case "cold":
					h.Cold++
				}
				if part.Node >= 0 {
					nodes[part.Node]++
				}
				if _, tracked := p.since[page]; !tracked && part.Node < 64 {
					h.Idle = 0
				} else if tracked && part.Node < 64 {
					h.Idle = min(h.Idle, max(0, m.idle(p, page, m.pass-1)))
				}
			}
		}
		if h.Resident == 0 {
			continue
		}
		for _, node := range slices.Sorted(maps.Keys(nodes)) {
			if h.Node < 0 || nodes[node] > nodes[h.Node] {
				h.Node = node
			}
		}
		if h.Idle == math.MaxInt64 { // nothing that can be watched
			h.Idle = 0
		}
		m.seen["idle region"] += min(1, int(h.Idle))
		out = append(out, h)
	}
	return out
}

func (m *model) series(areas map[seriesKey]map[areaKey]*Area, hists map[seriesKey]map[areaKey]*modelCounter, swapped map[seriesKey]uint64) []Series {
	var out []Series
	for k, byArea := range areas {
		s := Series{PID: k.pid, Comm: k.comm, SwappedBytes: swapped[k]}
		m.topNever(byArea)
		for ak := range hists[k] {
			if byArea[ak] == nil {
				byArea[ak] = &Area{Node: int(ak.node), Type: ak.typ, Idle: make([]uint64, len(m.params.IdleAges))}
			}
		}
		for ak, a := range byArea {
			a.Accesses = Histogram{
				Bounds: m.params.RegionBuckets, Counts: make([]uint64, len(m.params.RegionBuckets)+1), Native: make([]uint64, nativeBuckets),
			}
			a.Reaccessed = make([]uint64, len(m.params.IdleAges))
			if h := hists[k][ak]; h != nil {
				copy(a.Accesses.Counts, h.Counts)
				copy(a.Accesses.Native, h.Native)
				a.Accesses.Sum = h.Sum
				for i, d := range m.params.IdleAges {
					a.Reaccessed[i] = h.reaccessed[d]
				}
				m.heat(a, h)
			}
			s.Areas = append(s.Areas, *a)
		}
		slices.SortFunc(s.Areas, func(a, b Area) int { return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Type, b.Type)) })
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b Series) int { return cmp.Or(cmp.Compare(a.PID, b.PID), cmp.Compare(a.Comm, b.Comm)) })
	return out
}

func (m *model) heat(a *Area, c *modelCounter) {
	if c.judged > 0 {
		now := m.ends[m.pass-1]
		x := float64(c.accesses) / float64((m.pass-m.first)*c.judged)
		if c.heatAt.IsZero() {
			c.heat = x
		} else {
			c.heat += (x - c.heat) * (1 - math.Exp(-now.Sub(c.heatAt).Seconds()/m.params.Average.Seconds()))
		}
		c.heatAt = now
		a.HeatRatio, a.HeatKnown = c.heat, true
	}
	c.accesses, c.judged = 0, 0
}
