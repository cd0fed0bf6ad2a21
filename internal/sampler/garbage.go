package sampler

import (
	"runtime/metrics"
	"time"
)

// garbage reads the CPU time of Go's garbage collector, which runs on threads of its
// own. The zero garbage has read nothing yet.
type garbage struct {
	last float64 // seconds
}

// since returns the CPU time that was used since the call before, 0 at the first
// one. Go brings the number up to date as a collection ends.
func (g *garbage) since() time.Duration {
	samples := []metrics.Sample{{Name: "/cpu/classes/gc/total:cpu-seconds"}, {Name: "/cpu/classes/scavenge/total:cpu-seconds"}}
	metrics.Read(samples)
	var now float64
	for _, s := range samples {
		if s.Value.Kind() == metrics.KindFloat64 {
			now += s.Value.Float64()
		}
	}
	before := g.last
	g.last = now
	if before == 0 || now <= before {
		return 0
	}
	return time.Duration((now - before) * float64(time.Second))
}
