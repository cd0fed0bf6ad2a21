package source

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/process"
)

const pg = heat.PageSize

// anon makes a mapping of memory without a file from page start on, with sizes
// in pages.
func anon(start, size, rss, referenced uint64) process.Mapping {
	return process.Mapping{VMA: process.VMA{Start: start * pg, End: (start + size) * pg, Perms: [4]byte{'r', 'w', '-', 'p'}},
		Rss: rss * pg, Referenced: referenced * pg, Anonymous: rss * pg, FileType: heat.File}
}

// file makes a shared mapping of a file in the same way.
func file(start, size, rss, referenced uint64) process.Mapping {
	m := anon(start, size, rss, referenced)
	m.Perms[3], m.Name, m.Inode, m.Anonymous = 's', "/srv/f", 9, 0
	return m
}

func with(m process.Mapping, f func(m *process.Mapping)) process.Mapping { f(&m); return m }

func TestJudge(t *testing.T) {
	type area struct {
		Node                       int
		Type                       heat.Type
		Hot, Cold, Unobserved, Rss uint64
	}
	for _, tc := range []struct {
		name        string
		before, now []process.Mapping
		judge       judge
		want        []area
		skips       []string
	}{
		{"what was referenced is hot, the rest cold",
			[]process.Mapping{anon(16, 32, 20, 0)}, []process.Mapping{anon(16, 32, 20, 5)}, judge{},
			[]area{{0, heat.Anon, 5, 15, 0, 20}}, nil},
		{"a mapping that is new is unobserved",
			nil, []process.Mapping{anon(16, 32, 20, 5), file(64, 8, 8, 0)}, judge{},
			[]area{{0, heat.Anon, 0, 0, 20, 20}, {0, heat.File, 0, 0, 8, 8}}, nil},
		{"another file at the same place is new",
			[]process.Mapping{anon(64, 8, 8, 0)}, []process.Mapping{file(64, 8, 8, 3)}, judge{},
			[]area{{0, heat.File, 0, 0, 8, 8}}, nil},
		{"anonymous memory grows by young pages",
			[]process.Mapping{anon(16, 32, 10, 0)}, []process.Mapping{anon(16, 32, 16, 9)}, judge{},
			[]area{{0, heat.Anon, 3, 7, 6, 16}}, nil},
		{"a file's pages may be mapped old",
			[]process.Mapping{file(16, 32, 10, 0)}, []process.Mapping{file(16, 32, 12, 5)}, judge{},
			[]area{{0, heat.File, 3, 5, 4, 12}}, nil},
		{"pages that swapoff brought back are old",
			[]process.Mapping{with(anon(16, 32, 10, 0), func(m *process.Mapping) { m.Swap = 4 * pg })}, []process.Mapping{anon(16, 32, 14, 5)}, judge{},
			[]area{{0, heat.Anon, 1, 5, 8, 14}}, nil},
		{"memory that shrinks stays known",
			[]process.Mapping{anon(16, 32, 10, 0)}, []process.Mapping{anon(16, 32, 6, 2)}, judge{},
			[]area{{0, heat.Anon, 2, 4, 0, 6}}, nil},
		{"a mapping cut in two may have had its pages in either part",
			[]process.Mapping{anon(16, 32, 20, 0)}, []process.Mapping{anon(16, 16, 10, 3), anon(32, 16, 10, 10)}, judge{},
			// At least 4 of the 20 were in each half; the rest may be new.
			[]area{{0, heat.Anon, 4, 4, 12, 20}}, nil},
		{"mappings that were joined are known together",
			[]process.Mapping{anon(16, 16, 10, 0), anon(32, 16, 10, 0)}, []process.Mapping{anon(16, 32, 20, 3)}, judge{},
			[]area{{0, heat.Anon, 3, 17, 0, 20}}, nil},
		{"a file's pages and copies of them cannot be told apart",
			[]process.Mapping{with(file(16, 32, 20, 0), func(m *process.Mapping) { m.Perms[3] = 'p' })},
			[]process.Mapping{with(file(16, 32, 20, 4), func(m *process.Mapping) { m.Perms[3] = 'p'; m.Anonymous = 5 * pg })}, judge{},
			// 16 are cold, so 11 of the 15 are the file's, and one of the 5 is a copy.
			[]area{{0, heat.Anon, 0, 1, 4, 5}, {0, heat.File, 0, 11, 4, 15}}, nil},
		{"hugetlb is unobserved",
			[]process.Mapping{file(512, 512, 0, 0)},
			[]process.Mapping{with(file(512, 512, 0, 0), func(m *process.Mapping) { m.PrivateHugetlb, m.SharedHugetlb = 512*pg, 1024*pg })}, judge{},
			[]area{{0, heat.Anon, 0, 0, 512, 512}, {0, heat.File, 0, 0, 1024, 1024}}, nil},
		{"special mappings are unobserved",
			[]process.Mapping{file(16, 8, 8, 0)}, []process.Mapping{with(file(16, 8, 8, 2), func(m *process.Mapping) { m.Special = true })}, judge{},
			[]area{{0, heat.File, 0, 0, 8, 8}}, nil},
		{"shmem and nodes",
			[]process.Mapping{file(16, 8, 8, 0), anon(64, 8, 4, 0)},
			[]process.Mapping{
				with(file(16, 8, 8, 2), func(m *process.Mapping) { m.FileType, m.Node = heat.Shmem, 1 }),
				with(anon(64, 8, 4, 1), func(m *process.Mapping) { m.Node = -1 }),
			}, judge{},
			[]area{{1, heat.Shmem, 2, 6, 0, 8}, {-1, heat.Anon, 1, 3, 0, 4}}, nil},
		{"reclaim may have cleared that much",
			[]process.Mapping{anon(16, 32, 20, 0), anon(64, 32, 20, 0), file(128, 8, 4, 0)},
			[]process.Mapping{anon(16, 32, 20, 15), anon(64, 32, 20, 5), file(128, 8, 4, 4)}, judge{lost: 8 * pg},
			[]area{{0, heat.Anon, 20, 12, 8, 40}, {0, heat.File, 4, 0, 0, 4}}, []string{skipReclaim}},
		{"reclaim may have cleared all",
			[]process.Mapping{anon(16, 32, 20, 0)}, []process.Mapping{anon(16, 32, 20, 15)}, judge{lost: math.MaxUint64},
			[]area{{0, heat.Anon, 15, 0, 5, 20}}, []string{skipReclaim}},
		{"DAMON matters for what others map",
			[]process.Mapping{anon(16, 32, 20, 0), file(64, 32, 20, 0)},
			[]process.Mapping{anon(16, 32, 20, 5), with(file(64, 32, 20, 5), func(m *process.Mapping) { m.SharedRss = 12 * pg })}, judge{walkers: true},
			[]area{{0, heat.Anon, 5, 15, 0, 20}, {0, heat.File, 5, 3, 12, 20}}, []string{skipWalker}},
		{"a guest's accesses are not seen",
			[]process.Mapping{anon(16, 32, 20, 0)}, []process.Mapping{anon(16, 32, 20, 5)}, judge{guest: true},
			[]area{{0, heat.Anon, 5, 0, 15, 20}}, []string{skipGuest}},
		{"numbers that cannot be",
			[]process.Mapping{anon(16, 32, 20, 0)}, []process.Mapping{with(anon(16, 32, 10, 50), func(m *process.Mapping) { m.Anonymous = 99 * pg; m.SharedRss = 99 * pg })},
			judge{walkers: true}, []area{{0, heat.Anon, 10, 0, 0, 10}}, nil},
		{"what is not selected is left out",
			[]process.Mapping{anon(16, 32, 20, 0), file(64, 32, 20, 0), anon(128, 8, 8, 0)},
			[]process.Mapping{anon(16, 32, 20, 5), file(64, 32, 20, 5), anon(128, 8, 8, 1)},
			judge{selection: heat.Selection{Names: []string{"/srv/*"}, Ranges: []heat.Range{{Start: 130 * pg, End: 131 * pg}}}},
			[]area{{0, heat.File, 5, 15, 0, 20}, {0, heat.Anon, 1, 7, 0, 8}}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			j := tc.judge
			j.before = remember(tc.before, nil)
			w := j.window(tc.now)
			var got []area
			for _, a := range w.Areas {
				got = append(got, area{a.Node, a.Type, a.Hot / pg, a.Cold / pg, a.Unobserved / pg, a.Resident / pg})
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("pages (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.skips, w.Skips); diff != "" {
				t.Errorf("skips (-want +got):\n%s", diff)
			}
		})
	}
}

