package web_test

import (
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/heatmap"
	"mglru_exporter/internal/web"
)

// counter is a client that only counts.
type counter struct {
	header http.Header
	bytes  int
}

func (c *counter) Header() http.Header { return c.header }
func (c *counter) WriteHeader(int)     {}
func (c *counter) Write(p []byte) (int, error) {
	c.bytes += len(p)
	return len(p), nil
}

// BenchmarkHeatmap answers for a process of 20,000 regions, half of them in use,
// each in its own way.
func BenchmarkHeatmap(b *testing.B) {
	const regions, windows = 20_000, 240
	snap, h := town(), heatmap.New(1<<30)
	a := web.NewAPI(web.APIOptions{Snapshot: func() *heat.Snapshot { return snap }, History: h})
	r := rand.New(rand.NewPCG(1, 1))
	for n := range windows {
		w := oven(noon.Add(time.Duration(n) * time.Minute))
		w.Regions = w.Regions[:0]
		for i := range uint64(regions) {
			region := heat.RegionHeat{Region: 0x55d + i, Resident: 512, Anon: 512}
			if r.IntN(2) == 0 {
				region.Hot, region.Warm = uint16(r.IntN(100)), uint16(r.IntN(400))
				region.Accesses = uint32(region.Hot)*3 + uint32(region.Warm)
			} else {
				region.Idle = time.Duration(30*(1+r.IntN(n+2))) * time.Second
			}
			region.Cold = 512 - region.Hot - region.Warm
			w.Regions = append(w.Regions, region)
		}
		snap.Memcgs[0].WindowEnd = w.End
		h.Add("/bakery", w)
		a.Ended("/bakery")
	}
	for name, query := range map[string]string{"default": "", "largest": "rows=4096&windows=240"} {
		for _, accept := range []string{"identity", "gzip"} {
			b.Run(name+"/"+accept, func(b *testing.B) {
				b.ReportAllocs()
				var w *counter
				for b.Loop() {
					w = &counter{header: http.Header{}}
					req := httptest.NewRequest(http.MethodGet, "/api/v1/processes/7/heatmap?"+query, nil)
					req.Header.Set("Accept-Encoding", accept)
					a.ServeHTTP(w, req)
				}
				b.ReportMetric(float64(w.bytes), "B/answer")
			})
		}
	}
}
