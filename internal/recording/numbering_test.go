package recording_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/recording"
)

// TestNumbering: numbers say which regions are the same and which is above which.
func TestNumbering(t *testing.T) {
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		var n recording.Numbering
		numbers := map[uint64]uint64{}
		at := rnd.Uint64N(1 << 26)
		for range 3000 {
			switch rnd.IntN(8) {
			case 0:
				at = rnd.Uint64N(1 << 26)
			case 1:
				at -= min(at, rnd.Uint64N(9))
			default:
				at += rnd.Uint64N(3)
			}
			got := n.Number(at)
			if was, ok := numbers[at]; ok && was != got {
				t.Fatalf("seed %d: region %d was %d and is %d", seed, at, was, got)
			}
			numbers[at] = got
		}
		var last, lastNumber uint64
		for i, region := range sortedKeys(numbers) {
			number := numbers[region]
			if i > 0 && number <= lastNumber && n.Ordered() {
				t.Fatalf("seed %d: region %d is %d and region %d is %d", seed, last, lastNumber, region, number)
			}
			last, lastNumber = region, number
		}
	}
}

// TestNumberingTellsNoDistance: what is numbered in a row stays in a row, and all
// gaps look the same.
func TestNumberingTellsNoDistance(t *testing.T) {
	number := func(regions ...uint64) (out []uint64) {
		var n recording.Numbering
		for _, r := range regions {
			out = append(out, n.Number(r))
		}
		return out
	}
	if diff := cmp.Diff(number(5, 6, 7, 10, 11, 900), number(77, 78, 79, 1<<30, 1<<30+1, 1<<40)); diff != "" {
		t.Errorf("numbers tell where regions are: %s", diff)
	}
	got := number(5, 6, 7, 900, 899)
	if got[1] != got[0]+1 || got[2] != got[1]+1 || got[4] != got[3]-1 {
		t.Errorf("adjacent regions are not: %v", got)
	}
}

