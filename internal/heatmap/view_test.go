package heatmap

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"mglru_exporter/internal/api"
	"mglru_exporter/internal/heat"
)

var epoch = time.Unix(1_700_000_000, 0).UTC()

func id(pid int) heat.Process {
	return heat.Process{ProcessID: heat.ProcessID{TGID: pid, Start: 1, Image: 2}, Comm: "mill"}
}

// window is a window of pid 42, the nth.
func nth(n int, regions ...heat.RegionHeat) *heat.ProcessWindow {
	return &heat.ProcessWindow{Process: id(42), End: epoch.Add(time.Duration(n) * time.Minute), Passes: 4, Regions: regions}
}

// keep adds windows that end at the same time, and commits them.
func keep(h *History, memcg string, windows ...*heat.ProcessWindow) {
	m := &heat.MemcgSnapshot{Path: memcg, WindowEnd: windows[0].End}
	for _, w := range windows {
		m.Series = append(m.Series, heat.Series{PID: w.TGID})
		h.Add(memcg, w)
	}
	h.Commit(&heat.Snapshot{Memcgs: []*heat.MemcgSnapshot{m}}, memcg)
}

// random makes windows with all sorts of regions: with and without holes, like
// each other and not.
func random(r *rand.Rand, windows, regions int) []*heat.ProcessWindow {
	var out []*heat.ProcessWindow
	for n := range windows {
		w := nth(n)
		at := uint64(r.IntN(20))
		for range r.IntN(regions + 1) {
			at += 1 + uint64(r.IntN(3)/2*r.IntN(4))
			w.Regions = append(w.Regions, randomRegion(r, at))
		}
		for i := 1; i < len(w.Regions); i++ {
			if r.IntN(2) == 0 {
				at := w.Regions[i].Region
				w.Regions[i] = w.Regions[i-1]
				w.Regions[i].Region = at
			}
		}
		w.Mappings = []heat.Mapping{
			{Start: 0, End: 10 * heat.RegionSize, Name: "/bin/mill"},
			{Start: 10 * heat.RegionSize, End: 1000 * heat.RegionSize, Name: "[heap]"},
		}
		out = append(out, w)
	}
	return out
}

func randomRegion(r *rand.Rand, at uint64) heat.RegionHeat {
	h := heat.RegionHeat{Region: at, Resident: heat.PagesPerRegion, Node: int16(r.IntN(4) - 1)}
	if r.IntN(2) == 0 {
		h.Resident = uint16(1 + r.IntN(heat.PagesPerRegion))
	}
	split := func(n uint16) uint16 {
		switch r.IntN(4) {
		case 0:
			return 0
		case 1:
			return n
		}
		return uint16(r.IntN(int(n) + 1))
	}
	h.Anon = split(h.Resident)
	h.Shmem = split(h.Resident - h.Anon)
	h.Hot = split(h.Resident)
	h.Warm = split(h.Resident - h.Hot)
	h.Cold = split(h.Resident - h.Hot - h.Warm)
	h.Accesses = uint32(h.Hot)*3 + uint32(h.Warm)
	h.Idle = time.Duration(r.IntN(3)*r.IntN(1e6)) * time.Millisecond
	return h
}

func TestCellsAreKeptAsTheyAre(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 0))
		for _, w := range random(r, 1, 300) {
			cells := cellReader{left: appendCells(nil, w.Regions)}
			var got, want []cell
			for n := cells.next(); n > 0; n = cells.next() {
				for range n {
					got = append(got, cells.cell)
				}
			}
			for i := range w.Regions {
				want = append(want, newCell(&w.Regions[i]))
			}
			if !slices.Equal(want, got) {
				t.Fatalf("seed %d: %+v became %+v", seed, want, got)
			}
			var regions []uint64
			for r := range runs(appendRuns(nil, w.Regions)) {
				for i := r.first; i <= r.last; i++ {
					regions = append(regions, i)
				}
			}
			for i := range w.Regions {
				if len(regions) != len(w.Regions) || regions[i] != w.Regions[i].Region {
					t.Fatalf("seed %d: regions became %v", seed, regions)
				}
			}
		}
	}
}

