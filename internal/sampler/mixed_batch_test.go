package sampler

import (
	"testing"

	"mglru_exporter/internal/heat"
)

// TestABatchHasRecordsOfSeveralMemcgs: what a pass of one memcg finds young of
// another one's processes, as kswapd's walks have it, is theirs.
func TestABatchHasRecordsOfSeveralMemcgs(t *testing.T) {
	m := newMachine()
	m.add(1, "/a", 100, 10)
	m.add(2, "/b", 100, 10)
	s := started(t, m, "aging: {passes_per_window: 2}\n"+entries("/a", "/b"))
	pass(t, s, "/b", 2)
	pass(t, s, "/a", 1)
	young := func(pid, page int) heat.Record {
		return heat.Record{Kind: heat.KindYoung, Other: true, TGID: pid, Start: heat.RegionSize, Anon: onePage(page)}
	}
	m.onAge = func(path string) {
		if path == "/a" {
			m.sink([]heat.Record{young(1, 20), young(2, 30), young(1, 40), young(1, 41), young(2, 50), young(77, 60), young(2, 70)})
		}
	}
	pass(t, s, "/a", 2)
	pass(t, s, "/b", 1)
	for _, tc := range []struct {
		pid     int
		memcg   string
		want    [4]uint64
		records uint64
	}{
		{1, "/a", [4]uint64{13, 0, 87, 0}, 3*2 + 2*3}, // two of each pass of its own, three of each batch
		{2, "/b", [4]uint64{13, 0, 87, 0}, 3*2 + 2*3},
	} {
		g := group1(t, s, tc.memcg)
		if got := pages(t, g, tc.pid); got != tc.want || g.Passes.Records != tc.records {
			t.Errorf("%s: hot, warm, cold, unobserved = %v pages of %d records, want %v of %d", tc.memcg, got, g.Passes.Records, tc.want, tc.records)
		}
	}
}

// onePage is a bitmap of a single page.
func onePage(page int) (b heat.Bitmap) {
	b.SetRange(page, page+1)
	return b
}
