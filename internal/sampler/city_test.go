package sampler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mglru_exporter/internal/config"
	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/memcg"
	"mglru_exporter/internal/process"
	"mglru_exporter/internal/recording"
	"mglru_exporter/internal/source"
)

// aslr is where an address space begins: no recording may tell.
const aslr = 0x55d0c3c00000 / heat.RegionSize

// city is a machine where everything happens, at random, again and again the
// same for the same seed.
type city struct {
	*machine
	rand  *rand.Rand
	areas map[int][]uint64 // regions by pid
	skips map[int]bool
}

func newCity(seed uint64) *city {
	c := &city{machine: newMachine(), rand: rand.New(rand.NewPCG(seed, 0)), areas: map[int][]uint64{}, skips: map[int]bool{}}
	for pid := 1; pid <= 6; pid++ {
		c.born(pid)
	}
	c.out.Nodes = 3
	return c
}

func (c *city) born(pid int) {
	c.add(pid, fmt.Sprint("/", pid%3), 100, 10)
	c.procs[pid].Image = c.rand.Uint64() | 1<<63
	c.areas[pid] = nil
	c.grow(pid)
}

// grow maps some regions, below, among and above those there are.
func (c *city) grow(pid int) {
	base := aslr + c.rand.Uint64N(1<<20)
	for range 1 + c.rand.IntN(4) {
		c.areas[pid] = append(c.areas[pid], base)
		base += 1 + c.rand.Uint64N(2)*c.rand.Uint64N(10)
	}
	slices.Sort(c.areas[pid])
	c.areas[pid] = slices.Compact(c.areas[pid])
}

// happen makes something happen.
func (c *city) happen() {
	c.mu.Lock()
	defer c.mu.Unlock()
	pid := 1 + c.rand.IntN(6)
	p := c.procs[pid]
	if p == nil {
		c.born(pid)
		return
	}
	c.ageErr, c.walkers, c.out.Lost, c.out.LostBy = nil, nil, 0, nil
	switch c.rand.IntN(20) {
	case 0:
		p.Image++
	case 1:
		p.Start++
	case 2:
		delete(c.procs, pid)
	case 3:
		p.cgroup = fmt.Sprint("/", c.rand.IntN(3))
	case 4:
		p.silent = !p.silent
	case 5:
		p.Comm = fmt.Sprint("c", c.rand.IntN(9))
	case 6:
		c.ageErr = &source.Failure{Reason: source.ReasonRaced, Err: unix.EAGAIN}
	case 7:
		unobserved := []heat.Unobserved{heat.UnobservedNone, heat.UnobservedShared, heat.UnobservedAll}
		c.walkers = []heat.Walker{{Name: "damon", Unobserved: unobserved[c.rand.IntN(3)]}}
	case 8:
		c.out.Lost, c.out.LostBy = 3, []int{pid}
	case 9:
		p.resErr = errors.New("permission denied")
	case 10:
		p.resErr = nil
	case 11:
		c.refuse[pid] = !c.refuse[pid]
	case 12:
		c.cgroups[p.cgroup]++
	case 14:
		if c.cgroups[p.cgroup]++; c.rand.IntN(2) == 0 {
			delete(c.cgroups, p.cgroup) // until somebody comes to be in it
		}
	case 15:
		c.cgroups[p.cgroup] = 77
	case 16:
		if p.idErr == nil {
			p.idErr = errors.New("too many open files")
		} else {
			p.idErr = nil
		}
	case 13:
		c.skips[pid] = !c.skips[pid]
	default:
		c.grow(pid)
		p.young = c.rand.IntN(heat.PagesPerRegion)
	}
}

func (c *city) generations() ([]memcg.LRUGen, error) {
	if c.rand.IntN(4) == 0 {
		return nil, errors.New("no debugfs")
	}
	gens := []memcg.Generation{{Seq: 4, Age: 7 * time.Second, AnonPages: 9, FilePages: c.rand.Uint64N(99)}, {Seq: 5}}
	return []memcg.LRUGen{{Path: "/"}, {Path: "/1", Nodes: []memcg.LRUGenNode{{Node: 0, Gens: gens}, {Node: 1, Gens: gens[:1]}}}}, nil
}

func (c *city) Residency(_ context.Context, pid int, res *heat.Residency) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.procs[pid]
	if p == nil {
		return process.ErrGone
	}
	*res = heat.Residency{}
	if p.resErr != nil {
		return p.resErr
	}
	res.SwappedPages = uint64(pid)
	res.Mappings = mappingsOf(c.areas[pid])
	res.Unscanned = []heat.UnscannedPages{{Node: -1, Type: heat.File, Mapping: res.Mappings[0].Start, Pages: 7}}
	for i, region := range c.areas[pid] {
		var anon, shmem heat.Bitmap
		anon.SetRange(0, p.pages)
		shmem.SetRange(p.pages, heat.PagesPerRegion)
		res.Parts = append(res.Parts, heat.ResidentPart{Region: region, Node: int16(i % 2), Pages: anon},
			heat.ResidentPart{Region: region, Node: 1, Type: heat.Shmem, Pages: shmem})
	}
	return nil
}

