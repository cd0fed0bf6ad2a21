package heat

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	mib = 1 << 20
	gib = 1 << 30
)

func TestFoldBands(t *testing.T) {
	const low, high = 0x5500_0000_0000, 0x7f00_0000_0000
	heap := Mapping{Start: low, End: low + 8*mib, Name: "[heap]"}
	lib := Mapping{Start: high, End: high + 4*mib, Name: "/lib/libc.so.6"}
	at := func(address uint64, accesses uint32, resident uint16) RegionHeat {
		return RegionHeat{Region: address / RegionSize, Accesses: accesses, Resident: resident}
	}
	for _, tc := range []struct {
		name     string
		mappings []Mapping
		regions  []RegionHeat
		n        int
		want     []Band
	}{
		{"the gap takes no room", []Mapping{heap, lib}, []RegionHeat{at(low+2*mib, 7, 512), at(high, 9, 1)}, 3, []Band{
			{Accesses: 7, Resident: 2 * mib, Start: low, Mapping: "[heap]"},
			{Start: low + 4*mib, Mapping: "[heap]"},
			{Accesses: 9, Resident: PageSize, Start: high, Mapping: "/lib/libc.so.6"},
		}},
		{"as many as there are regions", []Mapping{lib}, nil, 64, []Band{
			{Start: high, Mapping: "/lib/libc.so.6"}, {Start: high + 2*mib, Mapping: "/lib/libc.so.6"},
		}},
		{"two mappings in one region take room once", []Mapping{
			{Start: low, End: low + PageSize, Name: "small"},
			{Start: low + 2*PageSize, End: low + 2*mib + PageSize, Name: "[heap]"},
		}, []RegionHeat{at(low, 1, 3), at(low+2*mib, 2, 1)}, 64, []Band{
			{Accesses: 1, Resident: 3 * PageSize, Start: low, Mapping: "[heap]"},
			{Accesses: 2, Resident: PageSize, Start: low + 2*mib, Mapping: "[heap]"},
		}},
		{"a reservation and a giant take no room, and their heat is counted below", []Mapping{
			{Start: low - gib, End: low - gib/2, Name: "reserved", NoAccess: true}, heap,
			{Start: low + gib, End: low + gib + 2<<40, Name: "shadow"}, lib,
		}, []RegionHeat{at(low-gib, 1, 0), at(low, 2, 1), at(low+gib, 4, 2), at(high, 8, 0)}, 2, []Band{
			{Accesses: 3, Resident: PageSize, Start: low, Mapping: "[heap]"},
			{Accesses: 12, Resident: 2 * PageSize, Start: low + 6*mib, Mapping: "shadow"},
		}},
		{"the name is that of most resident bytes", []Mapping{heap, lib}, []RegionHeat{at(low, 1, 1), at(high, 0, 2)}, 1, []Band{
			{Accesses: 1, Resident: 3 * PageSize, Start: low, Mapping: "/lib/libc.so.6"},
		}},
		{"without a resident byte it is that of most mapped ones", []Mapping{heap, lib}, nil, 1, []Band{{Start: low, Mapping: "[heap]"}}},
		{"pieces of a name count together", []Mapping{
			{Start: low, End: low + PageSize, Name: "a"}, {Start: low + PageSize, End: low + 3*PageSize, Name: "b"},
			{Start: low + 3*PageSize, End: low + 5*PageSize, Name: "a"},
		}, nil, 1, []Band{{Start: low, Mapping: "a"}}},
		{"no mappings", nil, []RegionHeat{at(low, 1, 1)}, 64, nil},
		{"off", []Mapping{heap}, []RegionHeat{at(low, 1, 1)}, 0, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, foldBands(tc.mappings, tc.regions, tc.n)); diff != "" {
				t.Errorf("bands (-want +got):\n%s", diff)
			}
		})
	}
}

