package process

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"mglru_exporter/internal/heat"
)

// base is the first page of the processes in these tests, at a region's start.
const base = 0x7f0000000 &^ (heat.PagesPerRegion - 1)

func TestReadEntries(t *testing.T) {
	const (
		node0, node1 = 5000, 300000 // frames
		pagecache    = kpfMmap | 1<<5
		shmem        = kpfMmap | kpfSwapBacked
	)
	tests := []struct {
		name        string
		maps        string
		entries     []uint64
		flags       map[uint64]uint64 // kpageflags by frame
		noFlags     bool
		want        []piece
		wantSwapped uint64
	}{
		{
			name:    "pages have the node of their frame and the type of their file bit",
			maps:    mapsLine(base, base+6, "rw-p", "08:01", 9, "/usr/bin/x"),
			entries: []uint64{anonPage(node0), filePage(node0 + 1), 0, anonPage(node1), filePage(node1 + 1), anonPage(node0 + 2)},
			flags:   map[uint64]uint64{node0 + 1: pagecache},
			want: []piece{{base, 0, "anon"}, {base + 5, 0, "anon"}, {base + 1, 0, "file"},
				{base + 3, 1, "anon"}, {base + 4, 1, "file"}},
		},
		{
			name:    "the page's flags and not the name make it shared memory",
			maps:    mapsLine(base, base+2, "rw-s", "00:2a", 9, "/srv/any (deleted)"),
			entries: []uint64{filePage(node0), filePage(node1)},
			flags:   map[uint64]uint64{node0: shmem},
			want:    []piece{{base, 0, "shmem"}, {base + 1, 1, "shmem"}},
		},
		{
			name:    "a private file that somebody has called /dev/zero has its pages",
			maps:    mapsLine(base, base+3, "rw-p", "00:2a", 9, "/dev/zero"),
			entries: []uint64{filePage(node0), anonPage(node1), filePage(node0 + 1)},
			flags:   map[uint64]uint64{node0: shmem, node0 + 1: shmem},
			want:    []piece{{base, 0, "shmem"}, {base + 2, 0, "shmem"}, {base + 1, 1, "anon"}},
		},
		{
			name:    "a file that somebody has called [vvar] has its pages",
			maps:    mapsLine(base, base+1, "r--p", "00:2a", 9, "[vvar]"),
			entries: []uint64{filePage(node0)},
			flags:   map[uint64]uint64{node0: pagecache},
			want:    []piece{{base, 0, "file"}},
		},
		{
			name:    "a tail page is asked for its head, which alone has flags on 6.1",
			maps:    mapsLine(base, base+1, "rw-s", "00:2a", 9, "/srv/any"),
			entries: []uint64{filePage(5120 + 300)},
			flags:   map[uint64]uint64{5120 + 300: kpfMmap | kpfCompoundTail, 5120 + 256: kpfCompoundTail, 5120: shmem | kpfCompoundHead},
			want:    []piece{{base, 0, "shmem"}},
		},
		{
			name: "a file is asked for once, a page that has gone not at all",
			maps: mapsLine(base, base+2, "r--p", "08:01", 9, "/srv/any") + mapsLine(base+2, base+3, "rw-s", "08:01", 9, "/srv/any"),
			entries: []uint64{filePage(node0), filePage(node0 + 1),
				filePage(node0 + 2)},
			flags: map[uint64]uint64{node0: 1 << 10 /* buddy */, node0 + 1: shmem, node0 + 2: pagecache},
			want:  []piece{{base, 0, "file"}, {base + 1, 0, "shmem"}, {base + 2, 0, "shmem"}},
		},
		{
			name: "without kpageflags names decide",
			maps: mapsLine(base, base+1, "rw-s", "00:2a", 1, "/dev/shm/a b") + mapsLine(base+1, base+2, "rw-s", "00:01", 2, "/memfd:x (deleted)") +
				mapsLine(base+2, base+3, "rw-s", "00:01", 3, "/SYSV00000000 (deleted)") + mapsLine(base+3, base+4, "rw-s", "00:01", 4, "/dev/zero (deleted)") +
				mapsLine(base+4, base+5, "rw-s", "08:01", 5, "/SRV") + mapsLine(base+5, base+6, "r-xp", "00:00", 0, "[vdso]"),
			entries: []uint64{filePage(node0), filePage(node0), filePage(node0), filePage(node0), filePage(node0), filePage(node0)},
			noFlags: true,
			want: []piece{{base + 4, 0, "file"}, {base + 5, 0, "file"}, {base, 0, "shmem"}, {base + 1, 0, "shmem"},
				{base + 2, 0, "shmem"}, {base + 3, 0, "shmem"}},
		},
		{
			name:        "only swap entries count as swapped",
			maps:        mapsLine(base, base+5, "rw-p", "00:00", 0, "[heap]"),
			entries:     []uint64{swapped(0, 77), swapped(22, 1), swapped(30, node0), swapped(0, 0) | pmGuard, anonPage(node0)},
			want:        []piece{{base + 4, 0, "anon"}},
			wantSwapped: 2,
		},
		{
			name:    "frames without memory are not counted",
			maps:    mapsLine(base, base+3, "rw-p", "00:00", 0, ""),
			entries: []uint64{anonPage(1 << 30), anonPage(1048576 + 5) /* zone Device */, anonPage(node0)},
			want:    []piece{{base + 2, 0, "anon"}},
		},
		{
			name:    "what looks anonymous in a shared mapping is a driver's",
			maps:    mapsLine(base, base+3, "rw-s", "00:06", 9, "/dev/mem"),
			entries: []uint64{anonPage(0), anonPage(node0), filePage(node0 + 1)},
			flags:   map[uint64]uint64{node0 + 1: pagecache},
			want:    []piece{{base + 2, 0, "file"}},
		},
		{
			name:    "what looks anonymous in a private mapping of a device is looked up",
			maps:    mapsLine(base, base+3, "rw-p", "00:06", 9, "/dev/mem"),
			entries: []uint64{anonPage(node0), anonPage(node0 + 1), anonPage(node0 + 2)},
			flags:   map[uint64]uint64{node0: kpfMmap, node0 + 1: kpfMmap | kpfAnon, node0 + 2: kpfMmap},
			want:    []piece{{base + 1, 0, "anon"}},
		},
		{
			name:    "the kernel's own pages are skipped",
			maps:    mapsLine(base, base+1, "r--p", "00:00", 0, "[vvar]") + mapsLine(base+1, base+2, "r--p", "00:00", 0, "[vvar_vclock]") + mapsLine(base+2, base+3, "--xp", "00:00", 0, "[vsyscall]") + mapsLine(base+3, base+4, "rw-p", "00:00", 0, ""),
			entries: []uint64{anonPage(node0), anonPage(node0), anonPage(node0), anonPage(node0)},
			want:    []piece{{base + 3, 0, "anon"}},
		},
		{
			name: "mappings that overlap, as when one grows while they are listed, count once",
			maps: mapsLine(base, base+2, "rw-p", "00:00", 0, "") + mapsLine(base, base+3, "rw-p", "00:00", 0, ""),
			entries: []uint64{anonPage(node0), swapped(0, 1),
				anonPage(node0)},
			want:        []piece{{base, 0, "anon"}, {base + 2, 0, "anon"}},
			wantSwapped: 1,
		},
		{
			name:    "a region shared by mappings has one part for each node and type",
			maps:    mapsLine(base, base+1, "rw-p", "00:00", 0, "") + mapsLine(base+3, base+4, "rw-p", "00:00", 0, "[stack]"),
			entries: []uint64{anonPage(node0), 0, 0, anonPage(node0 + 9)},
			want:    []piece{{base, 0, "anon"}, {base + 3, 0, "anon"}},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t, "qemu-2nodes")
			f.process("490", test.maps)
			f.entries("490/pagemap", base, test.entries...)
			if !test.noFlags {
				f.entries("kpageflags", 1<<20, 0)
			}
			for pfn, flags := range test.flags {
				f.entries("kpageflags", pfn, flags)
			}
			var res heat.Residency
			if err := f.reader().Read(context.Background(), 490, &res); err != nil {
				t.Fatal(err)
			}
			checkSorted(t, &res)
			if diff := cmp.Diff(test.want, pieces(&res)); diff != "" {
				t.Errorf("resident pages (-want +got):\n%s", diff)
			}
			if res.SwappedPages != test.wantSwapped {
				t.Errorf("%d pages swapped, want %d", res.SwappedPages, test.wantSwapped)
			}
			if want := min(1, len(test.want)); len(res.Parts) < want {
				t.Errorf("%d parts", len(res.Parts))
			}
		})
	}
}

