package source

import (
	"math"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/process"
)

// A judge tells from two looks at the mappings of a process, and from what was
// cleared at the first, what of them is hot and what is cold. What it cannot
// tell is unobserved.
type judge struct {
	// selection says which mappings count.
	selection heat.Selection
	// before are the mappings as they were when the window began, in address
	// order.
	before []wasMapped
	// lost is how many bytes reclaim may have taken the accessed bits of.
	lost uint64
	// walkers is set if DAMON may have moved accessed bits to the pages' own
	// flags, which to clear another process that maps them clears.
	walkers bool
	// guest is set if the process runs a virtual machine, whose accesses set
	// no bits in the process's own page tables.
	guest bool
}

// wasMapped is what is kept of a mapping until the window ends.
type wasMapped struct {
	start, end uint64
	dev, inode uint64
	rss, swap  uint64
}

// remember returns what is to be kept of mappings; it uses the memory of old.
func remember(maps []process.Mapping, old []wasMapped) []wasMapped {
	kept := old[:0]
	for i := range maps {
		m := &maps[i]
		if m.Rss > 0 || m.Swap > 0 {
			kept = append(kept, wasMapped{m.Start, m.End, m.Dev, m.Inode, m.Rss, m.Swap})
		}
	}
	return kept
}

// window judges all mappings of a process.
func (j *judge) window(maps []process.Mapping) *heat.MappingWindow {
	w := &heat.MappingWindow{}
	first := 0
	var guest, walker, reclaim bool
	for i := range maps {
		m := &maps[i]
		m.Referenced, m.Anonymous = min(m.Referenced, m.Rss), min(m.Anonymous, m.Rss)
		// What is swapped out of shared memory is no process's.
		if m.FileType != heat.Shmem || !m.Shared() {
			w.SwappedBytes += m.Swap
		}
		if domain := m.Domain(); !j.selection.Touches(&domain) {
			excludeMapping(w, m)
			continue
		}
		for first < len(j.before) && j.before[first].end <= m.Start {
			first++
		}
		hot, cold := j.mapping(m, j.before[first:])
		if j.guest && cold > 0 {
			guest, cold = true, 0
		}
		if j.walkers && cold > 0 {
			walker, cold = true, cold-min(cold, m.SharedRss)
		}
		addMapping(w, m, hot, cold)
	}
	for i := range w.Areas {
		// At most that much, wherever in the process it was.
		if a := &w.Areas[i]; j.lost > 0 && a.Cold > 0 {
			reclaim = true
			n := min(a.Cold, j.lost)
			a.Cold -= n
			a.Unobserved += n
		}
	}
	for reason, is := range map[string]bool{skipGuest: guest, skipWalker: walker, skipReclaim: reclaim} {
		if is {
			w.Skips = append(w.Skips, reason)
		}
	}
	return w
}

// mapping returns how much of a mapping is certainly hot, and how much certainly
// cold. Before are the mappings that may overlap it, and those above.
//
// Of what is resident now, some was when the window began, and the accessed
// bits of all of that were cleared. The rest is new, and the first look at new
// pages proves nothing. A fault makes new pages young, and those it maps around
// it too, but for arm64, where these are old; old are also pages that swapoff()
// has brought back. So as much as is new can be missing from the young ones, and
// that much of which may be old, from the others. What is new and old and takes
// the place of pages that went is not noticed; nobody has accessed it since.
func (j *judge) mapping(m *process.Mapping, before []wasMapped) (hot, cold uint64) {
	if m.Special {
		return 0, 0
	}
	known, swap := residentBefore(m, before)
	known = min(known, m.Rss)
	fresh := m.Rss - known
	freshOld := fresh
	if m.PlainAnon() {
		freshOld = min(fresh, swap-min(swap, m.Swap))
	}
	hot = m.Referenced - min(m.Referenced, fresh)
	cold = m.Rss - m.Referenced
	cold -= min(cold, freshOld)
	return hot, min(cold, known-min(known, hot))
}

// residentBefore returns how much of a mapping was resident at least when the
// window began, and how much swapped out at most. Mappings that were cut or
// joined since are the same memory.
func residentBefore(m *process.Mapping, before []wasMapped) (rss, swap uint64) {
	for i := range before {
		b := &before[i]
		if b.start >= m.End {
			break
		}
		if b.end <= m.Start || b.dev != m.Dev || b.inode != m.Inode {
			continue
		}
		// What it had outside of the mapping of now may have been resident in
		// full.
		outside := b.end - b.start - (min(b.end, m.End) - max(b.start, m.Start))
		rss += b.rss - min(b.rss, outside)
		swap += b.swap
	}
	return rss, swap
}

// addMapping adds a mapping to the areas of its types. Of one that has pages of
// two types it is not known which are hot: each type has for certain what the
// other has no room for.
func addMapping(w *heat.MappingWindow, m *process.Mapping, hot, cold uint64) {
	eachType(m, func(typ heat.Type, resident, other uint64) {
		h, c := hot-min(hot, other), cold-min(cold, other)
		w.AddArea(heat.Area{Node: int(m.Node), Type: typ, Hot: h, Cold: c, Unobserved: resident - h - c, Resident: resident})
	})
}

// excludeMapping leaves a mapping out, and says so.
func excludeMapping(w *heat.MappingWindow, m *process.Mapping) {
	eachType(m, func(typ heat.Type, resident, _ uint64) {
		w.Excluded = heat.Exclude(w.Excluded, int(m.Node), typ, resident)
	})
}

// eachType calls f with what is resident of each type of a mapping's pages. Other
// is how many bytes else there are that what was seen hot or cold of the mapping may
// have been.
func eachType(m *process.Mapping, f func(typ heat.Type, resident, other uint64)) {
	some := func(typ heat.Type, resident, other uint64) {
		if resident > 0 {
			f(typ, resident, other)
		}
	}
	rest := m.Rss - m.Anonymous
	some(heat.Anon, m.Anonymous, rest)
	some(m.FileType, rest, m.Anonymous)
	// Hugetlb pages have accessed bits, but clear_refs passes them over.
	some(heat.Anon, m.PrivateHugetlb, math.MaxUint64)
	some(heat.File, m.SharedHugetlb, math.MaxUint64)
}