func TestJudgeSaysWhatIsLeftOut(t *testing.T) {
	maps := []process.Mapping{
		anon(16, 32, 20, 5), file(64, 32, 20, 5), with(file(128, 32, 20, 5), func(m *process.Mapping) {
			m.Anonymous, m.SharedHugetlb, m.Node, m.FileType = 4*pg, 512*pg, 1, heat.Shmem
		}),
	}
	j := judge{selection: heat.Selection{Names: []string{"/none"}}}
	w := j.window(maps)
	want := []heat.Excluded{{Node: 0, Type: heat.Anon, Bytes: 20 * pg}, {Node: 0, Type: heat.File, Bytes: 20 * pg},
		{Node: 1, Type: heat.Anon, Bytes: 4 * pg}, {Node: 1, Type: heat.Shmem, Bytes: 16 * pg}, {Node: 1, Type: heat.File, Bytes: 512 * pg}}
	if diff := cmp.Diff(want, w.Excluded); diff != "" || len(w.Areas) > 0 {
		t.Errorf("areas %v, excluded (-want +got):\n%s", w.Areas, diff)
	}
}

func TestSwappedSharedMemoryIsNoProcesss(t *testing.T) {
	j := judge{}
	w := j.window([]process.Mapping{
		with(anon(16, 8, 0, 0), func(m *process.Mapping) { m.Swap = 3 * pg }),
		with(file(32, 8, 0, 0), func(m *process.Mapping) { m.Swap, m.FileType = 4*pg, heat.Shmem }),
	})
	if w.SwappedBytes != 3*pg {
		t.Errorf("%d bytes are swapped, want those of 3 pages", w.SwappedBytes)
	}
}

