package sampler

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"mglru_exporter/collector"
	"mglru_exporter/internal/config"
	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/recording"
	"mglru_exporter/internal/source"
)

var update = flag.Bool("update", false, "rewrite the golden files under testdata")

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

// facts are snapshots as JSON, but for who measured, since when and at what cost.
func facts(t *testing.T, snaps ...*heat.Snapshot) []string {
	t.Helper()
	var out []string
	for _, s := range snaps {
		c := *s
		c.Source, c.MemcgSet, c.Self.CPUSeconds, c.Self.BPFMemoryBytes = heat.SourceInfo{}, 0, nil, 0
		c.Self.Since = time.Time{}
		if len(c.Self.OtherWalkers) == 0 {
			c.Self.OtherWalkers = nil
		}
		c.Memcgs = slices.Clone(c.Memcgs)
		for i := range c.Memcgs {
			copied := *c.Memcgs[i]
			m := &copied
			c.Memcgs[i] = m
			m.WindowEnd, m.Passes.Since = m.WindowEnd.UTC().Round(0), time.Time{}
			// Processes' own counters begin with a window, which is recorded.
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

func (mappedCity) Info() heat.SourceInfo {
	return heat.SourceInfo{Name: "fake", Granularity: "mapping"}
}

func (mappedCity) SkipReasons() []string { return []string{"reclaim"} }

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
