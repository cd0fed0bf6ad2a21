//go:build guest

package guest

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"mglru_exporter/bpf"
	"mglru_exporter/internal/config"
	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/memcg"
	"mglru_exporter/internal/process"
	"mglru_exporter/internal/sampler"
	"mglru_exporter/internal/source"
)

const lruGen = "/sys/kernel/debug/lru_gen"

// A rig is the exporter's spine, stepped pass by pass by a test.
type rig struct {
	*sampler.Sampler
	src  source.Source
	proc *process.Proc
	cfg  *config.Config
	// now is the time, for a test that sets it; else it is the clock's.
	now time.Time
	// parts are those of the last window by tgid.
	parts map[int][]classified
	// exact is what checkWindow has found, by name of the area.
	exact map[string]*exactness
}

// exactness is how well all windows of an area agreed with the ledger.
type exactness struct {
	regions, wrong int // in all windows
	unobserved     bool
}

type classified struct {
	heat.ResidentPart
	heat.Classes
}

// newRig watches the given memcg patterns, and gives each process its series.
// Extra goes into the config, but "comm=RE" restricts all entries.
func newRig(t testing.TB, opts bpf.HooksOptions, extra string, memcgs ...string) *rig {
	t.Helper()
	return newRigOf(t, newSource(t, opts, testLog(t)), extra, memcgs...)
}

// newRigOf is newRig with a source that the test chooses.
func newRigOf(t testing.TB, src source.Source, extra string, memcgs ...string) *rig {
	t.Helper()
	var yaml strings.Builder
	filter := ""
	if comm, ok := strings.CutPrefix(extra, "comm="); ok {
		filter, extra = ", comm: "+comm, ""
	}
	fmt.Fprintf(&yaml, "%s\nmemcgs:\n", extra)
	for _, m := range memcgs {
		fmt.Fprintf(&yaml, "  - path: %s\n    processes: {min_resident: 0%s}\n", m, filter)
	}
	r := &rig{src: src, parts: map[int][]classified{}, exact: map[string]*exactness{}}
	var err error
	if r.cfg, err = config.Parse("test", []byte(yaml.String())); err != nil {
		t.Fatal(err)
	}
	if r.proc, err = process.NewProc("/proc", "/sys"); err != nil {
		t.Fatal(err)
	}
	cgroups, err := memcg.Open("/proc")
	if err != nil {
		t.Fatal(err)
	}
	log := testLog(t)
	r.Sampler, err = sampler.New(r.cfg, r.src, sampler.Deps{
		Cgroups: cgroups, Processes: r.proc, SkipReasons: source.SkipReasons(), Log: log,
		Visit: func(p heat.Process, part *heat.ResidentPart, c *heat.Classes) {
			own := *c
			own.Idle, own.Reaccessed = slices.Clone(c.Idle), slices.Clone(c.Reaccessed)
			r.parts[p.TGID] = append(r.parts[p.TGID], classified{*part, own})
		},
		Now: func() time.Time {
			if r.now.IsZero() {
				return time.Now()
			}
			return r.now
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.src.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	if err := r.Discover(time.Now()); err != nil {
		t.Fatal(err)
	}
	return r
}

// sourceName is the source that the rig is for: the suite's.
func sourceName() string { return cmp.Or(os.Getenv("MGLRU_SOURCE"), "hooks") }

// newSource makes the suite's source. One that is not hooks takes from the
// options what it knows.
func newSource(t testing.TB, opts bpf.HooksOptions, log *slog.Logger) source.Source {
	t.Helper()
	if sourceName() == "stock" {
		return newStock(t, bpf.StockOptions{RingBytes: opts.RingBytes, Log: log})
	}
	opts.Log = log
	return source.NewHooks(opts, process.NewFS("/proc"), lruGen, "/sys")
}

func newStock(t testing.TB, opts bpf.StockOptions) *source.Stock {
	t.Helper()
	cgroups, err := memcg.Open("/proc")
	if err != nil {
		t.Fatal(err)
	}
	return source.NewStock(opts, process.NewFS("/proc"), cgroups, lruGen, "/sys")
}

func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type testWriter struct{ testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.Logf("%s", strings.TrimSuffix(string(b), "\n"))
	return len(b), nil
}

// mustPass runs one pass, which must not fail.
func (r *rig) mustPass(t testing.TB, path string) {
	t.Helper()
	clear(r.parts)
	if _, err := r.Pass(context.Background(), path); err != nil {
		t.Fatalf("pass of %s: %v", path, err)
	}
}

// memcg returns a memcg's part of the last snapshot.
func (r *rig) memcg(t testing.TB, path string) heat.MemcgSnapshot {
	t.Helper()
	for _, m := range r.Snapshot().Memcgs {
		if m.Path == path {
			if err := m.Check(); err != nil {
				t.Error(err)
			}
			return *m
		}
	}
	t.Fatalf("memcg %s is not in the snapshot", path)
	return heat.MemcgSnapshot{}
}

// areas returns the areas of one process.
func areas(t testing.TB, m heat.MemcgSnapshot, pid int) []heat.Area {
	t.Helper()
	for _, s := range m.Series {
		if s.PID == pid {
			return s.Areas
		}
	}
	t.Fatalf("process %d has no series in %s", pid, m.Path)
	return nil
}

// tally is pages by class.
type tally struct{ hot, warm, cold, unobserved int }

func (a tally) String() string {
	return fmt.Sprintf("hot %d warm %d cold %d unobserved %d", a.hot, a.warm, a.cold, a.unobserved)
}

func (a *tally) add(pages, hot, warm, cold *heat.Bitmap) {
	h, w, c := hot.Count(), warm.Count(), cold.Count()
	a.hot += h
	a.warm += w
	a.cold += c
	a.unobserved += pages.Count() - h - w - c
}

// key is what bytes are labelled by, within a process.
type key struct {
	node int
	typ  heat.Type
}
