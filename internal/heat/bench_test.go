package heat

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"
)

// benchRegions is 2 TiB of address space: what a big host could have in one
// memcg, and far beyond any cache.
const benchRegions = 1_000_000

// benchRuns bounds the regions of a run: mappings are rarely one piece.
const benchRuns = 1000

// benchNow moves on by 15 s at each beginning and end of a pass.
var benchNow = time.Unix(0, 0)

func tick(t *Tracker) *Tracker {
	benchNow = benchNow.Add(15 * time.Second)
	return t
}

func benchResidency(n int) *Residency {
	r := &Residency{Parts: make([]ResidentPart, n)}
	for first := 0; first < n; first += benchRuns {
		start := uint64(first + first/benchRuns)
		r.Mappings = append(r.Mappings, Mapping{
			Start: start * RegionSize, End: (start + benchRuns) * RegionSize, Name: fmt.Sprintf("/lib/%d.so", first%7),
		})
	}
	var all Bitmap
	all.SetRange(0, PagesPerRegion)
	for i := range r.Parts {
		r.Parts[i] = ResidentPart{Region: uint64(i + i/benchRuns), Node: int16(i / (n/2 + 1)), Pages: all}
	}
	return r
}

func benchTracker(b *testing.B, res map[int]*Residency) *Tracker {
	b.Helper()
	t, err := NewTracker(Params{
		PassesPerWindow: 4, HotFraction: 0.5,
		RegionBuckets: []uint64{0, 1, 8, 64, 256, 512, 1024, 2048},
		IdleAges:      []time.Duration{time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour},
		LabelPID:      true, LabelComm: true,
		NeverWindows: 10, NeverTop: 5,
	})
	if err != nil {
		b.Fatal(err)
	}
	benchPass(b, t, res, nil)
	if _, err := t.EndWindow(res, Observers{}); err != nil {
		b.Fatal(err)
	}
	return t
}

func benchPass(b *testing.B, t *Tracker, res map[int]*Residency, order []uint64) {
	b.Helper()
	var procs []Process
	for tgid := range res {
		procs = append(procs, Process{ProcessID: ProcessID{TGID: tgid}, Comm: "bench"})
	}
	tick(t).Begin(benchNow, procs, func(ProcessID) bool { return true })
	young := Bitmap{1, 2, 4, 8, 16, 32, 64, 128}
	for tgid := range res {
		t.Walked(tgid, 0)
		t.Walked(tgid, 1)
		for _, region := range order {
			t.Fold(tgid, region, &young)
		}
	}
	tick(t).EndPass(benchNow, 3, false)
}

// BenchmarkFold folds a pass in which every region has young pages.
func BenchmarkFold(b *testing.B) {
	res := map[int]*Residency{7: benchResidency(benchRegions)}
	inOrder := make([]uint64, benchRegions)
	for i := range res[7].Parts {
		inOrder[i] = res[7].Parts[i].Region
	}
	random := slices.Clone(inOrder)
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(random), func(i, j int) { random[i], random[j] = random[j], random[i] })
	for _, c := range []struct {
		name  string
		order []uint64
	}{{"address-order", inOrder}, {"random-order", random}} {
		b.Run(c.name, func(b *testing.B) {
			t := benchTracker(b, res)
			young := Bitmap{1, 2, 4, 8, 16, 32, 64, 128}
			for range slots { // touches all memory once
				for _, region := range c.order {
					t.Fold(7, region, &young)
				}
				tick(t).EndPass(benchNow, 3, false)
			}
			b.ReportAllocs()
			start := cpuTime()
			for b.Loop() {
				for _, region := range c.order {
					t.Fold(7, region, &young)
				}
				tick(t).EndPass(benchNow, 3, false)
			}
			perRegion(b, cpuTime()-start)
		})
	}
}

