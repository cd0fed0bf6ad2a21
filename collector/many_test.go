package collector_test

import (
	"fmt"
	"time"

	"mglru_exporter/internal/heat"
)

// manySeries is a snapshot of about n process series.
func manySeries(n int) *heat.Snapshot {
	bounds := []uint64{0, 1, 8, 64, 256, 512, 1024, 2048}
	ages := []time.Duration{time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour}
	const areas = 4
	native := make([]uint64, 50) // as many observations as the classic buckets have, far apart
	native[0] = 9
	for i := range 36 {
		native[1+i] = 1
	}
	each := areas*(5+len(bounds)+3+2*len(ages)+1) + 1
	snap := &heat.Snapshot{}
	for i := range n/each/20 + 1 {
		m := &heat.MemcgSnapshot{Path: fmt.Sprintf("/kubepods.slice/pod%04d.slice/cri-containerd.scope", i), WindowEnd: time.Unix(1, 0), WindowPasses: 4, IdleAges: ages}
		for j := range 20 {
			s := heat.Series{PID: 100_000 + 20*i + j, Comm: "postgres"}
			for k := range areas {
				s.Areas = append(s.Areas, heat.Area{
					Node: k / 2, Type: heat.Type(k % 2), Hot: 1 << 30, Resident: 1 << 30,
					Idle: []uint64{6, 5, 4, 3, 2, 1}, Reaccessed: []uint64{6, 5, 4, 3, 2, 1}, HeatRatio: 0.5, HeatKnown: true,
					Accesses: heat.Histogram{Bounds: bounds, Counts: []uint64{9, 8, 7, 6, 5, 4, 3, 2, 1}, Sum: 12345, Native: native},
				})
			}
			m.Series = append(m.Series, s)
		}
		snap.Memcgs = append(snap.Memcgs, m)
	}
	return snap
}