func TestReadLeavesOutTheHugeZeroPage(t *testing.T) {
	const zero, huge = 512 * 10, 512 * 11
	for _, bit := range []uint64{0, pmFile} {
		f := newFixture(t, "qemu-2nodes")
		f.process("490", mapsLine(base, base+3*heat.PagesPerRegion, "rw-p", "00:00", 0, ""))
		for i := range uint64(heat.PagesPerRegion) {
			f.entries("490/pagemap", base+i, anonPage(zero+i)|bit)
			f.entries("490/pagemap", base+heat.PagesPerRegion+i, anonPage(huge+i))
			f.entries("490/pagemap", base+2*heat.PagesPerRegion+i, 0)
		}
		f.entries("kpageflags", zero, kpfZeroPage|kpfCompoundHead)
		f.entries("kpageflags", huge, kpfMmap|kpfAnon|kpfCompoundHead)
		var res heat.Residency
		if err := f.reader().Read(context.Background(), 490, &res); err != nil {
			t.Fatal(err)
		}
		if len(res.Parts) != 1 || res.Parts[0].Region != base/heat.PagesPerRegion+1 || res.Parts[0].Pages.Count() != heat.PagesPerRegion {
			t.Errorf("file bit %#x: parts are %+v", bit, res.Parts)
		}
	}
}

