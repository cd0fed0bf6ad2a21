package process

import (
	"fmt"

	"mglru_exporter/internal/heat"
)

// smapsOf sums up, for each of vmas, what smaps in dir says of the mappings that
// begin within it. They are in address order, and none overlaps another.
func (r *Reader) smapsOf(dir string, vmas []VMA) ([]Mapping, error) {
	path := dir + "/smaps"
	var err error
	if r.buf, err = readFile(path, r.buf[:0]); err != nil {
		return nil, err
	}
	if r.maps, err = parseMappings(r.buf, r.maps); err != nil {
		return nil, fmt.Errorf("parse %s: %w", path, err)
	}
	return sumsOf(r.maps, vmas), nil
}

// sumsOf is smapsOf without the file.
func sumsOf(maps []Mapping, vmas []VMA) []Mapping {
	sums := make([]Mapping, len(vmas))
	next := 0
	for i := range vmas {
		sum := &sums[i]
		sum.VMA = vmas[i]
		for next < len(maps) && maps[next].Start < vmas[i].Start {
			next++
		}
		for ; next < len(maps) && maps[next].Start < vmas[i].End; next++ {
			m := &maps[next]
			sum.Rss += m.Rss
			sum.Anonymous += m.Anonymous
			sum.PrivateHugetlb += m.PrivateHugetlb
			sum.SharedHugetlb += m.SharedHugetlb
			sum.Swap += m.Swap
		}
	}
	return sums
}

// pagesByType splits the resident pages of a mapping that nobody looked at one
// by one.
func (m *Mapping) pagesByType() (pages [heat.NumTypes]uint64) {
	anon := min(m.Anonymous, m.Rss)
	pages[heat.Anon] = (anon + m.PrivateHugetlb) / heat.PageSize
	pages[m.typeByName()] += (m.Rss - anon) / heat.PageSize
	pages[heat.File] += m.SharedHugetlb / heat.PageSize
	return pages
}
