package config_test

import (
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mglru_exporter/internal/config"
	"mglru_exporter/internal/heat"
)

var update = flag.Bool("update", false, "rewrite the wanted messages under testdata")

// comparable compares regular expressions by their text.
var comparable = cmp.Transformer("regexp", func(re *regexp.Regexp) string {
	if re == nil {
		return ""
	}
	return re.String()
})

func parseFile(t *testing.T, file string) (*config.Config, error) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return config.Parse(filepath.Base(file), data)
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("no fixture matches %s: %v", pattern, err)
	}
	return files
}

func TestEveryWayToBeWrongHasItsMessage(t *testing.T) {
	for _, file := range glob(t, "*.bad.yml") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			c, err := parseFile(t, file)
			if err == nil {
				t.Fatalf("parsed as %+v, want an error", c)
			}
			got := err.Error() + "\n"
			wantFile := strings.TrimSuffix(file, ".yml") + ".err"
			if *update {
				if err := os.WriteFile(wantFile, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(wantFile)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
		})
	}
}

func base() *config.Config {
	ages := []time.Duration{time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour}
	return &config.Config{
		Source:     "auto",
		Replay:     config.Replay{Speed: 1},
		Referenced: config.Referenced{MaxProcess: 512 << 20},
		Aging: config.Aging{
			Interval: 30 * time.Second, PassesPerWindow: 4, CPUBudget: 0.02, CanSwap: true, Concurrency: 1,
		},
		Heat: config.Heat{
			HotFraction: 0.5, RegionBuckets: []uint64{0, 1, 8, 64, 256, 512, 1024, 2048},
			IdleAges: ages, Average: 10 * time.Minute,
			NeverAccessed: config.NeverAccessed{Windows: 10, Top: 5},
		},
		Labels: config.Labels{PID: true, Comm: true},
		Limits: config.Limits{MaxSeries: 50_000, MaxMemcgs: 10_000, MaxTrackedBytes: 256 << 30, MaxHeatmapBytes: 8 << 20},
	}
}

