package sampler

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/recording"
)

// TestGuestRecording plays a recording of a guest, whose workload is that of
// TestRecordCommand in test/vm/guest. Series and values are held; HELP and TYPE
// are the collector's to test.
func TestGuestRecording(t *testing.T) {
	const golden = "testdata/guest.golden"
	last := ""
	for range 2 {
		s, r := replaying(t, "../recording/testdata/guest.mglru", `
heat: {never_accessed: {windows: 2, top: 3}}
memcgs:
  - {path: /**, processes: {min_resident: 0}, address_bands: 8}
  - {path: /test/shop.slice/web.service, processes: {min_resident: 0}, regions: ["[anon:*", "/data/*"], address_bands: 8}`)
		for {
			err := play(s, r)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		got := regexp.MustCompile(`(?m)^#.*\n`).ReplaceAllString(exposition(t, s.Snapshot()), "")
		if last != "" && got != last {
			t.Errorf("two replays differ:\n%s", cmp.Diff(last, got))
		}
		last = got
	}
	if *update {
		if err := os.WriteFile(golden, []byte(last), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), last); diff != "" {
		t.Errorf("%s (-want +got; renew with -update):\n%s", golden, diff)
	}
}

// FuzzReplay plays recordings that no sampler has made: whatever is in them, it
// ends, and what it shows adds up.
func FuzzReplay(f *testing.F) {
	var all, none heat.Bitmap
	all.SetRange(0, heat.PagesPerRegion)
	id := heat.Process{ProcessID: heat.ProcessID{TGID: 1, Start: 1, Image: 1}, Comm: "a"}
	palette := []recording.Event{
		{Kind: recording.Group, Text: "/1", Inode: 1}, {Kind: recording.Group, Text: "/1", Inode: 2}, {Kind: recording.Ungroup, Text: "/1"},
		{Kind: recording.Discovered}, {Kind: recording.Discovered, Text: "no"},
		{Kind: recording.Pass, Text: "/1"}, {Kind: recording.Pass, Text: "/2"}, {Kind: recording.Pass, Text: "/1", Result: recording.Gone},
		{Kind: recording.PID, TGID: 1}, {Kind: recording.PID, TGID: 2}, {Kind: recording.Identity, Process: id},
		{Kind: recording.Identity, Result: recording.Gone, Process: id}, {Kind: recording.Refused, TGID: 1},
		{Kind: recording.Residency, TGID: 1}, {Kind: recording.Residency, TGID: 2, Result: recording.NoMemory}, {Kind: recording.Part, Part: heat.ResidentPart{Region: 9, Node: 1000, Pages: all}},
		{Kind: recording.Part, Part: heat.ResidentPart{Region: 8, Node: -1, Pages: all}}, {Kind: recording.Part, Part: heat.ResidentPart{Region: 8, Type: heat.File, Pages: none}},
		{Kind: recording.Unscanned, Unscanned: heat.UnscannedPages{Pages: 1 << 50}}, {Kind: recording.Aging}, {Kind: recording.Aged, Outcome: recording.Outcome{Nodes: 1}},
		{Kind: recording.Aged, Result: recording.Failed, Reason: "\xff"}, {Kind: recording.LostBy, TGID: 1}, {Kind: recording.Clock, At: time.Second}, {Kind: recording.Walker, Text: "w"},
		{Kind: recording.Young, Record: heat.Record{TGID: 1, Start: 8 * heat.RegionSize, Anon: all}}, {Kind: recording.Skip, Record: heat.Record{TGID: 1, Start: 5, End: 1 << 62}},
		{Kind: recording.Walk, Record: heat.Record{TGID: 1}}, {Kind: recording.Observed, TGID: 1}, {Kind: recording.Area, Area: heat.Area{Hot: 1}}, {Kind: recording.Unsure, Text: "u"},
		{Kind: recording.Generations}, {Kind: recording.GenMemcg, Text: "/1"}, {Kind: recording.GenNode, Node: 1}, {Kind: recording.Gen},
		{Kind: recording.Done}, {Kind: recording.End},
		{Kind: recording.Mapping, Mapping: heat.Mapping{Start: 0, End: 8*heat.RegionSize + 4096, Name: "/a\xff"}},
		{Kind: recording.Mapping, Mapping: heat.Mapping{Start: 8*heat.RegionSize + 4096, End: 10 * heat.RegionSize, Name: "b", NoAccess: true}},
		{Kind: recording.Mapping, Mapping: heat.Mapping{Start: 9 * heat.RegionSize, End: 1<<64 - 4096, Name: "[heap]"}},
	}
	story := []byte{0, 3, 5, 8, 10, 13, 16, 15, 19, 27, 25, 20, 10, 23, 23, 35, 5, 8, 10, 13, 16, 19, 25, 20, 10, 23, 35, 36}
	f.Add(story, false)
	f.Add(story, true)
	f.Add(append([]byte{31, 32, 33, 34}, story...), false)
	f.Add([]byte{0, 3, 5, 8, 10, 28, 29, 30, 10, 35, 36}, true)
	mapped := []byte{5, 8, 10, 13, 37, 38, 16, 15, 19, 27, 25, 20, 10, 23, 35}
	f.Add(append([]byte{0, 3}, append(slices.Concat(mapped, mapped, mapped), 36)...), false)
	f.Add([]byte{0, 3, 5, 8, 10, 13, 38, 37, 19, 20, 35, 36}, false) // out of order
	f.Add([]byte{0, 3, 5, 8, 10, 13, 37, 39, 16, 19, 20, 35, 36}, false)
	file := filepath.Join(f.TempDir(), "fuzz.mglru")
	f.Fuzz(func(t *testing.T, choices []byte, mappings bool) {
		h := recording.Header{Started: time.Unix(1, 0), Granularity: "page", PassesPerWindow: 1}
		if mappings {
			h.Granularity = "mapping"
		}
		out, err := os.Create(file)
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		w, err := recording.NewWriter(out, h)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range choices {
			// Records many times over, so that they do not all fit into a batch.
			ev := palette[int(c)%len(palette)]
			for range 1 + int(c)/len(palette)*100 {
				if err := w.Write(&ev); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		s, r := replaying(t, file, `
aging: {passes_per_window: 1}
heat: {never_accessed: {windows: 1}}
memcgs:
  - {path: /1, processes: {min_resident: 0}, regions: ["/a*", 0x1000000-0x1010000], address_bands: 3}
  - {path: /**, processes: {min_resident: 0}, address_bands: 512}`)
		for play(s, r) == nil {
			for i := range s.Snapshot().Memcgs {
				if err := s.Snapshot().Memcgs[i].Check(); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}
