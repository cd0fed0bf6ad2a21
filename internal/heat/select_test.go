package heat

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestNamed(t *testing.T) {
	for _, tc := range []struct {
		pattern, name string
		want          bool
	}{
		{"[heap]", "[heap]", true},
		{"[heap]", "h", false}, // brackets are no set
		{"/dev/shm/*", "/dev/shm/a", true},
		{"/dev/shm/*", "/dev/shm/a/b", true}, // * goes on over a slash
		{"/dev/shm/*", "/dev/shm", false},
		{"/dev/shm/a", "/dev/shm/a (deleted)", true},
		{"/dev/shm/a (deleted)", "/dev/shm/a (deleted)", true},
		{"/dev/shm/a (deleted)", "/dev/shm/a", false},
		{"/memfd:*", "/memfd:jit (deleted)", true},
		{"*.so", "/usr/lib/libssl.so", true},
		{"*.so", "/usr/lib/libssl.so.3", false},
		{"*lib*.so*", "/usr/lib/x/libssl.so.3", true},
		{"[anon*", "[anon]", true},
		{"[anon*", "[anon:malloc]", true},
		{"[anon]", "[anon:malloc]", false},
		{"[stack]", "[stack] (deleted)", true},
		{"?", "é", true},
		{"??", "é", false},
		{"/a?c", "/a\xffc", true},
		{`/a\*`, "/a*", true},
		{`/a\*`, "/ab", false},
		{`/a\\b`, `/a\b`, true},
		{`\[heap\]`, "[heap]", true},
		{"*", "", true},
		{"a*b*c", "aXbYbZc", true},
		{"a*b*c", "aXbYbZ", false},
	} {
		s := Selection{Names: []string{tc.pattern}}
		if got := s.Named(tc.name); got != tc.want {
			t.Errorf("%q matches %q: %v, want %v", tc.pattern, tc.name, got, tc.want)
		}
	}
}

