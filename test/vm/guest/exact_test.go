//go:build guest

package guest

import (
	"fmt"
	"maps"
	"math"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"

	"mglru_exporter/bpf"
	"mglru_exporter/internal/heat"
)

const mib = 1 << 20

// exactAreas are one of everything, on both nodes. Sizes are odd and starts
// skewed, so that areas share neither regions nor their edges with them.
func exactAreas() []Area {
	return []Area{
		{Name: "anon0", Kind: Anon, Size: 9*mib + 12288, Skew: 5, Node: 0},
		{Name: "anon1", Kind: Anon, Size: 8 * mib, Skew: 100, Node: 1},
		{Name: "thp0", Kind: THP, Size: 8 * mib, Node: 0},
		{Name: "thp1", Kind: THP, Size: 8 * mib, Node: 1},
		{Name: "file0", Kind: File, Size: 6 * mib, Node: 0},
		{Name: "file1", Kind: File, Size: 6*mib + 4096, Node: 1, Skew: 3},
		{Name: "private1", Kind: FilePrivate, Size: 4 * mib, Node: 1},
		{Name: "cow0", Kind: FilePrivate, Size: 4 * mib, Node: 0, Write: true},
		{Name: "shmem0", Kind: Shmem, Size: 6 * mib, Node: 0},
		{Name: "shmem1", Kind: Shmem, Size: 6 * mib, Node: 1, Skew: 1},
		{Name: "memfd1", Kind: Memfd, Size: 4 * mib, Node: 1},
		{Name: "sharedanon0", Kind: SharedAnon, Size: 4 * mib, Node: 0},
		{Name: "locked0", Kind: Anon, Size: 4 * mib, Node: 0, Locked: true},
		{Name: "random1", Kind: Anon, Size: 4 * mib, Node: 1, Advice: "random"},
		{Name: "sequential0", Kind: File, Size: 4 * mib, Node: 0, Advice: "sequential"},
		{Name: "hugetlb0", Kind: Hugetlb, Size: 4 * mib, Node: 0},
	}
}

// touches are how areas are touched before each pass. They turn from area to
// area and pass to pass, so that each area meets each within five windows.
var touches = []struct {
	name string
	do   func(testing.TB, *Mapping)
}{
	{"all", func(t testing.TB, m *Mapping) { m.TouchAll(t) }},
	{"none", func(testing.TB, *Mapping) {}},
	{"every third", func(t testing.TB, m *Mapping) { m.TouchEvery(t, 3) }},
	{"one a region", func(t testing.TB, m *Mapping) { m.TouchEvery(t, heat.PagesPerRegion) }},
	{"all but the last by writing", func(t testing.TB, m *Mapping) { m.WriteTo(t, 0, 1, m.NumPages()-1) }},
	{"none again", func(testing.TB, *Mapping) {}},
	{"first half", func(t testing.TB, m *Mapping) { m.Touch(t, 0, 1, m.NumPages()/2) }},
}

// TestExact compares each page's class with the ledger, over windows in which
// everything is touched in every way.
func TestExact(t *testing.T) {
	if sourceName() != "hooks" {
		testExact(t, bpf.HooksOptions{})
		return
	}
	for _, mode := range []struct {
		name    string
		perPage bool
	}{{"region probe", false}, {"per-page hooks", true}} {
		t.Run(mode.name, func(t *testing.T) { testExact(t, bpf.HooksOptions{PerPage: mode.perPage}) })
	}
}

func testExact(t *testing.T, opts bpf.HooksOptions) {
	const memcg = "/test/exact"
	w := StartWorkload(t, memcg)
	for _, a := range exactAreas() {
		w.Map(t, a)
	}
	r := newRig(t, opts, "", memcg)
	r.mustPass(t, memcg) // wipes the slate
	w.EndPass()
	for _, a := range areas(t, r.memcg(t, memcg), w.PID) {
		if a.Hot+a.Warm+a.Cold != 0 || a.Unobserved == 0 {
			t.Errorf("node %d %v after the first pass: hot %d warm %d cold %d unobserved %d, want all of it unobserved",
				a.Node, a.Type, a.Hot, a.Warm, a.Cold, a.Unobserved)
		}
	}

	const windows = 6
	passes := r.cfg.Aging.PassesPerWindow
	for window := range windows {
		for pass := range passes {
			for i, m := range w.Mappings {
				if m.Kind == FilePrivate && !m.Write { // writing would change its type
					m.TouchEvery(t, 1+(window*passes+pass+i)%4)
					continue
				}
				touches[(window*passes+pass*(1+i%3)+i)%len(touches)].do(t, m)
			}
			r.mustPass(t, memcg)
			w.EndPass()
		}
		for _, m := range w.Mappings {
			m.Check(t)
		}
		checkWindow(t, r, w, memcg, fmt.Sprintf("window %d", window+1))
	}
	m := r.memcg(t, memcg)
	if m.Passes.Lost != 0 {
		t.Errorf("%d records lost", m.Passes.Lost)
	}
	for reason, n := range m.Passes.Failures {
		if n != 0 {
			t.Errorf("%d passes failed: %s", n, reason)
		}
	}
	t.Logf("records %d, skips %v", m.Passes.Records, m.Passes.Skips)
	name := r.src.Info().Name
	if opts.PerPage {
		name += ",per-page"
	}
	r.report(t, name)
}

