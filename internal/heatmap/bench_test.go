package heatmap

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"mglru_exporter/internal/api"
	"mglru_exporter/internal/heat"
)

// large is windows of a process of 20,000 regions, half of which are in use, each
// in its own way.
func large(windows int) []*heat.ProcessWindow {
	const regions = 20_000
	r := rand.New(rand.NewPCG(3, 3))
	var out []*heat.ProcessWindow
	for n := range windows {
		w := nth(n)
		for i := range uint64(regions) {
			h := heat.RegionHeat{Region: 1000 + i, Resident: 512, Anon: 512}
			if r.IntN(2) == 0 {
				h.Hot, h.Warm = uint16(r.IntN(100)), uint16(r.IntN(400))
				h.Accesses = uint32(h.Hot)*3 + uint32(h.Warm)
			} else {
				h.Idle = time.Duration(30*(1+r.IntN(n+2))) * time.Second
			}
			h.Cold = 512 - h.Hot - h.Warm
			w.Regions = append(w.Regions, h)
		}
		for i := range uint64(2000) {
			start := (1000 + i*10) * heat.RegionSize
			w.Mappings = append(w.Mappings, heat.Mapping{Start: start, End: start + 9*heat.RegionSize, Name: "/srv/" + strings.Repeat("x", int(i%50))})
		}
		out = append(out, w)
	}
	return out
}

func BenchmarkAdd(b *testing.B) {
	windows := large(4)
	h := New(16 << 20)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		keep(h, "/a", windows[n%len(windows)])
		n++
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n*20_000), "ns/region")
	b.ReportMetric(float64(len(h.memcgs["/a"][42].windows[0].cells))/20_000, "B/cell")
}

func BenchmarkView(b *testing.B) {
	h := New(64 << 20)
	for _, w := range large(60) {
		keep(h, "/a", w)
	}
	b.ReportMetric(float64(h.Stats().Bytes), "kept-B")
	b.ReportAllocs()
	for b.Loop() {
		v, _ := h.View("/a", 42, Query{Rows: api.DefaultRows, Windows: 60})
		for c := range v.Columns() {
			_ = c
		}
	}
}
