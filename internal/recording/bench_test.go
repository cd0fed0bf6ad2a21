package recording_test

import (
	"io"
	"math/rand/v2"
	"testing"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/recording"
)

// BenchmarkWriteYoung writes what a pass harvests: regions in the order of
// addresses, of which a third is young all over and the others here and there.
func BenchmarkWriteYoung(b *testing.B) {
	w, err := recording.NewWriter(io.Discard, header())
	if err != nil {
		b.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	events := make([]recording.Event, 3000)
	for i := range events {
		r := heat.Record{Kind: heat.KindYoung, TGID: 1 + i/500, Start: uint64(i) * heat.RegionSize}
		if i%3 == 0 {
			r.Anon.SetRange(0, heat.PagesPerRegion)
		}
		for range rnd.IntN(40) * min(i%3, 1) {
			r.Anon.Set(rnd.IntN(heat.PagesPerRegion))
		}
		events[i] = recording.Event{Kind: recording.Young, Record: r}
	}
	for i := 0; b.Loop(); i++ {
		if err := w.Write(&events[i%len(events)]); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(w.Size())/float64(b.N), "bytes/record")
}
