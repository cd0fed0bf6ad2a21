package heat

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestBandsHaveWhatIsBetweenTheirStarts: whoever reads where bands start finds in
// each one what its regions have, and the name that fits.
func TestBandsHaveWhatIsBetweenTheirStarts(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 3))
		mappings, regions := addressSpace(r)
		got := foldBands(mappings, regions, 1+r.IntN(60))
		if diff := cmp.Diff(foldedByStart(got, mappings, regions), got); diff != "" {
			t.Fatalf("seed %d (-want +got):\n%s", seed, diff)
		}
	}
}

// foldedByStart takes bands' starts for what they say and folds everything anew,
// one page-table page after another.
func foldedByStart(bands []Band, mappings []Mapping, regions []RegionHeat) []Band {
	if bands == nil {
		return nil
	}
	want := make([]Band, len(bands))
	resident, mapped := make([]map[string]uint64, len(bands)), make([]map[string]uint64, len(bands))
	for k := range bands {
		want[k].Start = bands[k].Start
		resident[k], mapped[k] = map[string]uint64{}, map[string]uint64{}
	}
	band := func(region uint64) int {
		k := 0
		for k+1 < len(bands) && bands[k+1].Start <= region*RegionSize {
			k++
		}
		return k
	}
	for _, r := range regions {
		k, bytes := band(r.Region), uint64(r.Resident)*PageSize
		want[k].Accesses += uint64(r.Accesses)
		want[k].Resident += bytes
		resident[k][ownerOf(mappings, r.Region)] += bytes
	}
	for i := range mappings {
		if m := &mappings[i]; m.takesRoom() {
			for region := m.Start / RegionSize; region <= (m.End-1)/RegionSize; region++ {
				mapped[band(region)][m.Name] += overlap(m, region)
			}
		}
	}
	for k := range want {
		names := resident[k]
		if want[k].Resident == 0 {
			names = mapped[k]
		}
		var most uint64
		for name, bytes := range names {
			if bytes > most || bytes == most && bytes > 0 && name < want[k].Mapping {
				want[k].Mapping, most = name, bytes
			}
		}
	}
	return want
}

// ownerOf is the name of the mapping that has most of a region, of several the
// first; one that nobody may access comes after all others.
func ownerOf(mappings []Mapping, region uint64) string {
	for _, noAccess := range []bool{false, true} {
		best, most := "", uint64(0)
		for i := range mappings {
			if m := &mappings[i]; m.NoAccess == noAccess && overlap(m, region) > most {
				best, most = m.Name, overlap(m, region)
			}
		}
		if most > 0 {
			return best
		}
	}
	return UnknownMapping
}

// overlap is how many bytes of a region a mapping has.
func overlap(m *Mapping, region uint64) uint64 {
	from, to := max(m.Start, region*RegionSize), min(m.End, (region+1)*RegionSize)
	if from >= to {
		return 0
	}
	return to - from
}

func TestNamesOfBands(t *testing.T) {
	const at, tib = 0x5500_0000_0000, 1 << 40
	pages := func(name string, from, to uint64) Mapping {
		return Mapping{Start: at + from*PageSize, End: at + to*PageSize, Name: name}
	}
	noAccess := func(m Mapping) Mapping { m.NoAccess = true; return m }
	first := RegionHeat{Region: at / RegionSize, Resident: 1}
	for _, tc := range []struct {
		name     string
		mappings []Mapping
		regions  []RegionHeat
		n        int
		want     []string
	}{
		{"as many resident bytes: the first name", []Mapping{pages("b", 0, 512), pages("a", 512, 1024)},
			[]RegionHeat{first, {Region: first.Region + 1, Resident: 1}}, 1, []string{"a"}},
		{"as many mapped bytes: the first name", []Mapping{pages("b", 0, 9), pages("a", 9, 18)}, nil, 1, []string{"a"}},
		{"no more is counted of a mapping than it has of its first region", []Mapping{pages("b", 400, 700), pages("a", 700, 1010)}, nil, 1, []string{"a"}},
		{"nor of its last", []Mapping{pages("a", 0, 310), pages("b", 310, 610)}, nil, 1, []string{"a"}},
		{"a reservation has only what nobody else has", []Mapping{noAccess(pages("reserved", 0, 511)), pages("b", 511, 512)},
			[]RegionHeat{first}, 1, []string{"b"}},
		{"nobody else has anything", []Mapping{noAccess(pages("reserved", 0, 512)), pages("b", 512, 1024)},
			[]RegionHeat{first}, 1, []string{"reserved"}},
		{"1 TiB takes room", []Mapping{{Start: at, End: at + tib, Name: "large"}}, nil, 2, []string{"large", "large"}},
		{"a page more takes none", []Mapping{{Start: at, End: at + tib + PageSize, Name: "larger"}}, nil, 2, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			for _, b := range foldBands(tc.mappings, tc.regions, tc.n) {
				got = append(got, b.Mapping)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("names (-want +got):\n%s", diff)
			}
		})
	}
}