// addressSpace makes up the mappings of a process, and regions with pages: in
// them mostly, but a few are elsewhere.
func addressSpace(r *rand.Rand) (mappings []Mapping, regions []RegionHeat) {
	at := r.Uint64N(1 << 20)
	for range r.IntN(40) {
		at += r.Uint64N(8)
		if r.IntN(5) == 0 {
			at += r.Uint64N(1 << 30)
		}
		m := Mapping{Start: at * PageSize, Name: string('a' + rune(r.IntN(4))), NoAccess: r.IntN(6) == 0}
		at += 1 + r.Uint64N(3000)
		if r.IntN(20) == 0 {
			at += maxBandMapping / PageSize
		}
		m.End = at * PageSize
		mappings = append(mappings, m)
	}
	last := uint64(0)
	for i := range mappings {
		m := &mappings[i]
		for region := max(m.Start/RegionSize, last); region <= min((m.End-1)/RegionSize, m.Start/RegionSize+16); region++ {
			if r.IntN(3) > 0 {
				regions = append(regions, RegionHeat{Region: region, Accesses: r.Uint32N(3585), Resident: uint16(r.IntN(513))})
			}
			last = region + 1
		}
		if r.IntN(10) == 0 {
			regions = append(regions, RegionHeat{Region: last, Accesses: r.Uint32N(3585), Resident: 1})
			last++
		}
	}
	return mappings, regions
}

// checkBands holds foldBands to what it promises.
func checkBands(t *testing.T, mappings []Mapping, regions []RegionHeat, n int) {
	t.Helper()
	bands := foldBands(mappings, regions, n)
	mapped := map[uint64]bool{}
	for i := range mappings {
		if m := &mappings[i]; m.takesRoom() {
			for region := m.Start / RegionSize; region <= (m.End-1)/RegionSize; region++ {
				mapped[region] = true
			}
		}
	}
	if want := min(n, len(mapped)); len(bands) != want {
		t.Fatalf("%d bands of %d regions, want %d", len(bands), len(mapped), want)
	}
	if len(bands) == 0 {
		return
	}
	sizes := make([]int, len(bands))
	for region := range mapped {
		k := 0
		for k+1 < len(bands) && bands[k+1].Start/RegionSize <= region {
			k++
		}
		sizes[k]++
	}
	for k, size := range sizes {
		if size < len(mapped)/len(bands) || size > (len(mapped)-1)/len(bands)+1 {
			t.Errorf("band %d of %d has %d of %d regions", k, len(bands), size, len(mapped))
		}
		if k > 0 && bands[k].Start <= bands[k-1].Start || !mapped[bands[k].Start/RegionSize] {
			t.Errorf("band %d starts at %#x", k, bands[k].Start)
		}
	}
	var want, got Band
	for i := range regions {
		want.Accesses += uint64(regions[i].Accesses)
		want.Resident += uint64(regions[i].Resident) * PageSize
	}
	for k, b := range bands {
		got.Accesses += b.Accesses
		got.Resident += b.Resident
		if b.Resident == 0 && b.Mapping == "" {
			t.Errorf("band %d has no name", k)
		}
	}
	if got != want {
		t.Errorf("all bands have %+v, all regions %+v", got, want)
	}
	for k, b := range foldBands(mappings, nil, n) {
		if b.Start != bands[k].Start {
			t.Errorf("band %d starts at %#x, without any resident page at %#x", k, bands[k].Start, b.Start)
		}
	}
}

func TestFoldBandsOfAnything(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 1))
		mappings, regions := addressSpace(r)
		checkBands(t, mappings, regions, 1+r.IntN(100))
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// largeSpace is 1,000,000 regions in n mappings of the same size, with gaps.
func largeSpace(n uint64) (mappings []Mapping, regions []RegionHeat) {
	const all = 1_000_000
	at := uint64(0x7f00_0000_0000 / RegionSize)
	for i := range n {
		mappings = append(mappings, Mapping{Start: at * RegionSize, End: (at + all/n) * RegionSize, Name: string('a' + rune(i%26))})
		for range all / n {
			regions = append(regions, RegionHeat{Region: at, Accesses: 7, Resident: 512})
			at++
		}
		at += i % 3
	}
	return mappings, regions
}

func BenchmarkFoldBands(b *testing.B) {
	mappings, regions := largeSpace(1000)
	for b.Loop() {
		if foldBands(mappings, regions, 64)[63].Accesses == 0 {
			b.Fatal("no accesses")
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(regions)), "ns/region")
}
