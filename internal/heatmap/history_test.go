package heatmap

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"mglru_exporter/internal/heat"
)

func TestADifferentProcessBeginsAnew(t *testing.T) {
	h := New(1 << 20)
	for n := range 3 {
		keep(h, "/a", nth(n, cold(1)))
	}
	for i, change := range []func(*heat.ProcessWindow){
		func(w *heat.ProcessWindow) { w.Image++ },
		func(w *heat.ProcessWindow) { w.Start++ },
	} {
		w := nth(3+i, cold(1))
		change(w)
		keep(h, "/a", w)
		if n := h.Windows("/a", 42); n != 1 {
			t.Errorf("%d windows, want that of the new process only", n)
		}
	}
	w := nth(9, cold(1))
	w.Start++ // as the last one
	w.Comm = "renamed"
	keep(h, "/a", w)
	if n := h.Windows("/a", 42); n != 2 {
		t.Errorf("%d windows after another name, want 2", n)
	}
	keep(h, "/b", nth(0, cold(1)))
	if n := h.Windows("/b", 42); n != 1 {
		t.Errorf("%d windows in another memcg, want 1", n)
	}
}

func snapshot(end time.Time, memcgs map[string][]int) *heat.Snapshot {
	s := &heat.Snapshot{}
	for path, pids := range memcgs {
		m := &heat.MemcgSnapshot{Path: path, WindowEnd: end}
		for _, pid := range pids {
			m.Series = append(m.Series, heat.Series{PID: pid})
		}
		s.Memcgs = append(s.Memcgs, m)
	}
	slices.SortFunc(s.Memcgs, func(a, b *heat.MemcgSnapshot) int { return cmp.Compare(a.Path, b.Path) })
	return s
}

func TestWhatHasNoSeriesIsNotKept(t *testing.T) {
	h := New(1 << 20)
	all := []int{1, 2, 3}
	has := func(when string, want map[string]int) {
		t.Helper()
		got := map[string]int{}
		for _, memcg := range []string{"/a", "/b", "/c"} {
			for _, pid := range all {
				got[memcg] += h.Windows(memcg, pid)
			}
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("%s: windows (-want +got):\n%s", when, diff)
		}
	}
	window := func(n int, memcgs map[string][]int) {
		for memcg := range memcgs {
			for _, pid := range all {
				w := nth(n, cold(1))
				w.TGID = pid
				h.Add(memcg, w)
			}
		}
		for memcg := range memcgs {
			h.Commit(snapshot(nth(n).End, memcgs), memcg)
		}
	}
	window(0, map[string][]int{"/a": all, "/b": all, "/c": all})
	has("all have series", map[string]int{"/a": 3, "/b": 3, "/c": 3})
	window(1, map[string][]int{"/a": {heat.PIDOther, 1}, "/b": {1, 2}})
	has("some are merged, a memcg is gone", map[string]int{"/a": 2, "/b": 4, "/c": 0})

	// A window that was not published is not kept, even when the next one is.
	lost := nth(2, cold(1))
	lost.TGID = 1
	h.Add("/a", lost)
	h.Commit(snapshot(nth(1).End, map[string][]int{"/a": {1}, "/b": {1, 2}}), "/a")
	has("a window was not published", map[string]int{"/a": 2, "/b": 4, "/c": 0})

	h.Commit(&heat.Snapshot{}, "/a")
	if s := h.Stats(); s != (Stats{}) {
		t.Errorf("with no memcg left there is %+v", s)
	}
}

// TestWindowsThatAreNotPublishedDoNotPileUp: of what the sampler finds not to add up
// there is no snapshot, and no Commit.
func TestWindowsThatAreNotPublishedDoNotPileUp(t *testing.T) {
	h := New(1 << 20)
	for n := range 10 {
		h.Add("/a", nth(n, cold(uint64(n))))
	}
	if n := len(h.added["/a"]); n != 1 {
		t.Errorf("%d windows wait for a commit, want the last", n)
	}
	keep(h, "/a", nth(10, cold(1)))
	if n := h.Windows("/a", 42); n != 1 {
		t.Errorf("%d windows, want the one that was published", n)
	}
}

// counted is what the windows that are kept take, counted anew.
func counted(h *History) int {
	n := 0
	for _, procs := range h.memcgs {
		for _, p := range procs {
			var before *window
			for _, w := range p.windows {
				n += w.size(before)
				before = w
			}
		}
	}
	return n
}