// folded is what a view should be, made in the plainest way.
func folded(windows []*heat.ProcessWindow, q Query) (positions int, columns []api.Column) {
	numbers := map[uint64]bool{}
	for _, w := range windows {
		for _, r := range w.Regions {
			numbers[r.Region] = true
		}
	}
	var sorted []uint64
	for n := range numbers {
		sorted = append(sorted, n)
	}
	slices.Sort(sorted)
	to := len(sorted)
	if q.To > 0 {
		to = min(to, q.To)
	}
	from := min(q.From, to)
	perRow := max(1, (to-from+q.Rows-1)/q.Rows)
	for _, w := range windows {
		c := api.Column{End: w.End, Passes: w.Passes}
		for at := from; at < to; at += perRow {
			rowRegions := sorted[at:min(at+perRow, to)]
			var accesses uint64
			var pages, anon, shmem, hot, warm, cold uint32
			nodes := map[int]uint32{}
			idle := time.Duration(-1)
			for _, r := range w.Regions {
				if !slices.Contains(rowRegions, r.Region) {
					continue
				}
				accesses += uint64(r.Accesses)
				pages += uint32(r.Resident)
				anon, shmem = anon+uint32(r.Anon), shmem+uint32(r.Shmem)
				hot, warm, cold = hot+uint32(r.Hot), warm+uint32(r.Warm), cold+uint32(r.Cold)
				nodes[int(r.Node)] += uint32(r.Resident)
				if idle < 0 || r.Idle < idle {
					idle = r.Idle
				}
			}
			node := -1
			for n, p := range nodes {
				if p > nodes[node] || p == nodes[node] && n < node {
					node = n
				}
			}
			c.Accesses = append(c.Accesses, accesses)
			c.Pages, c.Anon, c.Shmem = append(c.Pages, pages), append(c.Anon, anon), append(c.Shmem, shmem)
			c.Hot, c.Warm, c.Cold = append(c.Hot, hot), append(c.Warm, warm), append(c.Cold, cold)
			c.Node = append(c.Node, node)
			c.Idle = append(c.Idle, float64(max(idle, 0)/idleUnit)/10)
		}
		columns = append(columns, c)
	}
	return len(sorted), columns
}

// clone copies what is valid only until the next column.
func clone(c *api.Column) api.Column {
	d := *c
	d.Accesses, d.Pages, d.Anon, d.Shmem = slices.Clone(c.Accesses), slices.Clone(c.Pages), slices.Clone(c.Anon), slices.Clone(c.Shmem)
	d.Hot, d.Warm, d.Cold = slices.Clone(c.Hot), slices.Clone(c.Warm), slices.Clone(c.Cold)
	d.Node, d.Idle = slices.Clone(c.Node), slices.Clone(c.Idle)
	return d
}

func TestViewsAreWhatAPlainFoldMakes(t *testing.T) {
	empty := gocmp.Transformer("nil", func(s []uint32) []uint32 { return append([]uint32{}, s...) })
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		windows := random(r, 1+r.IntN(8), 1+r.IntN(60))
		q := Query{Rows: 1 + r.IntN(70), Windows: 1 + r.IntN(10)}
		if r.IntN(2) == 0 {
			q.From = r.IntN(40)
			q.To = q.From + 1 + r.IntN(40)
		}
		h := New(1 << 20)
		for _, w := range windows {
			keep(h, "/a", w)
		}
		v, ok := h.View("/a", 42, q)
		if !ok {
			t.Fatalf("seed %d: nothing is kept", seed)
		}
		positions, want := folded(windows[max(0, len(windows)-q.Windows):], q)
		var got []api.Column
		for c := range v.Columns() {
			got = append(got, clone(c))
		}
		if v.Regions != positions || len(v.Rows) > q.Rows {
			t.Fatalf("seed %d: %d positions in %d rows, want %d in at most %d", seed, v.Regions, len(v.Rows), positions, q.Rows)
		}
		if len(v.Rows) == 0 {
			continue
		}
		if diff := gocmp.Diff(want, got, empty); diff != "" {
			t.Fatalf("seed %d, %+v: columns (-want +got):\n%s", seed, q, diff)
		}
		at := v.From
		for _, row := range v.Rows {
			if row.Position != at || row.Regions < 1 || row.Regions > v.perRow {
				t.Fatalf("seed %d: row %+v does not follow %d", seed, row, at)
			}
			at += row.Regions
		}
		if at != v.To {
			t.Fatalf("seed %d: rows end at %d, want %d", seed, at, v.To)
		}
	}
}