// checkWindow compares the window that just ended with the ledger: each page of
// each mapping, and the bytes of each node and type.
func checkWindow(t *testing.T, r *rig, w *Workload, memcg, name string) {
	t.Helper()
	passes, hot := r.cfg.Aging.PassesPerWindow, r.cfg.Heat.HotFraction
	want := map[key]*tally{}
	at := func(m map[key]*tally, k key) *tally {
		if m[k] == nil {
			m[k] = &tally{}
		}
		return m[k]
	}
	// rest is the process's pages outside of all mappings: its text, stack and
	// data, of which the ledger knows nothing.
	rest := map[uint64]heat.Bitmap{}
	for _, p := range r.parts[w.PID] {
		b := rest[p.Region]
		b.Or(&p.Pages)
		rest[p.Region] = b
	}
	var b strings.Builder
	for _, m := range w.Mappings {
		classes := m.Want(passes, hot)
		k := key{m.Node, m.Kind.Type()}
		if m.Kind == FilePrivate && m.Write {
			k.typ = heat.Anon
		}
		var wanted, got tally
		wrong, regions := 0, 0
		wantAccesses := 0
		for _, n := range classes.Accesses {
			wantAccesses += n
		}
		m.Regions(allPages(m), func(region uint64, inside heat.Bitmap) {
			var wh, ww, wc heat.Bitmap
			m.Regions(classes.Hot, pick(region, &wh))
			m.Regions(classes.Warm, pick(region, &ww))
			m.Regions(classes.Cold, pick(region, &wc))
			wanted.add(&inside, &wh, &ww, &wc)
			var seen, gh, gw, gc heat.Bitmap
			for _, p := range r.parts[w.PID] {
				if p.Region != region {
					continue
				}
				pages := and(&p.Pages, &inside)
				if pages.Count() == 0 {
					continue
				}
				if got := (key{int(p.Node), p.Type}); got != k {
					t.Errorf("%s %s region %#x: %d pages on node %d as %v, want node %d %v",
						name, m.Name, region*heat.RegionSize, pages.Count(), got.node, got.typ, k.node, k.typ)
				}
				seen.Or(&pages)
				h, wm, c := and(&p.Hot, &inside), and(&p.Warm, &inside), and(&p.Cold, &inside)
				gh.Or(&h)
				gw.Or(&wm)
				gc.Or(&c)
			}
			got.add(&seen, &gh, &gw, &gc)
			regions++
			if seen != inside || gh != wh || gw != ww || gc != wc {
				wrong++
			}
			left := rest[region]
			for i := range left {
				left[i] &^= inside[i]
			}
			rest[region] = left
		})
		r.note(m, regions, wrong)
		fmt.Fprintf(&b, "%-12s want %v\n%-12s got  %v\n", m.Name, wanted, "", got)
		if wrong > 0 || wanted != got {
			t.Errorf("%s %s: %d regions differ\nwant %v\ngot  %v", name, m.Name, wrong, wanted, got)
		}
		sum := at(want, k)
		sum.hot += wanted.hot
		sum.warm += wanted.warm
		sum.cold += wanted.cold
		sum.unobserved += wanted.unobserved
	}
	t.Logf("%s\n%s", name, b.String())

	// What is outside of the mappings is taken as it is.
	for _, p := range r.parts[w.PID] {
		in := rest[p.Region]
		pages, h, wm, c := and(&p.Pages, &in), and(&p.Hot, &in), and(&p.Warm, &in), and(&p.Cold, &in)
		at(want, key{int(p.Node), p.Type}).add(&pages, &h, &wm, &c)
	}
	got := map[key]*tally{}
	var resident uint64
	for _, a := range areas(t, r.memcg(t, memcg), w.PID) {
		resident += a.Resident
		got[key{a.Node, a.Type}] = &tally{int(a.Hot / pageSize), int(a.Warm / pageSize), int(a.Cold / pageSize), int(a.Unobserved / pageSize)}
	}
	for _, k := range slices.Collect(maps.Keys(want)) {
		if g := at(got, k); *g != *want[k] {
			t.Errorf("%s node %d %v: bytes of %v, want %v", name, k.node, k.typ, g, want[k])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: series for %d nodes and types, want %d", name, len(got), len(want))
	}
	rollup := rollup(t, w.PID)
	if diff := math.Abs(float64(resident) - float64(rollup)); diff > 0.01*float64(rollup) {
		t.Errorf("%s: %d bytes resident, smaps_rollup has %d", name, resident, rollup)
	}
}

// rollup returns how much memory a process has as the kernel sums it up, in bytes.
func rollup(t testing.TB, pid int) (sum uint64) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		switch f := strings.Fields(line); f[0] {
		case "Rss:", "Private_Hugetlb:", "Shared_Hugetlb:":
			kib, err := strconv.ParseUint(f[1], 10, 64)
			if err != nil {
				t.Fatalf("smaps_rollup: %q: %v", line, err)
			}
			sum += kib << 10
		}
	}
	return sum
}