func TestReadLeavesOutTheZeroPage(t *testing.T) {
	f := newFixture(t, "qemu-2nodes")
	f.process("490", mapsLine(base, base+3, "rw-p", "00:00", 0, ""))
	f.entries("490/pagemap", base, anonPage(4999), anonPage(5000), anonPage(5001))
	r := f.reader()
	r.zeroPFN = 5000
	var res heat.Residency
	if err := r.Read(context.Background(), 490, &res); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]piece{{base, 0, "anon"}, {base + 2, 0, "anon"}}, pieces(&res)); diff != "" {
		t.Errorf("resident pages (-want +got):\n%s", diff)
	}
}

// TestReadFindsMemoryThatHasComeOnline: what is plugged in while the exporter
// runs is in no node's span as it began.
func TestReadFindsMemoryThatHasComeOnline(t *testing.T) {
	const known, plugged, offline, device = 5000, 700000, 800000, 800001
	f := newFixture(t, "qemu-2nodes")
	f.process("490", mapsLine(base, base+3, "rw-p", "00:00", 0, "")+mapsLine(base+3, base+6, "rw-s", "00:01", 4, "/dev/shm/x"))
	f.entries("490/pagemap", base, anonPage(known), anonPage(plugged), anonPage(offline), filePage(plugged+10), filePage(plugged+11), filePage(device))
	f.entries("kpageflags", plugged, kpfMmap|kpfAnon)
	f.entries("kpageflags", offline, kpfNoPage, kpfNoPage)
	f.entries("kpageflags", plugged+10, kpfMmap|kpfSwapBacked, kpfMmap|kpfSwapBacked)
	zones, err := os.ReadFile(filepath.Join(f.proc, "zoneinfo"))
	if err != nil {
		t.Fatal(err)
	}
	r := f.reader()
	reloads, reload := 0, r.decoder.reload
	r.decoder.reload = func() (*NodeMap, error) { reloads++; return reload() }
	var res heat.Residency
	check := func(what string, wantPages []piece, wantUnscanned []heat.UnscannedPages, wantReloads int) {
		t.Helper()
		reloads = 0
		if err := r.Read(context.Background(), 490, &res); err != nil {
			t.Fatal(err)
		}
		checkSorted(t, &res)
		if diff := cmp.Diff(wantPages, pieces(&res)); diff != "" {
			t.Errorf("%s: resident pages (-want +got):\n%s", what, diff)
		}
		if diff := cmp.Diff(wantUnscanned, res.Unscanned, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: unscanned (-want +got):\n%s", what, diff)
		}
		if reloads != wantReloads {
			t.Errorf("%s: zoneinfo was read %d times, want %d", what, reloads, wantReloads)
		}
	}
	lost := []heat.UnscannedPages{
		{Node: -1, Type: heat.Anon, Mapping: base * heat.PageSize, Pages: 1},
		{Node: -1, Type: heat.Shmem, Mapping: (base + 3) * heat.PageSize, Pages: 2},
	}
	check("zoneinfo does not list it", []piece{{base, 0, "anon"}}, lost, 1)
	f.file("zoneinfo", "junk")
	check("zoneinfo cannot be read", []piece{{base, 0, "anon"}}, lost, 1)
	f.file("zoneinfo", string(zones)+zoneText(2, "Movable", plugged, 1<<15, 1<<15))
	all := []piece{{base, 0, "anon"}, {base + 1, 2, "anon"}, {base + 3, 2, "shmem"}, {base + 4, 2, "shmem"}}
	check("zoneinfo lists it", all, nil, 1)
	check("it is known", all, nil, 0)
}