// A modelPage is a page of a process as the kernel knows it, and what is true.
type modelPage struct {
	young   bool // the accessed bit
	watched bool // it was there when the bits were last cleared
	touched bool // since then
}

// TestNothingIsWronglyCold lets a model process map, unmap, cut, join, touch,
// fault, free, be reclaimed and brought back from swap at random, and compares
// what the judge says with what is true of its pages: none that was touched is
// cold, nor one that is new, unless pages can be new and old at once and come in
// exchange for others.
func TestNothingIsWronglyCold(t *testing.T) {
	const space = 400 // pages
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		newIsOld := seed%2 == 1
		pages := map[uint64]*modelPage{} // resident, by number
		swap := map[uint64]bool{}
		owner := make([]int, space) // of each page of the address space; 0 is a hole, odd mappings are files
		cuts := map[uint64]bool{}   // where one mapping ends and its twin begins
		var before []process.Mapping
		next := 0
		list := func() []process.Mapping {
			var out []process.Mapping
			for p := range uint64(space) {
				id := owner[p]
				if id == 0 {
					continue
				}
				if n := len(out); n == 0 || p == 0 || owner[p-1] != id || cuts[p] {
					m := anon(p, 0, 0, 0)
					if id%2 == 1 {
						m = file(p, 0, 0, 0)
						m.Inode = uint64(id)
					}
					out = append(out, m)
				}
				m := &out[len(out)-1]
				m.End += pg
				if swap[p] {
					m.Swap += pg
				}
				if q := pages[p]; q != nil {
					m.Rss += pg
					if id%2 == 0 {
						m.Anonymous += pg
					}
					if q.young {
						m.Referenced += pg
					}
				}
			}
			return out
		}
		for round := range 6 {
			lost := uint64(0)
			for range 60 {
				from := rng.Uint64N(space)
				to := min(space, from+1+rng.Uint64N(60))
				switch op := rng.IntN(9); op {
				case 0: // map
					next++
					for p := from; p < to; p++ {
						owner[p] = next
						delete(pages, p)
						delete(swap, p)
					}
				case 1: // unmap
					if rng.IntN(3) > 0 {
						break
					}
					for p := from; p < to; p++ {
						owner[p] = 0
						delete(pages, p)
						delete(swap, p)
					}
				case 2:
					cuts[from] = true
				case 3:
					clear(cuts)
				case 4, 5: // touch, fault
					for p := from; p < to; p++ {
						if owner[p] == 0 {
							continue
						}
						if pages[p] == nil {
							pages[p] = &modelPage{}
						}
						pages[p].young, pages[p].touched = true, true
						delete(swap, p)
					}
				case 6: // fault-around may map a file's pages old, and swapoff anonymous ones
					if !newIsOld {
						break
					}
					for p := from; p < to; p++ {
						if owner[p] != 0 && pages[p] == nil && (owner[p]%2 == 1 || swap[p]) {
							pages[p] = &modelPage{}
							delete(swap, p)
						}
					}
				case 7: // reclaim looks at a page, and may take it
					if q := pages[from]; q != nil {
						q.young = false
						lost++
						if rng.IntN(2) == 0 {
							delete(pages, from)
							swap[from] = owner[from]%2 == 0
							if !swap[from] {
								delete(swap, from)
							}
						}
					}
				case 8: // free
					if rng.IntN(3) > 0 {
						break
					}
					for p := from; p < to; p++ {
						delete(pages, p)
					}
				}
			}
			now := list()
			j := judge{before: remember(before, nil), lost: lost * pg}
			w := j.window(slices.Clone(now))
			var resident, cold [heat.NumTypes]uint64
			for p, q := range pages {
				typ := heat.Anon
				if owner[p]%2 == 1 {
					typ = heat.File
				}
				resident[typ] += pg
				if !q.touched && (q.watched || newIsOld) {
					cold[typ] += pg
				}
			}
			for _, a := range w.Areas {
				if a.Resident != resident[a.Type] || a.Hot+a.Warm+a.Cold+a.Unobserved != a.Resident {
					t.Fatalf("seed %d round %d: %d pages are resident: %+v", seed, round, resident[a.Type]/pg, a)
				}
				if a.Cold > cold[a.Type] {
					t.Fatalf("seed %d round %d: %d pages of type %v read cold, %d are\nbefore %+v\nnow %+v", seed, round, a.Cold/pg, a.Type, cold[a.Type]/pg, before, now)
				}
			}
			for _, q := range pages {
				*q = modelPage{watched: true}
			}
			before = now
		}
	}
}