func TestGoodFiles(t *testing.T) {
	procs := config.Processes{Top: 20, MinResident: 16 << 20}
	ages := base().Heat.IdleAges
	told := []time.Duration{time.Second, 25400 * time.Millisecond} // 254 × 100ms
	minimal := base()
	minimal.Memcgs = []config.Memcg{{Path: "/**", Interval: 30 * time.Second, IdleAges: ages, Processes: procs}}

	directive := base()
	directive.Aging.Interval = 10 * time.Second
	directive.Memcgs = []config.Memcg{{Path: "/**", Interval: 10 * time.Second, IdleAges: ages[:5], Processes: procs}}

	anchors := base()
	anchors.Aging.Interval = time.Minute
	few := config.Processes{Top: 3, MinResident: 16 << 20}
	anchors.Memcgs = []config.Memcg{
		{Path: "/a.slice", Interval: 5 * time.Second, IdleAges: ages[:4], Processes: few}, // 30m is more than 254 × 5s
		{Path: "/b.slice", Interval: 5 * time.Second, IdleAges: ages[:4], Processes: few},
	}

	sections := base()
	sections.Memcgs = []config.Memcg{{Path: "/web.slice", Interval: 30 * time.Second, IdleAges: ages, Processes: procs}}

	comm := base()
	for i, re := range []string{"prometheus-node.*", "(java|mysql)?.*exporter.*", "(?i)KKKKKKKKKKKKKKK", "(long-enough-and-more)*x"} {
		p := procs
		p.Comm = regexp.MustCompile("^(?s:" + re + ")$")
		comm.Memcgs = append(comm.Memcgs, config.Memcg{Path: "/" + string(rune('a'+i)), Interval: 30 * time.Second, IdleAges: ages, Processes: p})
	}

	replay := base()
	replay.Source, replay.Replay = "replay", config.Replay{File: "/var/lib/mglru_exporter/night.mglru", Speed: 12.5}
	replay.Memcgs = minimal.Memcgs

	want := map[string]*config.Config{
		"replay.good.yml":         replay,
		"minimal.good.yml":        minimal,
		"directive.good.yml":      directive,
		"comm.good.yml":           comm,
		"anchors.good.yml":        anchors,
		"empty-sections.good.yml": sections,
		"full.good.yml": {
			Source:     "hooks",
			Replay:     config.Replay{Speed: 1},
			Referenced: config.Referenced{MaxProcess: 0},
			Aging: config.Aging{
				Interval: 10 * time.Second, PassesPerWindow: 7, CPUBudget: 1, CanSwap: false, Concurrency: 64,
			},
			Heat: config.Heat{HotFraction: 1, RegionBuckets: []uint64{0, 512}, IdleAges: told, Average: 90 * time.Second, NeverAccessed: config.NeverAccessed{Windows: 36}},
			Memcgs: []config.Memcg{
				{
					Path: "/", Interval: 90 * time.Minute, IdleAges: told,
					Processes: config.Processes{Comm: regexp.MustCompile("^(?s:postgres|memcached)$")},
				},
				{Path: "/system.slice/memcached.service", Interval: 100 * time.Millisecond, IdleAges: told, Processes: procs},
				{
					Path: "/kubepods.slice/**", Interval: 10 * time.Second, IdleAges: told,
					Processes:    config.Processes{Top: 20, MinResident: 3 << 29},
					Regions:      heat.Selection{Names: []string{"[heap]", "/dev/shm/*"}, Ranges: []heat.Range{{Start: 0x7f0000000000, End: 0x7f0040000000}}},
					AddressBands: 512,
				},
				{Path: `/system.slice/system-a\\x2db.slice/[!x]*`, Interval: 10 * time.Second, IdleAges: told, Processes: procs},
			},
			Limits: config.Limits{MaxSeries: 1, MaxMemcgs: 7, MaxTrackedBytes: 2 << 20},
		},
	}
	for _, file := range glob(t, "*.good.yml") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			got, err := parseFile(t, file)
			if err != nil {
				t.Fatal(err)
			}
			w := want[filepath.Base(file)]
			if w == nil {
				t.Fatal("no wanted config")
			}
			if diff := cmp.Diff(w, got, comparable); diff != "" {
				t.Errorf("config (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCommMatchesTheWholeName(t *testing.T) {
	c, err := parseFile(t, "testdata/full.good.yml")
	if err != nil {
		t.Fatal(err)
	}
	for comm, want := range map[string]bool{
		"postgres": true, "memcached": true, "postgres\n": false, "xmemcached": false, "memcached2": false,
	} {
		if got := c.Memcgs[0].Processes.Comm.MatchString(comm); got != want {
			t.Errorf("%q matches: %v, want %v", comm, got, want)
		}
	}
}

func TestCheckAddresses(t *testing.T) {
	c, err := parseFile(t, "testdata/full.good.yml")
	if err != nil {
		t.Fatal(err)
	}
	c.Memcgs[0].Regions.Ranges = []heat.Range{{Start: 0x1000, End: 0x2000}, {Start: 0x5000, End: 0x6000}}
	want := []string{
		"memcgs[0].regions: 0x1000-0x2000 (of /) is a range of addresses, start with --flag to allow that or write the mapping's name",
		"memcgs[2].regions: 0x7f0000000000-0x7f0040000000 (of /kubepods.slice/**) is a range of addresses, start with --flag to allow that or write the mapping's name",
	}
	var got []string
	for _, err := range c.CheckAddresses("--flag") {
		got = append(got, err.Error())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("with ranges in two memcgs (-want +got):\n%s", diff)
	}
	c.Memcgs[0].Regions.Ranges, c.Memcgs[2].Regions.Ranges = nil, nil
	if errs := c.CheckAddresses("--flag"); errs != nil {
		t.Errorf("without: %v", errs)
	}
}

func TestLoad(t *testing.T) {
	if _, err := config.Load("testdata/minimal.good.yml"); err != nil {
		t.Error(err)
	}
	if _, err := config.Load("testdata/none.yml"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v, want fs.ErrNotExist", err)
	}
	if _, err := config.Load("testdata"); err == nil || !strings.Contains(err.Error(), "testdata") {
		t.Errorf("directory: %v, want an error that names it", err)
	}
	big := filepath.Join(t.TempDir(), "big.yml")
	if err := os.WriteFile(big, make([]byte, 2<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(big); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("2 MiB file: %v, want an error about its size", err)
	}
}

// TestExample holds config.example.yaml to its word: it parses, and a value
// that its comment calls the default is the default.
func TestExample(t *testing.T) {
	const file = "../../config.example.yaml"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got, err := config.Parse(file, data)
	if err != nil {
		t.Fatal(err)
	}
	minimal, err := parseFile(t, "testdata/minimal.good.yml")
	if err != nil {
		t.Fatal(err)
	}
	withoutMemcgs := *got
	withoutMemcgs.Memcgs = minimal.Memcgs
	if diff := cmp.Diff(minimal, &withoutMemcgs, comparable); diff != "" {
		t.Errorf("example differs from the defaults (-default +example):\n%s", diff)
	}
	if diff := cmp.Diff(minimal.Memcgs[0], got.Memcgs[0], comparable); diff != "" {
		t.Errorf("the example's first memcg differs from the defaults (-default +example):\n%s", diff)
	}

	// With every commented-out example switched on it parses as well.
	on := regexp.MustCompile(`(?m)^  # ((?:- path|  aging|  processes|  regions|  address_bands): .*)$`).ReplaceAll(data, []byte("  $1"))
	all, err := config.Parse(file, on)
	if err != nil {
		t.Fatalf("with the commented-out parts: %v", err)
	}
	if len(all.Memcgs) <= len(got.Memcgs) {
		t.Errorf("%d memcgs with the commented-out parts, %d without: found none of them", len(all.Memcgs), len(got.Memcgs))
	}
}

func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"*.good.yml", "*.bad.yml"} {
		files, err := filepath.Glob(filepath.Join("testdata", pattern))
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	line := regexp.MustCompile(`^f:[1-9][0-9]*: .`)
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := config.Parse("f", data)
		if err != nil {
			for l := range strings.SplitSeq(err.Error(), "\n") {
				if !line.MatchString(l) {
					t.Fatalf("not one line with file and line: %q", l)
				}
			}
			return
		}
		if len(c.Memcgs) == 0 || c.Limits.MaxSeries < 1 || !(c.Aging.CPUBudget > 0 && c.Aging.CPUBudget <= 1) {
			t.Fatalf("accepted %+v", c)
		}
		for _, m := range c.Memcgs {
			if m.Interval < config.MinInterval || m.Path[0] != '/' {
				t.Fatalf("accepted %+v", m)
			}
		}
	})
}
