//go:build guest

package guest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mglru_exporter/bpf"
	"mglru_exporter/internal/heat"
)

// series returns the series of one process.
func series(t testing.TB, m heat.MemcgSnapshot, pid int) heat.Series {
	t.Helper()
	i := slices.IndexFunc(m.Series, func(s heat.Series) bool { return s.PID == pid })
	if i < 0 {
		t.Fatalf("process %d has no series in %s", pid, m.Path)
	}
	return m.Series[i]
}

// never returns the bytes of a series that were never accessed, by mapping.
func never(s heat.Series) map[string]uint64 {
	out := map[string]uint64{}
	for _, a := range s.Areas {
		for _, n := range a.Never {
			out[n.Mapping] += n.Bytes
		}
	}
	return out
}

// nameOf returns the name that the kernel has for a mapping.
func nameOf(t testing.TB, r *rig, m *Mapping) string {
	t.Helper()
	var res heat.Residency
	if err := r.proc.Residency(context.Background(), m.w.PID, &res); err != nil {
		t.Fatal(err)
	}
	for i := range res.Mappings {
		if in := &res.Mappings[i]; in.Start <= m.Addr && m.Addr < in.End {
			return in.Name
		}
	}
	t.Fatalf("%s is in no mapping", m.Name)
	return ""
}

// TestNeverAccessed names mappings that nobody touches with their exact bytes, and
// does not name what was touched but once, in the first window.
func TestNeverAccessed(t *testing.T) {
	const memcg, windows = "/test/never", 3
	w := StartWorkload(t, memcg)
	w.Map(t, Area{Name: "neverfile", Kind: File, Size: 5*mib + 12288, Node: 0, Skew: 3})
	w.Map(t, Area{Name: "neverfd", Kind: Memfd, Size: 3 * mib, Node: 1})
	w.Map(t, Area{Name: "nevershm", Kind: Shmem, Size: 4*mib + 4096, Node: 1, Skew: 9})
	heap := w.Map(t, Area{Name: "neverheap", Kind: Anon, Size: 7 * mib, Node: 1})
	w.Map(t, Area{Name: "neverlocked", Kind: File, Size: 2 * mib, Node: 0, Locked: true}) // the walk cannot tell
	busy := w.Map(t, Area{Name: "busyfile", Kind: File, Size: 4 * mib, Node: 0})
	once := w.Map(t, Area{Name: "oncefile", Kind: File, Size: 6 * mib, Node: 0})
	partly := w.Map(t, Area{Name: "partlyfile", Kind: File, Size: 4 * mib, Node: 1})
	r := newRig(t, bpf.HooksOptions{}, fmt.Sprintf(`
aging: {passes_per_window: 2}
heat: {never_accessed: {windows: %d, top: 100}}`, windows), memcg+"\n    address_bands: 16")
	r.mustPass(t, memcg) // wipes the slate
	w.EndPass()

	want := map[string]uint64{
		"/data/neverfile": 5*mib + 12288, "/memfd:neverfd (deleted)": 3 * mib, "/dev/shm/nevershm": 4*mib + 4096, "/data/partlyfile": 4*mib - 4096*342,
	}
	for window := 1; window <= windows+2; window++ {
		for pass := range 2 {
			busy.Touch(t, pass, 2, busy.NumPages()/2)
			if window == 1 && pass == 0 {
				once.TouchAll(t)
				partly.TouchEvery(t, 3) // 342 of 1024 pages
			}
			r.mustPass(t, memcg)
			w.EndPass()
		}
		s := series(t, r.memcg(t, memcg), w.PID)
		got := never(s)
		ours := map[string]uint64{} // without what the program itself has mapped
		for name, bytes := range got {
			if strings.HasPrefix(name, "/data/") || strings.HasPrefix(name, "/dev/shm/") || strings.HasPrefix(name, "/memfd:") {
				ours[name] = bytes
			}
		}
		t.Logf("window %d: never accessed %v", window, got)
		switch {
		case window < windows:
			if len(got) > 0 {
				t.Errorf("window %d: %v were never accessed, after less than %d windows", window, got, windows)
			}
		case window > windows || len(got) > 0:
			if diff := cmp.Diff(want, ours); diff != "" {
				t.Errorf("window %d: never accessed (-want +got):\n%s", window, diff)
			}
			// A kernel without CONFIG_ANON_VMA_NAME has one name for all such memory,
			// of which the program has some of its own.
			if name := nameOf(t, r, heap); got[name] != 7*mib && (name != heat.AnonMapping || got[name] < 7*mib) {
				t.Errorf("window %d: %d bytes of %s never accessed, want 7 MiB", window, got[name], name)
			}
		}
		var accesses, byPart uint64
		for _, b := range s.Bands {
			accesses += b.Accesses
		}
		for _, p := range r.parts[w.PID] {
			byPart += p.Accesses
		}
		if accesses != byPart || len(s.Bands) != 16 {
			t.Errorf("window %d: %d bands have %d accesses, all regions %d", window, len(s.Bands), accesses, byPart)
		}
	}
}

