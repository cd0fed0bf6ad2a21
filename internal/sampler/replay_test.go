package sampler

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"golang.org/x/sys/unix"

	"mglru_exporter/collector"
	"mglru_exporter/internal/config"
	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/memcg"
	"mglru_exporter/internal/process"
	"mglru_exporter/internal/recording"
	"mglru_exporter/internal/source"
)

var update = flag.Bool("update", false, "rewrite the golden files under testdata")

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
		c.walkers = []string{"damon"}
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

// replaying returns a Sampler that plays a file.
func replaying(t testing.TB, file, yaml string) (*Sampler, *source.Replay) {
	t.Helper()
	cfg, err := config.Parse("test", []byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	r, err := source.OpenReplay(file, 0, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	s, err := New(cfg, r.Source(), Deps{Cgroups: r, Processes: r, Now: r.Now, Script: r, Generations: r.Generations,
		SkipReasons: r.Header().SkipReasons, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	return s, r
}

// play does the next step of a replay.
func play(s *Sampler, r *source.Replay) error {
	path, at, err := r.Next(context.Background())
	if err == nil {
		s.step(context.Background(), path, at)
	}
	return err
}

// exposition is /metrics but for what the exporter itself does.
func exposition(t testing.TB, s *heat.Snapshot) string {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(collector.New(func() *heat.Snapshot { return s }, collector.Options{LabelPID: true, LabelComm: true, MaxSeries: 20_000}))
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, f := range families {
		if n := f.GetName(); n == "mglru_cpu_seconds_total" {
			continue
		}
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// TestReplayIsWhatWasRecorded compares each snapshot of a replay with the one
// that there was when it was recorded.
func TestReplayIsWhatWasRecorded(t *testing.T) {
	told := ""
	for seed := range uint64(20) {
		file := filepath.Join(t.TempDir(), "city.mglru")
		addresses := seed%2 == 1
		want := facts(t, record(t, newCity(seed), cityConfig, file, addresses, 120)...)
		s, r := replaying(t, file, cityConfig)
		got := facts(t, s.Snapshot())
		for {
			err := play(s, r)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, facts(t, s.Snapshot())...)
		}
		// A pass that did nothing is not recorded.
		want, got = slices.Compact(want), slices.Compact(got)
		if diff := cmp.Diff(want, got[1:]); diff != "" {
			t.Fatalf("seed %d (-recorded +replayed):\n%.4000s", seed, diff)
		}
		tellsAddresses(t, file, addresses)
		told += strings.Join(got, "\n")
	}
	for _, want := range []string{`"Bands": [`, `"Excluded": [`, `"Never": [`, `"Mapping": "/srv/data"`, `"Mapping": "other"`} {
		if !strings.Contains(told, want) {
			t.Errorf("no snapshot has %s", want)
		}
	}
}

// facts are snapshots as JSON, but for who measured and at what cost.
func facts(t *testing.T, snaps ...*heat.Snapshot) []string {
	t.Helper()
	var out []string
	for _, s := range snaps {
		c := *s
		c.Source, c.Self.CPUSeconds, c.Self.BPFMemoryBytes = heat.SourceInfo{}, nil, 0
		if len(c.Self.OtherWalkers) == 0 {
			c.Self.OtherWalkers = nil
		}
		c.Memcgs = slices.Clone(c.Memcgs)
		for i := range c.Memcgs {
			m := &c.Memcgs[i]
			m.WindowEnd = m.WindowEnd.UTC().Round(0)
			m.Series = slices.Clone(m.Series)
			for j := range m.Series {
				m.Series[j].Bands = slices.Clone(m.Series[j].Bands)
				for k := range m.Series[j].Bands {
					m.Series[j].Bands[k].Start = 0 // no recording may tell
				}
			}
		}
		text, err := json.MarshalIndent(c, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(text))
	}
	return out
}

// tellsAddresses holds a recording to whether it may tell where regions are.
func tellsAddresses(t *testing.T, file string, want bool) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := recording.NewReader(f, file)
	if err != nil {
		t.Fatal(err)
	}
	var ev recording.Event
	in := func(region uint64) bool { return region >= aslr && region < aslr+1<<21 }
	for {
		err := r.Next(&ev)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		var told, has bool
		switch ev.Kind {
		case recording.Mapping:
			told, has = in(ev.Mapping.Start/heat.RegionSize) || in(ev.Mapping.End/heat.RegionSize), true
		case recording.Part:
			told, has = in(ev.Part.Region), true
		case recording.Young, recording.Skip:
			told, has = in(ev.Record.Start/heat.RegionSize), ev.Record.Start != 0
		case recording.Identity:
			if ev.Process.Image >= 1<<62 {
				t.Fatal("a hash of addresses is in the recording")
			}
		}
		if has && told != want {
			t.Fatalf("an event of kind %d tells an address: %v, want %v", ev.Kind, told, want)
		}
	}
}

// TestTwoReplaysMakeOneExposition: replay is byte-identical, and a pass that was
// cut, or a file, costs no more than what was cut.
func TestTwoReplaysMakeOneExposition(t *testing.T) {
	file := filepath.Join(t.TempDir(), "city.mglru")
	snaps := record(t, newCity(7), cityConfig, file, false, 100)
	want := exposition(t, snaps[len(snaps)-1])
	for range 2 {
		s, _ := replaying(t, file, cityConfig)
		ctx, cancel := context.WithCancel(context.Background())
		s.deps.Log = slog.New(slog.NewTextHandler(onLine(func(line string) {
			if strings.Contains(line, "played to its end") {
				cancel()
			}
		}), nil))
		if err := s.Run(ctx); err != nil {
			t.Fatal(err)
		}
		got := strings.ReplaceAll(exposition(t, s.Snapshot()), `source="replay"`, `source="fake"`)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("(-recorded +replayed):\n%s", diff)
		}
	}
}

type onLine func(string)

func (f onLine) Write(b []byte) (int, error) {
	f(string(b))
	return len(b), nil
}

// TestReplayOfAPartKeepsWhatWasWhole cuts a recording everywhere.
func TestReplayOfAPartKeepsWhatWasWhole(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "city.mglru")
	record(t, newCity(3), cityConfig, file, false, 40)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	all := played(t, file)
	cutFile := filepath.Join(dir, "cut.mglru")
	last := 0
	for n := 0; n < len(whole); n += 1 + n%41 {
		if err := os.WriteFile(cutFile, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := source.OpenReplay(cutFile, 0, slog.New(slog.DiscardHandler))
		if err == nil {
			_ = r.Close()
			got := played(t, cutFile)
			if len(got.facts) < last {
				t.Fatalf("%d bytes give fewer steps than less gave", n)
			}
			last = len(got.facts)
			if diff := cmp.Diff(all.facts[:last], got.facts, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("%d bytes (-whole +cut):\n%.2000s", n, diff)
			}
			err = got.err
		}
		if !errors.Is(err, recording.ErrTruncated) || !strings.Contains(err.Error(), "cut.mglru: at byte ") {
			t.Fatalf("%d of %d bytes: %v", n, len(whole), err)
		}
	}
	if last < len(all.facts)-1 {
		t.Errorf("%d of %d steps without the last byte", last, len(all.facts))
	}
}

type playedTo struct {
	facts []string
	err   error
}

// played plays a file to its end.
func played(t *testing.T, file string) playedTo {
	t.Helper()
	s, r := replaying(t, file, cityConfig)
	var p playedTo
	for {
		if p.err = play(s, r); p.err != nil {
			return p
		}
		p.facts = append(p.facts, facts(t, s.Snapshot())...)
	}
}

// TestReplayWithAnotherConfig: thresholds and selection are the replay's own.
func TestReplayWithAnotherConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "city.mglru")
	record(t, newCity(1), cityConfig, file, false, 100)
	s, r := replaying(t, file, "heat: {hot_fraction: 1}\naging: {passes_per_window: 3}\nmemcgs: [{path: /1, processes: {comm: p4, min_resident: 0}}]\n")
	for play(s, r) == nil {
		for i := range s.Snapshot().Memcgs {
			if err := s.Snapshot().Memcgs[i].Check(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, m := range s.Snapshot().Memcgs {
		if m.Path != "/1" {
			t.Errorf("memcg %s is not in the config", m.Path)
		}
	}
}

// mappedCity is a machine whose source sees mappings only.
type mappedCity struct{ *city }

func (mappedCity) Info() heat.SourceInfo {
	return heat.SourceInfo{Name: "fake", Granularity: "mapping"}
}
func (mappedCity) SkipReasons() []string { return []string{"reclaim"} }

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

func TestReplayOfMappings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "city.mglru")
	c := newCity(11)
	want := facts(t, recordFrom(t, c, mappedCity{c}, cityConfig, file, false, 150)...)
	got := played(t, file)
	if !errors.Is(got.err, io.EOF) {
		t.Fatal(got.err)
	}
	if diff := cmp.Diff(slices.Compact(want), slices.Compact(got.facts)); diff != "" {
		t.Fatalf("(-recorded +replayed):\n%.4000s", diff)
	}
}

// TestGuestRecording plays a recording of a guest, whose workload is that of
// TestRecordCommand in test/vm/guest. Series and values are held; HELP and TYPE
// are the collector's to test.
func TestGuestRecording(t *testing.T) {
	const golden = "testdata/guest.golden"
	last := ""
	for range 2 {
		s, r := replaying(t, "../recording/testdata/guest.mglru", `
heat: {never_accessed: {windows: 2, top: 3}}
memcgs:
  - {path: /**, processes: {min_resident: 0}, address_bands: 8}
  - {path: /test/shop.slice/web.service, processes: {min_resident: 0}, regions: ["[anon:*", "/data/*"], address_bands: 8}`)
		for {
			err := play(s, r)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		got := regexp.MustCompile(`(?m)^#.*\n`).ReplaceAllString(exposition(t, s.Snapshot()), "")
		if last != "" && got != last {
			t.Errorf("two replays differ:\n%s", cmp.Diff(last, got))
		}
		last = got
	}
	if *update {
		if err := os.WriteFile(golden, []byte(last), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), last); diff != "" {
		t.Errorf("%s (-want +got; renew with -update):\n%s", golden, diff)
	}
}

// FuzzReplay plays recordings that no sampler has made: whatever is in them, it
// ends, and what it shows adds up.
func FuzzReplay(f *testing.F) {
	var all, none heat.Bitmap
	all.SetRange(0, heat.PagesPerRegion)
	id := heat.Process{ProcessID: heat.ProcessID{TGID: 1, Start: 1, Image: 1}, Comm: "a"}
	palette := []recording.Event{
		{Kind: recording.Group, Text: "/1", Inode: 1}, {Kind: recording.Group, Text: "/1", Inode: 2}, {Kind: recording.Ungroup, Text: "/1"},
		{Kind: recording.Discovered}, {Kind: recording.Discovered, Text: "no"},
		{Kind: recording.Pass, Text: "/1"}, {Kind: recording.Pass, Text: "/2"}, {Kind: recording.Pass, Text: "/1", Result: recording.Gone},
		{Kind: recording.PID, TGID: 1}, {Kind: recording.PID, TGID: 2}, {Kind: recording.Identity, Process: id},
		{Kind: recording.Identity, Result: recording.Gone, Process: id}, {Kind: recording.Refused, TGID: 1},
		{Kind: recording.Residency, TGID: 1}, {Kind: recording.Residency, TGID: 2, Result: recording.NoMemory}, {Kind: recording.Part, Part: heat.ResidentPart{Region: 9, Node: 1000, Pages: all}},
		{Kind: recording.Part, Part: heat.ResidentPart{Region: 8, Node: -1, Pages: all}}, {Kind: recording.Part, Part: heat.ResidentPart{Region: 8, Type: heat.File, Pages: none}},
		{Kind: recording.Unscanned, Unscanned: heat.UnscannedPages{Pages: 1 << 50}}, {Kind: recording.Aging}, {Kind: recording.Aged, Outcome: recording.Outcome{Nodes: 1}},
		{Kind: recording.Aged, Result: recording.Failed, Reason: "\xff"}, {Kind: recording.LostBy, TGID: 1}, {Kind: recording.Clock, At: time.Second}, {Kind: recording.Walker, Text: "w"},
		{Kind: recording.Young, Record: heat.Record{TGID: 1, Start: 8 * heat.RegionSize, Anon: all}}, {Kind: recording.Skip, Record: heat.Record{TGID: 1, Start: 5, End: 1 << 62}},
		{Kind: recording.Walk, Record: heat.Record{TGID: 1}}, {Kind: recording.Observed, TGID: 1}, {Kind: recording.Area, Area: heat.Area{Hot: 1}}, {Kind: recording.Unsure, Text: "u"},
		{Kind: recording.Generations}, {Kind: recording.GenMemcg, Text: "/1"}, {Kind: recording.GenNode, Node: 1}, {Kind: recording.Gen},
		{Kind: recording.Done}, {Kind: recording.End},
		{Kind: recording.Mapping, Mapping: heat.Mapping{Start: 0, End: 8*heat.RegionSize + 4096, Name: "/a\xff"}},
		{Kind: recording.Mapping, Mapping: heat.Mapping{Start: 8*heat.RegionSize + 4096, End: 10 * heat.RegionSize, Name: "b", NoAccess: true}},
		{Kind: recording.Mapping, Mapping: heat.Mapping{Start: 9 * heat.RegionSize, End: 1<<64 - 4096, Name: "[heap]"}},
	}
	story := []byte{0, 3, 5, 8, 10, 13, 16, 15, 19, 27, 25, 20, 10, 23, 23, 35, 5, 8, 10, 13, 16, 19, 25, 20, 10, 23, 35, 36}
	f.Add(story, false)
	f.Add(story, true)
	f.Add(append([]byte{31, 32, 33, 34}, story...), false)
	f.Add([]byte{0, 3, 5, 8, 10, 28, 29, 30, 10, 35, 36}, true)
	mapped := []byte{5, 8, 10, 13, 37, 38, 16, 15, 19, 27, 25, 20, 10, 23, 35}
	f.Add(append([]byte{0, 3}, append(slices.Concat(mapped, mapped, mapped), 36)...), false)
	f.Add([]byte{0, 3, 5, 8, 10, 13, 38, 37, 19, 20, 35, 36}, false) // out of order
	f.Add([]byte{0, 3, 5, 8, 10, 13, 37, 39, 16, 19, 20, 35, 36}, false)
	file := filepath.Join(f.TempDir(), "fuzz.mglru")
	f.Fuzz(func(t *testing.T, choices []byte, mappings bool) {
		h := recording.Header{Started: time.Unix(1, 0), Granularity: "page", PassesPerWindow: 1}
		if mappings {
			h.Granularity = "mapping"
		}
		out, err := os.Create(file)
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		w, err := recording.NewWriter(out, h)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range choices {
			// Records many times over, so that they do not all fit into a batch.
			ev := palette[int(c)%len(palette)]
			for range 1 + int(c)/len(palette)*100 {
				if err := w.Write(&ev); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		s, r := replaying(t, file, `
aging: {passes_per_window: 1}
heat: {never_accessed: {windows: 1}}
memcgs:
  - {path: /1, processes: {min_resident: 0}, regions: ["/a*", 0x1000000-0x1010000], address_bands: 3}
  - {path: /**, processes: {min_resident: 0}, address_bands: 512}`)
		for play(s, r) == nil {
			for i := range s.Snapshot().Memcgs {
				if err := s.Snapshot().Memcgs[i].Check(); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}