// mappingsOf maps regions, those in a row to two names: the second begins in the
// middle of the first's last region, and ends where there is no page.
func mappingsOf(regions []uint64) (out []heat.Mapping) {
	for i := 0; i < len(regions); {
		j := i
		for j+1 < len(regions) && regions[j+1] == regions[j]+1 {
			j++
		}
		start, middle, end := regions[i]*heat.RegionSize, regions[j]*heat.RegionSize+300*heat.PageSize, (regions[j]+1)*heat.RegionSize
		out = append(out, heat.Mapping{Start: start, End: middle, Name: fmt.Sprintf("/lib/%d.so", len(out)%4)},
			heat.Mapping{Start: middle, End: end, Offset: 1 << 20, Name: "/srv/data"})
		i = j + 1
	}
	return out
}

func (c *city) Age(ctx context.Context, req source.Request) (source.Outcome, error) {
	c.mu.Lock()
	var records []heat.Record
	for pid := range 7 {
		p := c.procs[pid]
		if p == nil || p.cgroup != req.Path || !c.watched[pid] || p.silent {
			continue
		}
		records = append(records, heat.Record{Kind: heat.KindWalk, TGID: pid}, heat.Record{Kind: heat.KindWalk, TGID: pid, Node: 1})
		for _, region := range c.areas[pid] {
			r := heat.Record{Kind: heat.KindYoung, TGID: pid, Node: 1, Other: pid == 2, Start: region * heat.RegionSize, End: (region + 1) * heat.RegionSize}
			r.Anon.SetRange(0, p.young)
			r.NotAnon.SetRange(p.pages, p.pages+p.young/2)
			records = append(records, r)
		}
		if a := c.areas[pid]; c.skips[pid] {
			records = append(records, heat.Record{Kind: heat.KindSkip, TGID: pid, Reason: "vma",
				Start: a[len(a)/2]*heat.RegionSize + 5*heat.PageSize, End: a[len(a)-1]*heat.RegionSize + 77*heat.PageSize})
		}
	}
	out, err := c.out, c.ageErr
	c.mu.Unlock()
	c.sink(records)
	if c.rand.IntN(10) == 0 {
		c.happen() // before identities are verified
	}
	return out, err
}

const cityConfig = `
aging: {passes_per_window: 3}
heat:
  never_accessed: {windows: 2, top: 1}
memcgs:
  - path: /[01]
    processes: {min_resident: 0}
    address_bands: 5
  - path: /2
    processes: {top: 1, min_resident: 0}
    regions: [/srv/*, /lib/2.so]
  - path: /never
`

// record lives through a story and returns the snapshots after each step.
func record(t *testing.T, c *city, yaml, file string, addresses bool, steps int) []*heat.Snapshot {
	t.Helper()
	return recordFrom(t, c, c, yaml, file, addresses, steps)
}

func recordFrom(t *testing.T, c *city, src source.Source, yaml, file string, addresses bool, steps int) []*heat.Snapshot {
	t.Helper()
	cfg, err := config.Parse("test", []byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := recording.Header{Started: time.Now(), Kernel: "6.1.0", Source: "fake", Granularity: src.Info().Granularity,
		PassesPerWindow: cfg.Aging.PassesPerWindow, Addresses: addresses, Mappings: true, SkipReasons: []string{"vma"}}
	if m, ok := src.(source.MappingSource); ok {
		h.SkipReasons = m.SkipReasons()
	}
	w, err := recording.NewWriter(f, h)
	if err != nil {
		t.Fatal(err)
	}
	rec := source.NewRecorder(w, h, c, c, src, source.RecorderOptions{Addresses: addresses,
		Watched: func(path string) bool { return path != "/" }})
	s, err := New(cfg, rec.Source(), Deps{Cgroups: rec, Processes: rec, Now: rec.Now, Ended: rec.Ended, Generations: rec.Generations(c.generations),
		SkipReasons: h.SkipReasons, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	var snaps []*heat.Snapshot
	for i := range steps {
		c.happen()
		if i%5 == 0 {
			if i%10 == 0 {
				s.generationsDue = time.Time{}
				s.lookAtGenerations(time.Now())
			}
			discover(t, s)
		} else {
			// What fails is part of the story.
			_, _ = s.Pass(context.Background(), fmt.Sprint("/", c.rand.IntN(3)))
		}
		snaps = append(snaps, s.Snapshot())
	}
	if err := rec.Close(); err != nil {
		t.Fatal(err)
	}
	return snaps
}

// mappedCity is a machine whose source sees mappings only.
type mappedCity struct{ *city }

var _ source.MappingSource = mappedCity{}

func (m mappedCity) Observe(p heat.Process, _ *heat.Selection) (*heat.MappingWindow, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch q := m.procs[p.TGID]; {
	case q == nil:
		return nil, process.ErrGone
	case q.resErr != nil:
		return nil, q.resErr
	}
	hot := uint64(m.rand.IntN(100)) * heat.PageSize
	if m.rand.IntN(6) == 0 {
		delete(m.procs, p.TGID) // before it is verified
	}
	return &heat.MappingWindow{SwappedBytes: 5 * heat.PageSize, Skips: []string{"reclaim"}, Areas: []heat.Area{
		{Node: 1, Type: heat.Shmem, Hot: hot, Cold: heat.PageSize, Resident: hot + heat.PageSize},
	}}, nil
}