func TestCheckPattern(t *testing.T) {
	for pattern, ok := range map[string]bool{
		"[heap]": true, `/a\\`: true, `/a\b`: true, "": false, `/a\`: false, `/a\\\`: false, "a\nb": false, "a\x00": false,
	} {
		if err := CheckPattern(pattern); (err == nil) != ok {
			t.Errorf("%q: %v", pattern, err)
		}
	}
}

func pagesOf(from, to int) (b Bitmap) {
	b.SetRange(from, to)
	return b
}

func TestSelect(t *testing.T) {
	const base = 1 << 30 // region 512
	mappings := []Mapping{
		{Start: base, End: base + 10*PageSize, Name: "[heap]"},
		{Start: base + 10*PageSize, End: base + 20*PageSize, Offset: PageSize, Name: "/lib/a.so"},
		{Start: base + 100*PageSize, End: base + 3*mib, Name: AnonMapping},
		{Start: 1 << 40, End: 1<<40 + 1<<37, Name: "/shadow"},
	}
	residency := func() *Residency {
		return &Residency{
			Mappings: mappings, SwappedPages: 3,
			Parts: []ResidentPart{
				{Region: 512, Node: 0, Type: Anon, Pages: pagesOf(0, 12)},
				{Region: 512, Node: 1, Type: File, Pages: pagesOf(12, 20)},
				{Region: 512, Node: 1, Type: Anon, Pages: pagesOf(500, 512)},
				{Region: 513, Node: 1, Type: Anon, Pages: pagesOf(0, 1)},
			},
			Unscanned: []UnscannedPages{{Node: -1, Type: File, Mapping: 1 << 40, Pages: 5}},
		}
	}
	for _, tc := range []struct {
		name string
		s    Selection
		want Residency
	}{
		{"all", Selection{}, *residency()},
		{"by name, to the page", Selection{Names: []string{"[heap]"}}, Residency{
			Mappings: mappings[:1], SwappedPages: 3, Unscanned: []UnscannedPages{},
			Parts:    []ResidentPart{{Region: 512, Node: 0, Type: Anon, Pages: pagesOf(0, 10)}},
			Excluded: []Excluded{{-1, File, 5 * PageSize}, {0, Anon, 2 * PageSize}, {1, File, 8 * PageSize}, {1, Anon, 13 * PageSize}},
		}},
		{"by range, over the end of a mapping", Selection{Ranges: []Range{{base + 15*PageSize, base + 501*PageSize}, {base, base + PageSize}}}, Residency{
			Mappings: []Mapping{
				{Start: base, End: base + PageSize, Name: "[heap]"},
				{Start: base + 15*PageSize, End: base + 20*PageSize, Offset: 6 * PageSize, Name: "/lib/a.so"},
				{Start: base + 100*PageSize, End: base + 501*PageSize, Name: AnonMapping},
			},
			SwappedPages: 3, Unscanned: []UnscannedPages{},
			Parts: []ResidentPart{
				{Region: 512, Node: 0, Type: Anon, Pages: pagesOf(0, 1)},
				{Region: 512, Node: 1, Type: File, Pages: pagesOf(15, 20)},
				{Region: 512, Node: 1, Type: Anon, Pages: pagesOf(500, 501)},
			},
			Excluded: []Excluded{{-1, File, 5 * PageSize}, {0, Anon, 11 * PageSize}, {1, File, 3 * PageSize}, {1, Anon, 12 * PageSize}},
		}},
		{"what was only counted, by its mapping", Selection{Names: []string{"/sha*"}, Ranges: []Range{{0, PageSize}}}, Residency{
			Mappings: mappings[3:], SwappedPages: 3, Unscanned: residency().Unscanned, Parts: []ResidentPart{},
			Excluded: []Excluded{{0, Anon, 12 * PageSize}, {1, File, 8 * PageSize}, {1, Anon, 13 * PageSize}},
		}},
		{"a range and a name that overlap", Selection{Names: []string{"[heap]", "/*"}, Ranges: []Range{{base, 1 << 41}, {base, base + PageSize}}}, *residency()},
		{"nothing", Selection{Names: []string{"/none"}}, Residency{
			SwappedPages: 3, Unscanned: []UnscannedPages{}, Parts: []ResidentPart{},
			Excluded: []Excluded{{-1, File, 5 * PageSize}, {0, Anon, 12 * PageSize}, {1, File, 8 * PageSize}, {1, Anon, 13 * PageSize}},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			res := residency()
			res.Select(&tc.s)
			if diff := cmp.Diff(&tc.want, res); diff != "" {
				t.Errorf("residency (-want +got):\n%s", diff)
			}
		})
	}
}

// TestSelectOfAnything: no page is in both, and none in neither.
func TestSelectOfAnything(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 2))
		mappings, regions := addressSpace(r)
		res := &Residency{Mappings: mappings}
		for i := range regions {
			part := ResidentPart{Region: regions[i].Region, Node: int16(r.IntN(2)), Type: Type(r.IntN(int(NumTypes)))}
			for w := range part.Pages {
				part.Pages[w] = r.Uint64()
			}
			res.Parts = append(res.Parts, part)
		}
		s := Selection{Names: []string{"a"}}
		for range r.IntN(3) {
			start := r.Uint64N(1<<20) * PageSize
			s.Ranges = append(s.Ranges, Range{start, start + (1+r.Uint64N(1<<20))*PageSize})
		}
		wanted := func(address uint64) bool {
			for i := range mappings {
				if m := &mappings[i]; m.Start <= address && address < m.End {
					if m.Name == "a" {
						return true
					}
					for _, in := range s.Ranges {
						if in.Start <= address && address < in.End {
							return true
						}
					}
				}
			}
			return false
		}
		type page struct {
			address uint64
			node    int16
			typ     Type
		}
		want, excluded := map[page]bool{}, map[areaKey]uint64{}
		pages := func(res *Residency, f func(page)) {
			for i := range res.Parts {
				p := &res.Parts[i]
				for k := range PagesPerRegion {
					if p.Pages.Has(k) {
						f(page{p.Region*RegionSize + uint64(k)*PageSize, p.Node, p.Type})
					}
				}
			}
		}
		pages(res, func(p page) {
			if wanted(p.address) {
				want[p] = true
			} else {
				excluded[areaKey{p.node, p.typ}] += PageSize
			}
		})
		res.Select(&s)
		got, left := map[page]bool{}, map[areaKey]uint64{}
		pages(res, func(p page) { got[p] = true })
		for _, x := range res.Excluded {
			left[areaKey{int16(x.Node), x.Type}] += x.Bytes
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(page{})); diff != "" {
			t.Fatalf("seed %d: pages (-want +got):\n%s", seed, diff)
		}
		if diff := cmp.Diff(excluded, left, cmp.AllowUnexported(areaKey{})); diff != "" {
			t.Fatalf("seed %d: excluded (-want +got):\n%s", seed, diff)
		}
	}
}

// TestEndWindowAfterSelect: what a selection leaves out is in no class, and said.
func TestEndWindowAfterSelect(t *testing.T) {
	tr, err := NewTracker(Params{PassesPerWindow: 1, HotFraction: 1})
	if err != nil {
		t.Fatal(err)
	}
	id := ProcessID{TGID: 1}
	residency := func() map[int]*Residency {
		res := &Residency{
			Mappings: []Mapping{{Start: RegionSize, End: RegionSize + 4*PageSize, Name: "[heap]"}, {Start: RegionSize + 4*PageSize, End: RegionSize + 9*PageSize, Name: AnonMapping}},
			Parts:    []ResidentPart{{Region: 1, Type: Anon, Pages: pagesOf(0, 9)}},
		}
		res.Select(&Selection{Names: []string{"[heap]"}})
		return map[int]*Residency{1: res}
	}
	var series []Series
	for range 3 {
		tr.Begin(time.Time{}, []Process{{ProcessID: id}}, nil)
		young := pagesOf(3, 7)
		tr.Fold(1, 1, &young)
		tr.Walked(1, 0)
		tr.EndPass(time.Time{}, 1, false)
		if series, err = tr.EndWindow(residency(), Observers{}); err != nil {
			t.Fatal(err)
		}
	}
	if len(series) != 1 || len(series[0].Areas) != 1 {
		t.Fatalf("series %+v", series)
	}
	a := series[0].Areas[0]
	if a.Resident != 4*PageSize || a.Hot != PageSize || a.Cold != 3*PageSize || a.Accesses.Sum != 2 {
		t.Errorf("area %+v", a)
	}
	if diff := cmp.Diff([]Excluded{{0, Anon, 5 * PageSize}}, series[0].Excluded); diff != "" {
		t.Errorf("excluded (-want +got):\n%s", diff)
	}
}

func BenchmarkSelect(b *testing.B) {
	mappings, regions := largeSpace(1000)
	parts := make([]ResidentPart, len(regions))
	for i := range regions {
		parts[i] = ResidentPart{Region: regions[i].Region, Pages: pagesOf(0, PagesPerRegion)}
	}
	s := &Selection{Names: []string{"[a-c]", "b", "*k"}}
	res := &Residency{Parts: make([]ResidentPart, len(parts))}
	for b.Loop() {
		res.Parts, res.Mappings = append(res.Parts[:0], parts...), mappings
		if res.Select(s); len(res.Parts) == 0 {
			b.Fatal("nothing is left")
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(regions)), "ns/region")
}
