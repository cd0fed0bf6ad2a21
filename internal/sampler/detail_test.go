package sampler

import (
	"testing"

	"mglru_exporter/internal/heat"
)

func TestWindowIsShownRegionByRegion(t *testing.T) {
	m := newMachine()
	m.add(1, "/a", 100, 10)
	m.add(2, "/b", 100, 10)
	shown := map[string]heat.RegionHeat{}
	s := started(t, m, twoPasses)
	s.deps.Window = func(memcg string, w *heat.ProcessWindow) {
		if w.TGID != 1 || len(w.Regions) != 1 {
			t.Errorf("shown pid %d with regions %+v", w.TGID, w.Regions)
			return
		}
		shown[memcg] = w.Regions[0]
	}
	pass(t, s, "/a", 3)
	r := shown["/a"]
	if got, want := [4]uint64{uint64(r.Hot), uint64(r.Warm), uint64(r.Cold), uint64(r.Resident - r.Hot - r.Warm - r.Cold)},
		pages(t, group1(t, s, "/a"), 1); got != want || len(shown) != 1 {
		t.Errorf("shown as hot, warm, cold, unobserved: %v; the series say %v; memcgs %v", got, want, shown)
	}
}