func TestBytesStayWithinTheLimit(t *testing.T) {
	const limit = 64 << 10
	r := rand.New(rand.NewPCG(7, 7))
	h := New(limit)
	for n := range 400 {
		var windows []*heat.ProcessWindow
		for pid := 1; pid <= 6; pid++ {
			w := nth(n)
			w.TGID = pid
			for i := range uint64(pid * 20) {
				w.Regions = append(w.Regions, randomRegion(r, i))
			}
			windows = append(windows, w)
		}
		keep(h, "/a", windows...)
		if s := h.Stats(); s.Bytes > limit || s.Bytes != counted(h) {
			t.Fatalf("%d bytes are counted, %d are there, want at most %d", s.Bytes, counted(h), limit)
		}
	}
	before := h.Windows("/a", 1)
	for pid := 2; pid <= 6; pid++ {
		n := h.Windows("/a", pid)
		if n > before || n < minWindows {
			t.Errorf("pid %d has %d windows, the smaller one before it %d", pid, n, before)
		}
		before = n
	}
	if small := h.Windows("/a", 1); small <= 2*before {
		t.Errorf("the smallest has %d windows, the largest %d: its share is not equal", small, before)
	}
	h.SetLimit(limit / 2)
	if s := h.Stats(); s.Bytes > limit/2 || s.Bytes != counted(h) || s.Processes == 0 || s.Processes+s.Omitted != 6 {
		t.Errorf("with half the room it has %+v", s)
	}
	h.SetLimit(0)
	keep(h, "/a", nth(1, cold(1)))
	if s := h.Stats(); s != (Stats{}) || h.Enabled() {
		t.Errorf("turned off it has %+v", s)
	}
	h.SetLimit(limit)
	keep(h, "/a", nth(2, cold(1)))
	if n := h.Windows("/a", 42); n != 1 {
		t.Errorf("turned on again it has %d windows, want the new one", n)
	}
}

func TestTheLargestProcessesAreKeptWhenAllHaveFewWindows(t *testing.T) {
	h := New(40 << 10)
	r := rand.New(rand.NewPCG(8, 8))
	for n := range minWindows {
		var windows []*heat.ProcessWindow
		for pid := 1; pid <= 200; pid++ {
			w := nth(n)
			w.TGID = pid
			for i := range uint64(pid) {
				w.Regions = append(w.Regions, randomRegion(r, i))
			}
			windows = append(windows, w)
		}
		keep(h, "/a", windows...)
	}
	s := h.Stats()
	if s.Omitted == 0 || s.Processes == 0 || s.Processes+s.Omitted != 200 {
		t.Fatalf("%+v, want 200 of which some are left out", s)
	}
	if n := h.Windows("/a", 200); n < minWindows {
		t.Errorf("the largest process has %d windows", n)
	}
	if n := h.Windows("/a", 1); n > 0 {
		t.Errorf("the smallest process has %d windows", n)
	}
}

func TestNoMoreWindowsThanCanBeAskedFor(t *testing.T) {
	h := New(1 << 30)
	for n := range maxWindows + 5 {
		keep(h, "/a", nth(n, cold(1)))
	}
	if n := h.Windows("/a", 42); n != maxWindows {
		t.Errorf("%d windows, want %d", n, maxWindows)
	}
	v, _ := h.View("/a", 42, Query{Rows: 1, Windows: 2})
	var ends []string
	for c := range v.Columns() {
		ends = append(ends, c.End.Format(time.TimeOnly))
	}
	if want := []string{"02:16:20", "02:17:20"}; !slices.Equal(want, ends) {
		t.Errorf("ends %v, want %v", ends, want)
	}
}

// TestReadersAndWriters is for the race detector.
func TestReadersAndWriters(t *testing.T) {
	h := New(20 << 10)
	var wg sync.WaitGroup
	for m := range 3 {
		memcg := fmt.Sprint("/", m)
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(m), 9))
			for range 50 {
				for _, w := range random(r, 2, 50) {
					h.Add(memcg, w)
					h.Commit(snapshot(w.End, map[string][]int{"/0": {42}, "/1": {42}, "/2": {42}}), memcg)
				}
			}
		})
		wg.Go(func() {
			for range 100 {
				if v, ok := h.View(memcg, 42, Query{Rows: 9, Windows: 50}); ok {
					for c := range v.Columns() {
						if len(c.Pages) != len(v.Rows) {
							t.Errorf("%d elements for %d rows", len(c.Pages), len(v.Rows))
						}
					}
				}
				h.Stats()
			}
		})
	}
	wg.Wait()
}
