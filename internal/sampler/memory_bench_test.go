package sampler

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"testing"
	"time"

	"mglru_exporter/internal/config"
	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/heatmap"
	"mglru_exporter/internal/source"
)

// BenchmarkMemory64GiB watches 64 GiB, every page of which is resident, and
// reports the memory that this takes: with garbage collected as serve has it and
// as Go does by default, and the history of heatmaps full. Each iteration is a
// window; memory needs some 100 of them to come to rest.
func BenchmarkMemory64GiB(b *testing.B) {
	const yaml = "aging: {passes_per_window: 4}\nmemcgs: [{path: /a}]\n"
	for _, percent := range []int{10, 100} {
		b.Run(fmt.Sprint("gc=", percent), func(b *testing.B) {
			defer debug.SetGCPercent(debug.SetGCPercent(percent))
			cfg, err := config.Parse("test", []byte(yaml))
			if err != nil {
				b.Fatal(err)
			}
			m := newMachine()
			m.add(1, "/a", 0, 0)
			big := &bigMachine{machine: m, rng: rand.New(rand.NewPCG(1, 2))}
			history := heatmap.New(int(cfg.Limits.MaxHeatmapBytes))
			s, err := New(cfg, big, Deps{Cgroups: m, Processes: big, Window: history.Add, Log: slog.New(slog.DiscardHandler)})
			if err != nil {
				b.Fatal(err)
			}
			if err := s.Start(); err != nil {
				b.Fatal(err)
			}
			if err := s.Discover(time.Now()); err != nil {
				b.Fatal(err)
			}
			window := func() {
				for range 4 {
					if _, err := s.Pass(context.Background(), "/a"); err != nil {
						b.Fatal(err)
					}
					history.Commit(s.Snapshot(), "/a")
				}
			}
			for range 30 { // until the history is full
				window()
			}
			debug.FreeOSMemory()
			var most uint64
			for b.Loop() {
				window()
				most = max(most, rss(b))
			}
			b.ReportMetric(float64(most)/(1<<20), "RSS-MiB")
			b.ReportMetric(float64(history.Stats().Bytes)/(1<<20), "history-MiB")
			if g := s.Snapshot().Memcgs[0]; g.TrackedRegions != bigRegions {
				b.Errorf("%d regions are tracked, want %d", g.TrackedRegions, bigRegions)
			}
		})
	}
}

const bigRegions = 64 << 30 / heat.RegionSize

// A bigMachine has one process with many regions, some of which it uses.
type bigMachine struct {
	*machine
	rng   *rand.Rand
	batch [256]heat.Record
}

func (m *bigMachine) Residency(_ context.Context, _ int, res *heat.Residency) error {
	var all heat.Bitmap
	all.SetRange(0, heat.PagesPerRegion)
	*res = heat.Residency{Parts: res.Parts[:0]}
	for r := range uint64(bigRegions) {
		res.Parts = append(res.Parts, heat.ResidentPart{Region: r, Pages: all})
	}
	return nil
}

func (m *bigMachine) Age(context.Context, source.Request) (source.Outcome, error) {
	m.sink([]heat.Record{{Kind: heat.KindWalk, TGID: 1}})
	n := 0
	for r := range uint64(bigRegions) {
		if m.rng.IntN(2) == 0 {
			continue
		}
		var young heat.Bitmap
		for i := range young {
			young[i] = m.rng.Uint64() & m.rng.Uint64()
		}
		m.batch[n] = heat.Record{Kind: heat.KindYoung, TGID: 1, Start: r * heat.RegionSize, Anon: young}
		if n++; n == len(m.batch) {
			m.sink(m.batch[:])
			n = 0
		}
	}
	m.sink(m.batch[:n])
	return m.out, nil
}

// rss is how much of this process is in memory.
func rss(tb testing.TB) uint64 {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	status, err := io.ReadAll(f)
	if err != nil {
		tb.Fatal(err)
	}
	_, after, _ := bytes.Cut(status, []byte("VmRSS:"))
	var kib uint64
	if _, err := fmt.Sscan(string(after), &kib); err != nil {
		tb.Fatal(err)
	}
	return kib << 10
}
