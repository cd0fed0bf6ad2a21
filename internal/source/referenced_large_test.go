package source

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/process"
)

// TestALargeProcessIsLeftAlone: it is neither cleared nor walked, and what it has in
// memory is unobserved. Once it is small enough it begins anew.
func TestALargeProcessIsLeftAlone(t *testing.T) {
	f := newFakeProc(t)
	f.nodes("3\n")
	r := f.source()
	p := proc(7, 1)
	for i, tc := range []struct {
		limit                 uint64
		kb, swap              int
		hot, cold, unobserved uint64
		left                  bool
	}{
		{0, 400, 1000, 0, 0, 400, false}, // no limit
		{0, 400, 1000, 100, 300, 0, false},
		{200 << 10, 400, 0, 0, 0, 400, true},
		{400 << 10, 400, 0, 0, 0, 400, false}, // a reload: as large as is allowed
		{400 << 10, 400, 0, 100, 300, 0, false},
		{400 << 10, 400, 4, 0, 0, 400, true}, // what is swapped out is walked as well
		{400 << 10, 100, 300, 0, 0, 100, false},
		{400 << 10, 100, 300, 100, 0, 0, false},
	} {
		r.SetMaxProcess(tc.limit)
		f.process(7, tc.kb, 100)
		f.write("7/status", fmt.Sprintf("Name:\tx\nRssAnon:\t%d kB\nRssFile:\t0 kB\nRssShmem:\t0 kB\nVmSwap:\t%d kB\n", tc.kb, tc.swap))
		w, err := r.Observe(p, &heat.Selection{})
		if err != nil {
			t.Fatal(err)
		}
		want := []heat.Area{{Node: 3, Type: heat.Anon, Hot: tc.hot << 10, Cold: tc.cold << 10, Unobserved: tc.unobserved << 10, Resident: uint64(tc.kb) << 10}}
		if diff := cmp.Diff(want, w.Areas); diff != "" {
			t.Errorf("pass %d (-want +got):\n%s", i, diff)
		}
		var skips []string
		if tc.left {
			skips = []string{skipLarge}
		}
		if diff := cmp.Diff(skips, w.Skips); diff != "" || f.cleared(7) == tc.left {
			t.Errorf("pass %d: cleared %v; skips (-want +got):\n%s", i, f.cleared(7), diff)
		}
		if tc.left && w.SwappedBytes != uint64(tc.swap)<<10 {
			t.Errorf("pass %d: %d bytes are swapped out, want %d KiB", i, w.SwappedBytes, tc.swap)
		}
	}
}

// TestALargeProcessIsNotCleared is that of a real process: its accessed bits stay.
func TestALargeProcessIsNotCleared(t *testing.T) {
	const size = 64 << 20
	w := startToucher(t, "anon", area(t, size))
	p, err := process.NewFS("/proc").Identify(w.pid)
	if err != nil {
		t.Fatal(err)
	}
	r := NewReferenced("/proc", "/sys")
	r.SetMaxProcess(1 << 20)
	for range 2 {
		win, err := r.Observe(p, &heat.Selection{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{skipLarge}, win.Skips); diff != "" {
			t.Fatalf("skips (-want +got):\n%s", diff)
		}
		var unobserved uint64
		for _, a := range win.Areas {
			unobserved += a.Unobserved
		}
		if all := rollup(t, w.pid); unobserved != win.Resident() || diff(unobserved, all) > all/20 {
			t.Errorf("%d of %d bytes are unobserved, smaps_rollup has %d", unobserved, win.Resident(), all)
		}
	}
	maps, err := process.NewMappingReader(process.NewFS("/proc")).Read(w.pid)
	if err != nil {
		t.Fatal(err)
	}
	var referenced uint64
	for _, m := range maps {
		referenced += m.Referenced
	}
	if referenced < uint64(area(t, size)) {
		t.Errorf("%d bytes are referenced: it was cleared", referenced)
	}
}

// BenchmarkClearRefs is for how long page faults of a process wait, for each GiB that
// it has, where nothing else wants the CPU: the kernel holds the mmap_lock from the
// write's begin to its end.
func BenchmarkClearRefs(b *testing.B) {
	for _, kind := range []string{"anon", "huge", "shmem"} {
		b.Run(kind, func(b *testing.B) {
			size := area(b, 512<<20)
			w := startToucher(b, kind, size)
			r := process.NewMappingReader(process.NewFS("/proc"))
			longest := time.Duration(0)
			for b.Loop() {
				begin := time.Now()
				if err := r.ClearRefs(w.pid); err != nil {
					b.Fatal(err)
				}
				longest = max(longest, time.Since(begin))
			}
			perGiB := float64(size) / (1 << 30)
			b.ReportMetric(b.Elapsed().Seconds()*1e3/float64(b.N)/perGiB, "ms/GiB")
			b.ReportMetric(longest.Seconds()*1e3/perGiB, "longest-ms/GiB")
		})
	}
}