// BenchmarkEndWindow ends windows of four passes, with six idle ages. What is cold
// was never accessed.
func BenchmarkEndWindow(b *testing.B) {
	same := benchResidency(benchRegions)
	other := &Residency{Parts: slices.Clone(same.Parts), Mappings: same.Mappings}
	for i := range other.Parts {
		other.Parts[i].Region += 3
	}
	some := Bitmap{1, 2, 4, 8, 16, 32, 64, 128}
	for _, c := range []struct {
		name  string
		young func(window, pass int) Bitmap // of each region
		next  [2]*Residency
	}{
		{"cold", func(int, int) Bitmap { return Bitmap{} }, [2]*Residency{same, same}},
		{"young-in-one-pass", func(_, pass int) Bitmap {
			if pass == 0 {
				return some
			}
			return Bitmap{}
		}, [2]*Residency{same, same}},
		{"one-in-ten-young-in-each-pass", nil, [2]*Residency{same, same}},
		{"young-in-each-pass", func(int, int) Bitmap { return some }, [2]*Residency{same, same}},
		{"others-reaccessed-in-each-pass", func(window, pass int) Bitmap {
			return Bitmap{1 << (window*4 + pass) % 64, 2, 1 << (window*4 + pass) % 64, 8, 16, 32, 64, 128}
		}, [2]*Residency{same, same}},
		{"all-ages", func(window, pass int) Bitmap {
			// Pages of the first word are young every other time, those of the last
			// one every 256th.
			r := rand.New(rand.NewPCG(uint64(window), uint64(pass)))
			var young Bitmap
			for i := range young {
				young[i] = r.Uint64()
				for range i {
					young[i] &= r.Uint64()
				}
			}
			return young
		}, [2]*Residency{same, same}},
		{"moved-regions", func(int, int) Bitmap { return Bitmap{} }, [2]*Residency{other, same}},
	} {
		b.Run(c.name, func(b *testing.B) {
			res := map[int]*Residency{7: same}
			t := benchTracker(b, res)
			var cpu time.Duration
			window := func(i int) {
				for pass := range 4 {
					if c.young == nil {
						for j := i * 3 % 10; j < len(res[7].Parts); j += 10 {
							t.Fold(7, res[7].Parts[j].Region, &some)
						}
					} else if young := c.young(i, pass); young != (Bitmap{}) {
						for j := range res[7].Parts {
							t.Fold(7, res[7].Parts[j].Region, &young)
						}
					}
					tick(t).Begin(benchNow, []Process{{ProcessID: ProcessID{TGID: 7}, Comm: "bench"}}, nil)
					t.Walked(7, 0)
					t.Walked(7, 1)
					tick(t).EndPass(benchNow, 3, false)
				}
				res[7] = c.next[i%2]
				start := cpuTime()
				b.StartTimer()
				if _, err := t.EndWindow(res, Observers{}); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				cpu += cpuTime() - start
			}
			b.StopTimer()
			for i := range 12 { // so that ages differ, and all memory has been touched
				window(i)
			}
			b.ResetTimer()
			b.ReportAllocs()
			cpu = 0
			for i := range b.N {
				window(12 + i)
			}
			perRegion(b, cpu)
		})
	}
}

// BenchmarkMassExit forgets many processes that all had series.
func BenchmarkMassExit(b *testing.B) {
	res := map[int]*Residency{}
	for i := range 10_000 {
		res[i+1] = benchResidency(2)
	}
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		t := benchTracker(b, res)
		benchPass(b, t, res, nil)
		if _, err := t.EndWindow(res, Observers{}); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		tick(t).Begin(benchNow, nil, func(ProcessID) bool { return true })
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(res)), "ns/process")
}

// BenchmarkMemory reports what the tracker holds for each region it watches.
func BenchmarkMemory(b *testing.B) {
	res := map[int]*Residency{7: benchResidency(benchRegions)}
	for b.Loop() {
		before := heapInUse()
		t := benchTracker(b, res)
		for range 4 { // each finds something everywhere
			for i := range res[7].Parts {
				t.Fold(7, res[7].Parts[i].Region, &Bitmap{1})
			}
			tick(t).EndPass(benchNow, 3, false)
		}
		held := heapInUse() - before
		b.ReportMetric(float64(held)/benchRegions, "B/region")
		runtime.KeepAlive(t)
	}
	b.ReportMetric(0, "ns/op")
}

func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// perRegion reports the time a region takes, by the clock and, for machines that
// do other things besides, of the CPU.
func perRegion(b *testing.B, cpu time.Duration) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchRegions, "ns/region")
	b.ReportMetric(float64(cpu.Nanoseconds())/float64(b.N)/benchRegions, "cpu-ns/region")
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
