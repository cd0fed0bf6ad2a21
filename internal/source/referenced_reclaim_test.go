package source

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseReclaimed(t *testing.T) {
	const text = `nr_free_pages 3
allocstall_normal 2
allocstall_movable 3
pgdeactivate 10
pgrefill 20
pgscan_kswapd 100
pgscan_direct 50
pgscan_khugepaged 1
pgscan_proactive 2
pgscan_direct_throttle 1000
pgscan_zone_reclaim_success 1000
pgscan_anon 60
pgscan_file 94
pgmigrate_success 7
pageoutrun 4
`
	for name, tc := range map[string]struct {
		text  string
		ages  bool
		want  reclaimed
		wrong bool
	}{
		"by what was scanned":          {text, false, reclaimed{pages: 184, runs: 9}, false},
		"migration ages":               {text, true, reclaimed{pages: 191, runs: 9}, false},
		"by who scanned, before 5.8":   {strings.ReplaceAll(strings.ReplaceAll(text, "pgscan_anon", "x"), "pgscan_file", "x"), false, reclaimed{pages: 183, runs: 9}, false},
		"by zone, before 4.8":          {"pgscan_kswapd_dma 1\npgscan_kswapd_normal 2\npgrefill_normal 4\npgdeactivate 8\n", false, reclaimed{pages: 15}, false},
		"no counter":                   {"nr_free_pages 3\n", false, reclaimed{}, true},
		"a counter that has no number": {"pgrefill x\n", false, reclaimed{}, true},
	} {
		got, err := parseReclaimed([]byte(tc.text), tc.ages)
		if (err != nil) != tc.wrong || got != tc.want {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, tc.want)
		}
	}
}

func FuzzParseReclaimed(f *testing.F) {
	f.Add([]byte("pgscan_anon 60\npgscan_direct 18446744073709551615\npgrefill 1\n"))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = parseReclaimed(b, true) })
}

func TestReclaimLost(t *testing.T) {
	for name, tc := range map[string]struct {
		lruGen      string
		before, now reclaimed
		want        uint64
	}{
		"nothing was reclaimed":       {"", reclaimed{5, 5}, reclaimed{5, 5}, 0},
		"so many pages":               {"", reclaimed{5, 5}, reclaimed{8, 5}, 3 * pg},
		"it ran and found nothing":    {"", reclaimed{5, 5}, reclaimed{5, 6}, 0},
		"MGLRU is off":                {"0x0000\n", reclaimed{5, 5}, reclaimed{8, 5}, 3 * pg},
		"MGLRU clears and counts not": {"0x0007\n", reclaimed{5, 5}, reclaimed{5, 6}, math.MaxUint64},
		"MGLRU was idle":              {"0x0007\n", reclaimed{5, 5}, reclaimed{5, 5}, 0},
		"counters that went back":     {"", reclaimed{5, 5}, reclaimed{4, 5}, 0},
	} {
		path := filepath.Join(t.TempDir(), "enabled")
		if tc.lruGen != "" {
			if err := os.WriteFile(path, []byte(tc.lruGen), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		r := reclaim{lruGen: path, pageSize: pg}
		if got := r.lost(tc.before, tc.now); got != tc.want {
			t.Errorf("%s: %d bytes, want %d", name, got, tc.want)
		}
	}
}

// TestReclaimLosesPagesOfTheMachine: to see it where pages are larger, build it for
// arm64 and run it under qemu-aarch64-static -p 65536.
func TestReclaimLosesPagesOfTheMachine(t *testing.T) {
	real := newReclaim("/proc", "/nonexistent")
	for size, r := range map[int]reclaim{os.Getpagesize(): real, 64 << 10: {lruGen: "/nonexistent", pageSize: 64 << 10}} {
		if got, want := r.lost(reclaimed{pages: 1}, reclaimed{pages: 11}), uint64(10*size); got != want {
			t.Errorf("10 pages of %d bytes: %d may be lost, want %d", size, got, want)
		}
		if got := r.lost(reclaimed{}, reclaimed{pages: math.MaxUint64}); got < math.MaxUint64-uint64(size) {
			t.Errorf("all pages of %d bytes: %d may be lost", size, got)
		}
	}
}