func cold(region uint64) heat.RegionHeat {
	return heat.RegionHeat{Region: region, Resident: 512, Anon: 512, Cold: 512}
}

func TestRowsSayWhatTheyAreMappedTo(t *testing.T) {
	const mib2 = heat.RegionSize
	h := New(1 << 20)
	first := nth(0, cold(10), cold(11), cold(12), cold(40), cold(50))
	first.Mappings = []heat.Mapping{
		{Start: 10*mib2 + 0x1000, End: 11*mib2 + 0x3000, Name: "/bin/mill"}, // most of 10, a little of 11
		{Start: 11*mib2 + 0x3000, End: 13 * mib2, Name: "[heap]"},
		{Start: 40 * mib2, End: 40*mib2 + 0x2000, Name: "[anon]"},
		{Start: 40*mib2 + 0x2000, End: 41 * mib2, Name: "[anon]", NoAccess: true},
		{Start: 50 * mib2, End: 50*mib2 + 0x2000, Name: "[anon]"},
		{Start: 50*mib2 + 0x2000, End: 51 * mib2, Name: "reserve", NoAccess: true},
	}
	keep(h, "/a", first)
	// 40 is another's now, and 12 is gone; what is known of it stays.
	second := nth(1, cold(10), cold(11), cold(40), cold(60))
	second.Mappings = []heat.Mapping{
		{Start: 10*mib2 + 0x1000, End: 11*mib2 + 0x3000, Name: "/bin/mill"},
		{Start: 11*mib2 + 0x3000, End: 12 * mib2, Name: "[heap]"},
		{Start: 38 * mib2, End: 41 * mib2, Name: "/lib\xff"},
	}
	keep(h, "/a", second)

	v, _ := h.View("/a", 42, Query{Rows: 10, Windows: 10, Addresses: true})
	want := []api.Row{
		{Position: 0, Regions: 1, Mapping: "/bin/mill", Mappings: 1, Address: "0x1400000"},
		{Position: 1, Regions: 1, Mapping: "[heap]", Mappings: 1, Address: "0x1600000"},
		{Position: 2, Regions: 1, Mapping: "[heap]", Offset: mib2, Mappings: 1, Address: "0x1800000"},
		{Position: 3, Regions: 1, Mapping: "/lib\uFFFDff", Offset: 2 * mib2, Mappings: 1, Address: "0x5000000"},
		{Position: 4, Regions: 1, Mapping: "[anon]", Offset: mib2, Mappings: 1, Address: "0x6400000"},
		{Position: 5, Regions: 1, Address: "0x7800000"}, // in no mapping
	}
	if diff := gocmp.Diff(want, v.Rows); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}

	v, _ = h.View("/a", 42, Query{Rows: 2, Windows: 1})
	want = []api.Row{
		{Position: 0, Regions: 2, Mapping: "/bin/mill", Mappings: 2},
		{Position: 2, Regions: 2, Mapping: "/lib\uFFFDff", Offset: 2 * mib2, Mappings: 1},
	}
	if diff := gocmp.Diff(want, v.Rows); diff != "" {
		t.Errorf("two rows of the last window (-want +got):\n%s", diff)
	}
}

// TestOffsetsDoNotTellAddresses moves a process's mappings of one name apart:
// nothing that is told changes.
func TestOffsetsDoNotTellAddresses(t *testing.T) {
	rows := func(base, gap uint64) []api.Row {
		h := New(1 << 20)
		w := nth(0, cold(base/heat.RegionSize), cold((base+gap)/heat.RegionSize), cold((base+gap)/heat.RegionSize+1))
		w.Mappings = []heat.Mapping{
			{Start: base, End: base + 0x5000, Name: heat.AnonMapping},
			{Start: base + gap, End: base + gap + heat.RegionSize, Name: heat.AnonMapping},
		}
		keep(h, "/a", w)
		v, _ := h.View("/a", 42, Query{Rows: 10, Windows: 1})
		return v.Rows
	}
	near, far := rows(0x501000, 0x600000), rows(0x7f1234501000, 0x1f00600000)
	if diff := gocmp.Diff(near, far); diff != "" {
		t.Errorf("rows (-near +far):\n%s", diff)
	}
	if got := []uint64{near[0].Offset, near[1].Offset, near[2].Offset}; got[1] != heat.RegionSize || got[0] != 0 {
		t.Errorf("offsets %v, want 0 and one region for the second mapping", got)
	}
}
