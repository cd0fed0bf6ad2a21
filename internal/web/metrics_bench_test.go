package web_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
	"time"

	"mglru_exporter/collector"
	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/web"
)

// BenchmarkScrape is a whole scrape of 20,000 and of 100,000 series as Prometheus asks
// for it, compressed OpenMetrics: of a snapshot that was scraped before, and of another.
func BenchmarkScrape(b *testing.B) {
	for _, series := range []int{20_000, 100_000} {
		for _, accept := range []string{"", openMetrics} {
			for _, fresh := range []bool{false, true} {
				b.Run(fmt.Sprintf("series=%d/openmetrics=%v/fresh=%v", series, accept != "", fresh), func(b *testing.B) {
					snap := fleet(series/145/20, 20)
					c := collector.New(func() *heat.Snapshot { return snap }, collector.Options{LabelPID: true, LabelComm: true})
					o := options()
					o.Series = func() web.Series { return c.Page() }
					s, err := web.New(o)
					if err != nil {
						b.Fatal(err)
					}
					r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
					r.Header.Set("Accept", accept)
					r.Header.Set("Accept-Encoding", "gzip")
					b.ReportAllocs()
					cpu := cpuTime()
					for b.Loop() {
						if fresh {
							again := *snap
							snap = &again
						}
						w := httptest.NewRecorder()
						w.Body.Grow(4 << 20)
						s.Handler().ServeHTTP(w, r)
						b.ReportMetric(float64(w.Body.Len()), "bytes")
					}
					b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/float64(b.N)/1000, "cpu-ms/op")
				})
			}
		}
	}
}

// cpuTime is that of the process.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// fleet is a snapshot of processes with some 145 series each, in two nodes.
func fleet(memcgs, processes int) *heat.Snapshot {
	bounds := []uint64{0, 1, 8, 64, 256, 512, 1024, 2048}
	ages := []time.Duration{time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour}
	since := time.Unix(1_763_760_000, 0)
	snap := &heat.Snapshot{Source: heat.SourceInfo{Name: "hooks", Granularity: "page"}}
	n := uint64(12345)
	next := func() uint64 { // no two are the same, as in life
		n = n*6364136223846793005 + 1442695040888963407
		return n >> 35 << 12
	}
	for i := range memcgs {
		m := &heat.MemcgSnapshot{Path: fmt.Sprintf("/kubepods.slice/pod%04d.slice/cri-containerd-%064x.scope", i, i), WindowEnd: since, WindowPasses: 4, IdleAges: ages}
		for j := range processes {
			s := heat.Series{PID: 100_000 + 20*i + j, Comm: "postgres"}
			for k := range 4 {
				a := heat.Area{
					Node: k / 2, Type: heat.Type(k % 2), Hot: next(), Warm: next(), Cold: next(), Unobserved: next(),
					HeatRatio: float64(next()%1000) / 1000, HeatKnown: true, Since: since,
					Accesses: heat.Histogram{Bounds: bounds, Since: since, Sum: next()},
				}
				a.Resident = a.Hot + a.Warm + a.Cold + a.Unobserved
				for range ages {
					a.Idle, a.Reaccessed = append(a.Idle, next()), append(a.Reaccessed, next())
				}
				for range len(bounds) + 1 {
					a.Accesses.Counts = append(a.Accesses.Counts, next()>>12)
				}
				s.Areas = append(s.Areas, a)
			}
			m.Series = append(m.Series, s)
		}
		snap.Memcgs = append(snap.Memcgs, m)
	}
	return snap
}