func sortedKeys(m map[uint64]uint64) []uint64 {
	var keys []uint64
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// TestNumberingOfRealSpaces: what address spaces do leaves numbers in order.
func TestNumberingOfRealSpaces(t *testing.T) {
	const exe, heap, top = 0x55d0_0000_0000 / heat.RegionSize, 0x55d1_0000_0000 / heat.RegionSize, 0x7fff_0000_0000 / heat.RegionSize
	for name, next := range map[string]func(i uint64) []uint64{
		"a heap that grows":             func(i uint64) []uint64 { return []uint64{heap + i} },
		"a heap that grows by leaps":    func(i uint64) []uint64 { return []uint64{heap + 3*i} },
		"mappings made top down":        func(i uint64) []uint64 { return []uint64{top - i} },
		"with holes between them":       func(i uint64) []uint64 { return []uint64{top - 5*i} },
		"both":                          func(i uint64) []uint64 { return []uint64{heap + 2*i, top - 3*i} },
		"holes that are filled in turn": func(i uint64) []uint64 { return []uint64{heap + i/2 + i%2*1000} },
	} {
		t.Run(name, func(t *testing.T) {
			var n recording.Numbering
			n.Number(exe)
			n.Number(top + 10)
			for i := range uint64(10_000) {
				for _, region := range next(i) {
					n.Number(region)
				}
			}
			if !n.Ordered() {
				t.Error("numbers are not in order")
			}
		})
	}
}

// TestNumberingWithoutRoom: in an address space that has been filled in the worst
// order numbers are still each region's own, and spans lose nothing.
func TestNumberingWithoutRoom(t *testing.T) {
	var n recording.Numbering
	seen := map[uint64]bool{}
	lo, hi := uint64(0), uint64(1)<<40
	n.Number(lo)
	n.Number(hi)
	for hi-lo > 1 { // each between the last two
		mid := lo + (hi-lo)/2
		if lo = mid; mid%3 == 0 {
			lo, hi = 0, mid
		}
		k := n.Number(mid)
		if seen[k] || k >= 1<<43 {
			t.Fatalf("a region is %d", k)
		}
		seen[k] = true
		from, to := n.Span(mid*heat.RegionSize, (mid+1)*heat.RegionSize)
		if from > k*heat.RegionSize || to < (k+1)*heat.RegionSize {
			t.Fatalf("the span of region %d is [%#x, %#x)", k, from, to)
		}
	}
}

func TestSpan(t *testing.T) {
	const size = heat.RegionSize
	var n recording.Numbering
	a, b := n.Number(100), n.Number(200)
	for _, c := range []struct {
		name       string
		start, end uint64
		from, to   uint64
	}{
		{"within a region", 100*size + 5, 100*size + 9, a*size + 5, a*size + 9},
		{"all of a region", 100 * size, 101 * size, a * size, (a + 1) * size},
		{"from one into another", 100*size + 5, 200*size + 9, a*size + 5, b*size + 9},
		{"around both", 0, 900 * size, a * size, (b + 1) * size},
		{"up to a region", 0, 200 * size, a * size, (a + 1) * size},
		{"between", 101 * size, 200 * size, 0, 0},
		{"below", 0, 100 * size, 0, 0},
		{"above", 201 * size, 900 * size, 0, 0},
		{"nothing", 100 * size, 100 * size, 0, 0},
		{"backwards", 101 * size, 100 * size, 0, 0},
		{"everything", 0, ^uint64(0), a * size, (b + 1) * size},
	} {
		if from, to := n.Span(c.start, c.end); from != c.from || to != c.to {
			t.Errorf("%s: [%#x, %#x), want [%#x, %#x)", c.name, from, to, c.from, c.to)
		}
	}
	if from, to := (&recording.Numbering{}).Span(0, 9); from != to {
		t.Errorf("without any region: [%d, %d)", from, to)
	}
}

// TestPieces: the pieces of mappings have each page of them once, keep where in a
// region it is and, while numbers are in order, which is above which.
func TestPieces(t *testing.T) {
	ordered := 0
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		var n recording.Numbering
		numbers := map[uint64]uint64{}
		for range 30 { // windows
			at := rnd.Uint64N(1 << 12)
			var last uint64
			for range rnd.IntN(20) {
				at += rnd.Uint64N(3) * rnd.Uint64N(2000)
				start := at * heat.PageSize
				at += 1 + rnd.Uint64N(5000)
				end := at * heat.PageSize
				n.Cover(start, end)
				done := start
				for _, p := range n.Pieces(start, end) {
					if p.Skipped != done-start || p.Start%heat.RegionSize != done%heat.RegionSize || p.Start >= p.End {
						t.Fatalf("seed %d: after %#x of [%#x, %#x) comes %+v", seed, done-start, start, end, p)
					}
					if n.Ordered() && p.Start < last {
						t.Fatalf("seed %d: [%#x, %#x) is at %#x, below %#x", seed, start, end, p.Start, last)
					}
					last = p.End
					for a := p.Start; a < p.End; a = (a/heat.RegionSize + 1) * heat.RegionSize {
						region, number := (done+a-p.Start)/heat.RegionSize, a/heat.RegionSize
						if was, ok := numbers[region]; ok && was != number || n.Number(region) != number {
							t.Fatalf("seed %d: region %d is %d and was %d", seed, region, number, was)
						}
						numbers[region] = number
					}
					done += p.End - p.Start
				}
				if done != end {
					t.Fatalf("seed %d: [%#x, %#x) ends at %#x", seed, start, end, done)
				}
			}
			if rnd.IntN(3) == 0 {
				numbers[at] = n.Number(at)
			}
		}
		if n.Ordered() {
			ordered++
		}
		regions := map[uint64]uint64{}
		for region, number := range numbers {
			if other, twice := regions[number]; twice {
				t.Fatalf("seed %d: regions %d and %d are %d", seed, region, other, number)
			}
			regions[number] = region
		}
	}
	if ordered < 180 {
		t.Errorf("only %d of 200 address spaces keep their order", ordered)
	}
}