// note remembers how a window of an area went.
func (r *rig) note(m *Mapping, regions, wrong int) {
	e := r.exact[m.Name]
	if e == nil {
		e = &exactness{unobserved: !m.Watchable()}
		r.exact[m.Name] = e
	}
	e.regions += regions
	e.wrong += wrong
}

// report logs what the table at the end of all tests is made of; see
// exactTable in package vm.
func (r *rig) report(t testing.TB, source string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(r.exact)) {
		e := r.exact[name]
		t.Logf("EXACTNESS source=%s area=%s regions=%d wrong=%d unobserved=%t", source, name, e.regions, e.wrong, e.unobserved)
	}
}

func pick(region uint64, into *heat.Bitmap) func(uint64, heat.Bitmap) {
	return func(r uint64, b heat.Bitmap) {
		if r == region {
			*into = b
		}
	}
}

func allPages(m *Mapping) Pages {
	p := newPages(m.Size / pageSize)
	for i := range m.NumPages() {
		p.set(i)
	}
	return p
}

func and(a, b *heat.Bitmap) heat.Bitmap {
	c := *a
	for i := range c {
		c[i] &= b[i]
	}
	return c
}

// TestSoak touches all memory of a process for 100 passes: no count wraps, no
// record is lost, and the memory of the exporter stays what it is.
func TestSoak(t *testing.T) {
	const memcg = "/test/soak"
	w := StartWorkload(t, memcg)
	w.Map(t, Area{Name: "anon", Kind: Anon, Size: 64 * mib, Node: 0})
	w.Map(t, Area{Name: "far", Kind: Shmem, Size: 16 * mib, Node: 1})
	// The pages of the ring count as ours once they were read, twice, since it
	// is mapped twice: a small ring is all there early on.
	r := newRig(t, bpf.HooksOptions{RingBytes: 1 << 20}, "aging: {passes_per_window: 5}", memcg)
	r.mustPass(t, memcg)
	w.EndPass()
	var early uint64
	for pass := range 100 {
		for _, m := range w.Mappings {
			m.TouchAll(t)
		}
		r.mustPass(t, memcg)
		w.EndPass()
		if (pass+1)%5 == 0 {
			checkWindow(t, r, w, memcg, fmt.Sprintf("pass %d", pass+1))
		}
		if pass == 19 {
			early = ownRSS(t)
		}
	}
	late := ownRSS(t)
	t.Logf("RSS after 20 passes %d KiB, after 100 %d KiB", early>>10, late>>10)
	if late > early+early/10+4*mib {
		t.Errorf("RSS grew from %d to %d KiB", early>>10, late>>10)
	}
	m := r.memcg(t, memcg)
	if m.Passes.Lost != 0 {
		t.Errorf("%d records lost", m.Passes.Lost)
	}
	for _, a := range areas(t, m, w.PID) {
		for _, m := range w.Mappings {
			if a.Node != m.Node || a.Type != m.Kind.Type() {
				continue
			}
			if want := uint64(m.NumPages()) * 100; a.Accesses.Sum < want {
				t.Errorf("%s: %d accesses, want at least %d", m.Name, a.Accesses.Sum, want)
			}
		}
	}
}

// ownRSS returns the memory in use, without what the collector has freed.
func ownRSS(t *testing.T) uint64 {
	t.Helper()
	debug.FreeOSMemory()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseUint(strings.Fields(string(b))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n * pageSize
}