func TestReadFarApart(t *testing.T) {
	// More than a window, holes, and ends that are not those of regions.
	f := newFixture(t, "qemu-2nodes")
	var maps strings.Builder
	var want []piece
	page := uint64(base + 7)
	f.file("490/pagemap", "")
	for _, size := range []uint64{1, 3, 511, 513, 2047, 2049, 8192, 20000, 8191, 5} {
		maps.WriteString(mapsLine(page, page+size, "rw-p", "00:00", 0, ""))
		for at := uint64(0); at < size; at += 1 + size/7 {
			f.entries("490/pagemap", page+at, anonPage(5000+at%100))
			want = append(want, piece{page + at, 0, "anon"})
		}
		page += size + size%3*400
	}
	f.end("490/pagemap", page)
	f.file("490/maps", maps.String())
	f.file("490/stat", statLine("x", 'S', 1, 1))
	r := f.reader()
	for range 2 { // its buffers are used again
		var res heat.Residency
		if err := r.Read(context.Background(), 490, &res); err != nil {
			t.Fatal(err)
		}
		checkSorted(t, &res)
		if diff := cmp.Diff(want, pieces(&res)); diff != "" {
			t.Errorf("resident pages (-want +got):\n%s", diff)
		}
	}
}

func TestReadWithoutScanCountsGiants(t *testing.T) {
	f := newFixture(t, "qemu-2nodes")
	giant := mapsLine(base+10, base+10+MaxBlindBytes/heat.PageSize+1, "rw-p", "00:00", 0, "")
	small := mapsLine(base, base+1, "rw-p", "00:00", 0, "")
	f.process("490", small+giant)
	f.entries("490/pagemap", base, anonPage(5000))
	f.end("490/pagemap", base+2*windowPages)
	f.file("490/smaps", small+"Rss: 4 kB\nAnonymous: 4 kB\nSwap: 400 kB\nVmFlags: rd\n"+
		giant+"Rss:   40 kB\nAnonymous:   12 kB\nShared_Hugetlb:  2048 kB\nSwap:    8 kB\n")
	r := f.reader()
	for range 2 {
		var res heat.Residency
		if err := r.Read(context.Background(), 490, &res); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]piece{{base, 0, "anon"}}, pieces(&res)); diff != "" {
			t.Errorf("resident pages (-want +got):\n%s", diff)
		}
		at := uint64(base+10) * heat.PageSize
		want := []heat.UnscannedPages{{Node: -1, Type: heat.Anon, Mapping: at, Pages: 3}, {Node: -1, Type: heat.File, Mapping: at, Pages: 7 + 512}}
		if diff := cmp.Diff(want, res.Unscanned); diff != "" {
			t.Errorf("unscanned (-want +got):\n%s", diff)
		}
		if res.SwappedPages != 2 {
			t.Errorf("%d pages swapped, want 2", res.SwappedPages)
		}
	}
}

func TestReadErrorsLeaveNothing(t *testing.T) {
	tests := []struct {
		name string
		make func(f *fixture)
		want error
	}{
		{"no such process", func(*fixture) {}, ErrGone},
		{"no frame numbers", func(f *fixture) {
			f.process("490", mapsLine(base, base+2, "rw-p", "00:00", 0, ""))
			f.entries("490/pagemap", base, 0, anonPage(0))
		}, ErrNoPFN},
		{"the address space ends half-way", func(f *fixture) {
			f.process("490", mapsLine(base, base+20000, "rw-p", "00:00", 0, ""))
			f.entries("490/pagemap", base, anonPage(5000))
			f.end("490/pagemap", base+windowPages)
		}, ErrGone},
		{"a read that always comes short", func(f *fixture) {
			f.process("490", mapsLine(base, base+20000, "rw-p", "00:00", 0, ""))
			f.entries("490/pagemap", base, anonPage(5000))
		}, nil},
		{"a kernel thread", func(f *fixture) {
			f.process("490", "")
			f.file("490/stat", statLine("kswapd0", 'S', 1, 0))
		}, ErrNoMemory},
		{"a zombie", func(f *fixture) {
			f.process("490", "")
			f.file("490/stat", statLine("x", 'Z', 1, 0))
		}, ErrNoMemory},
		{"maps are empty for a moment, in exec", func(f *fixture) { f.process("490", "") }, ErrGone},
		{"maps are not maps", func(f *fixture) { f.process("490", "zz\n") }, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t, "qemu-2nodes")
			test.make(f)
			res := heat.Residency{Parts: make([]heat.ResidentPart, 9), SwappedPages: 9, Unscanned: make([]heat.UnscannedPages, 9)}
			err := f.reader().Read(context.Background(), 490, &res)
			if err == nil || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("Read: %v, want %v", err, test.want)
			}
			if len(res.Parts) != 0 || res.SwappedPages != 0 || len(res.Unscanned) != 0 {
				t.Errorf("Read left %+v", res)
			}
		})
	}
}