// TestRegionsOfInterest looks at some mappings only, one of them in part: they
// agree with the ledger, all else is excluded, to the byte, and bands have the
// accesses of the ledger.
func TestRegionsOfInterest(t *testing.T) {
	const memcg = "/test/interest"
	w := StartWorkload(t, memcg)
	var mapped []*Mapping
	for _, a := range exactAreas() {
		mapped = append(mapped, w.Map(t, a))
	}
	gone := w.Map(t, Area{Name: "gone", Kind: Anon, Size: 6 * mib, Node: 1, Skew: 7})
	from, to := gone.Addr+100*pageSize, gone.Addr+1000*pageSize // page exact
	r := newRig(t, bpf.HooksOptions{}, "aging: {passes_per_window: 3}", fmt.Sprintf(
		"%s\n    address_bands: 24\n    regions: [/data/*1, /dev/shm/shmem0, '/memfd:*', %#x-%#x]", memcg, from, to))
	picked := func(m *Mapping) func(page int) bool {
		switch m.Name {
		case "file1", "private1", "shmem0", "memfd1":
			return func(int) bool { return true }
		case "gone":
			return func(page int) bool { return page >= 100 && page < 1000 }
		}
		return func(int) bool { return false }
	}
	mapped = append(mapped, gone)
	r.mustPass(t, memcg) // wipes the slate
	w.EndPass()

	var starts []uint64
	for window := range 4 {
		for pass := range 3 {
			for i, m := range mapped {
				if m.Kind == FilePrivate && !m.Write { // writing would change its type
					m.TouchEvery(t, 1+(window+pass+i)%4)
					continue
				}
				touches[(window*3+pass*(1+i%3)+i)%len(touches)].do(t, m)
			}
			r.mustPass(t, memcg)
			w.EndPass()
		}
		want := map[key]*tally{}
		var accesses uint64
		for _, m := range mapped {
			is, c := picked(m), m.Want(3, r.cfg.Heat.HotFraction)
			for page := range m.NumPages() {
				if !is(page) {
					continue
				}
				k := key{m.Node, m.Kind.Type()}
				if want[k] == nil {
					want[k] = &tally{}
				}
				switch {
				case c.Hot.Has(page):
					want[k].hot++
				case c.Warm.Has(page):
					want[k].warm++
				case c.Cold.Has(page):
					want[k].cold++
				}
				accesses += uint64(c.Accesses[page])
			}
		}
		s := series(t, r.memcg(t, memcg), w.PID)
		got, resident := map[key]*tally{}, map[key]uint64{}
		for _, a := range s.Areas {
			k := key{a.Node, a.Type}
			resident[k] += a.Resident
			if a.Resident > 0 {
				got[k] = &tally{int(a.Hot / pageSize), int(a.Warm / pageSize), int(a.Cold / pageSize), int(a.Unobserved / pageSize)}
			}
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(key{}, tally{})); diff != "" {
			t.Errorf("window %d: pages by class (-ledger +got):\n%s", window+1, diff)
		}

		var all heat.Residency
		if err := r.proc.Residency(context.Background(), w.PID, &all); err != nil {
			t.Fatal(err)
		}
		left := map[key]uint64{}
		for _, p := range all.Parts {
			left[key{int(p.Node), p.Type}] += uint64(p.Pages.Count()) * pageSize
		}
		for k, bytes := range resident {
			left[k] -= bytes
		}
		maps.DeleteFunc(left, func(_ key, bytes uint64) bool { return bytes == 0 })
		excluded := map[key]uint64{}
		for _, x := range s.Excluded {
			excluded[key{x.Node, x.Type}] += x.Bytes
		}
		if diff := cmp.Diff(left, excluded, cmp.AllowUnexported(key{})); diff != "" {
			t.Errorf("window %d: excluded bytes (-all others +got):\n%s", window+1, diff)
		}

		var banded uint64
		var at []uint64
		for _, b := range s.Bands {
			banded += b.Accesses
			at = append(at, b.Start)
		}
		if banded != accesses {
			t.Errorf("window %d: bands have %d accesses, the ledger %d", window+1, banded, accesses)
		}
		if starts == nil {
			starts = at
		}
		if len(at) < 10 || !slices.Equal(starts, at) {
			t.Errorf("window %d: bands begin at %#x, in the first window at %#x", window+1, at, starts)
		}
		t.Logf("window %d: %d accesses in %d bands, excluded %v", window+1, banded, len(s.Bands), excluded)
	}
}
