package source

import (
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/process"
)

// TestWithoutSwapOnlyFilesAreLookedAt: aging that leaves out what could only be
// swapped does not walk shared memory either, whoever it is charged to.
func TestWithoutSwapOnlyFilesAreLookedAt(t *testing.T) {
	const region, inode = 5, 7
	procs := t.TempDir()
	chargedPages(t, procs, 1, region, inode)
	var pages heat.Bitmap
	pages.SetRange(0, 10)
	skipped := []heat.Record{{
		Kind: heat.KindSkip, TGID: 1, Node: -1, Reason: skipNoSwap, Start: region * heat.RegionSize, End: region*heat.RegionSize + 10*heat.PageSize,
	}}
	for typ, want := range map[heat.Type][]heat.Record{heat.File: nil, heat.Anon: skipped, heat.Shmem: skipped} {
		p := newProofs(process.NewFS(procs), notDying, slog.New(slog.DiscardHandler))
		req := Request{
			Path: "/a", Inode: inode, Processes: []heat.Process{{ProcessID: heat.ProcessID{TGID: 1}}},
			Residency: map[int]*heat.Residency{1: {Parts: []heat.ResidentPart{{Region: region, Type: typ, Pages: pages}}}},
		}
		p.begin(req)
		if diff := cmp.Diff(want, p.end(t.Context(), req)); diff != "" {
			t.Errorf("%s: skips (-want +got):\n%s", typ, diff)
		}
	}
}
