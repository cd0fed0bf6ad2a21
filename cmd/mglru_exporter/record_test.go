package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mglru_exporter/internal/config"
	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/memcg"
	"mglru_exporter/internal/sampler"
	"mglru_exporter/internal/source"
)

// village is a machine with one memcg, which has one process with one region,
// half of it in use.
type village struct{ sink source.Sink }

func (*village) Walk() ([]memcg.Group, error) {
	return []memcg.Group{{Path: "/", Inode: 1}, {Path: "/a", Inode: 2}}, nil
}
func (*village) Procs(string) ([]int, error) { return []int{42}, nil }
func (*village) Identify(pid int) (heat.Process, error) {
	return heat.Process{ProcessID: heat.ProcessID{TGID: pid, Start: 7, Image: 0xdeadbeef00}, Comm: "mill"}, nil
}
func (*village) Residency(_ context.Context, _ int, res *heat.Residency) error {
	var pages heat.Bitmap
	pages.SetRange(0, heat.PagesPerRegion)
	const start, middle, end = 0xabcdef * heat.RegionSize, 0xabcdef*heat.RegionSize + heat.RegionSize/4, 0xabcdf0 * heat.RegionSize
	*res = heat.Residency{Parts: []heat.ResidentPart{{Region: 0xabcdef, Pages: pages}}, Mappings: []heat.Mapping{
		{Start: start, End: middle, Name: "[heap]"}, {Start: middle, End: end, Name: "/opt/mill/wheel.so"},
	}}
	return nil
}
func (*village) Info() heat.SourceInfo {
	return heat.SourceInfo{Name: "fake", Granularity: "page"}
}
func (v *village) Start(sink source.Sink) error            { v.sink = sink; return nil }
func (*village) Watch(_, _ []int) (refused []int, _ error) { return nil, nil }
func (v *village) Age(context.Context, source.Request) (source.Outcome, error) {
	r := heat.Record{Kind: heat.KindYoung, TGID: 42, Start: 0xabcdef * heat.RegionSize}
	r.Anon.SetRange(0, heat.PagesPerRegion/2)
	v.sink([]heat.Record{{Kind: heat.KindWalk, TGID: 42}, r})
	return source.Outcome{Nodes: 1}, nil
}
func (*village) OtherWalkers() []heat.Walker { return nil }
func (*village) MemoryBytes() uint64         { return 4096 }
func (*village) Close() error                { return nil }

func villageSystem() system {
	sys := host()
	sys.parts = func(_ *config.Config, log *slog.Logger) (source.Source, sampler.Deps, error) {
		v := &village{}
		return v, sampler.Deps{Cgroups: v, Processes: v, Log: log}, nil
	}
	return sys
}

const quickConfig = "aging: {interval: 100ms, passes_per_window: 2, cpu_budget: 1, concurrency: 3}\nmemcgs: [{path: /a, processes: {min_resident: 0}}]\n"

// TestRecordAndServeIt records, and serves what was recorded twice: the two are
// the same, and what the machine was like.
func TestRecordAndServeIt(t *testing.T) {
	file := filepath.Join(t.TempDir(), "village.mglru")
	var stdout, stderr bytes.Buffer
	args := []string{"record", "--config.file=" + write(t, "config.yaml", quickConfig), "--windows=2", file}
	if code := run(t.Context(), args, &stdout, &stderr, villageSystem()); code != exitOK {
		t.Fatalf("exit code %d, stderr:\n%s", code, stderr.String())
	}
	if ok, _ := regexp.MatchString(`village.mglru: [23] windows of 1 memcgs in [\d.]+m?s, \d+ bytes\n$`, stdout.String()); !ok {
		t.Errorf("stdout: %q", stdout.String())
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v: others may read it", info.Mode(), err)
	}
	playing := write(t, "config.yaml", "source: replay\nreplay: {file: "+file+", speed: 0}\nmemcgs: [{path: /a, processes: {min_resident: 0}}]\n")
	var pages [2]string
	for i := range pages {
		url, stop := startReplay(t, "--web.disable-exporter-metrics", "--config.file="+playing)
		if status, why := get(t, url+"/-/ready"); status != 200 {
			t.Errorf("not ready: %s", why)
		}
		_, pages[i] = get(t, url+"/metrics")
		if hot := `mglru_hot_bytes{comm="mill",memcg="/a",node="0",pid="42",type="anon"} 1.048576e+06`; !strings.Contains(pages[i], hot) {
			t.Errorf("no %s in\n%s", hot, pages[i])
		}
		if code, stderr := stop(); code != exitOK || !strings.Contains(stderr, "Playing a recording") {
			t.Errorf("exit code %d, stderr:\n%s", code, stderr)
		}
	}
	self := regexp.MustCompile(`(?m)^mglru_(cpu_seconds_total|config_last_reload_success_timestamp_seconds).*\n`)
	if diff := cmp.Diff(self.ReplaceAllString(pages[0], ""), self.ReplaceAllString(pages[1], "")); diff != "" {
		t.Errorf("two replays differ:\n%s", diff)
	}
	if !strings.Contains(pages[0], `mglru_source_info{granularity="page",source="replay"} 1`) {
		t.Error("the source is not replay")
	}
	if strings.Contains(pages[0], "mglru_excluded_bytes{") || strings.Contains(pages[0], "mglru_address") {
		t.Error("nobody has asked for regions or bands")
	}
	some := write(t, "config.yaml", "source: replay\nreplay: {file: "+file+", speed: 0}\nmemcgs: [{path: /a, processes: {min_resident: 0}, regions: [/opt/*], address_bands: 1}]\n")
	for _, flag := range []string{"--no-web.expose-addresses", "--web.expose-addresses"} {
		url, stop := startReplay(t, flag, "--config.file="+some)
		_, page := get(t, url+"/metrics")
		for _, want := range []string{
			`mglru_resident_bytes{comm="mill",memcg="/a",node="0",pid="42",type="anon"} 1.572864e+06`,
			`mglru_hot_bytes{comm="mill",memcg="/a",node="0",pid="42",type="anon"} 524288`,
			`mglru_excluded_bytes{comm="mill",memcg="/a",node="0",pid="42",type="anon"} 524288`,
			`mglru_address_resident_bytes{band="000",comm="mill",memcg="/a",pid="42"} 1.572864e+06`,
			`mglru_address_accesses{band="000",comm="mill",memcg="/a",pid="42"} 256`, // 128 pages in each of 2 passes
			`mglru_address_band_info{band="000",comm="mill",mapping="/opt/mill/wheel.so",memcg="/a",pid="42"`,
		} {
			if !strings.Contains(page, want) {
				t.Errorf("%s: no %s in\n%s", flag, want, page)
			}
		}
		if got := strings.Contains(page, `start="0x`); got != (flag == "--web.expose-addresses") {
			t.Errorf("%s: addresses in the metrics: %v", flag, got)
		}
		if code, stderr := stop(); code != exitOK {
			t.Errorf("exit code %d, stderr:\n%s", code, stderr)
		}
	}
	stdout.Reset()
	if code := run(t.Context(), []string{"check", "--config.file=" + playing}, &stdout, &stderr, host()); code != exitOK || !strings.Contains(stdout.String(), "with source fake") {
		t.Errorf("check: exit code %d\n%s", code, stdout.String())
	}
}

func TestRecordStopsInOrder(t *testing.T) {
	cfg := write(t, "config.yaml", quickConfig)
	file := filepath.Join(t.TempDir(), "village.mglru")
	for name, args := range map[string][]string{"a signal": {"--force"}, "its duration": {"--force", "--duration=300ms"}} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if len(args) == 1 {
			time.AfterFunc(300*time.Millisecond, cancel)
		}
		var stdout, stderr bytes.Buffer
		args = append([]string{"record", "--config.file=" + cfg, file}, args...)
		code := run(ctx, args, &stdout, &stderr, villageSystem())
		cancel()
		if code != exitOK {
			t.Errorf("%s: exit code %d, stderr:\n%s", name, code, stderr.String())
		}
		if r := source.PreflightReplay(file); !r.OK() {
			t.Errorf("after %s the recording is not whole: %s", name, r.Requirements[0].Detail)
		}
	}
}

// TestRecordForceTrustsNothingThatIsThere: links lead elsewhere, modes and owners are
// somebody's, and a pipe would wait for a reader.
func TestRecordForceTrustsNothingThatIsThere(t *testing.T) {
	cfg, dir := write(t, "config.yaml", quickConfig), t.TempDir()
	precious, link, hard, open, pipe := filepath.Join(dir, "precious"), filepath.Join(dir, "link"), filepath.Join(dir, "hard"), filepath.Join(dir, "open"), filepath.Join(dir, "pipe")
	if err := errors.Join(os.WriteFile(precious, []byte("precious"), 0o644), os.Symlink(precious, link), os.Link(precious, hard),
		os.WriteFile(open, []byte("old"), 0o666), os.Chmod(open, 0o666), syscall.Mkfifo(pipe, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ file, want string }{
		{link, "is no regular file"}, {pipe, "is no regular file"}, {dir, "is no regular file"}, {hard, ""}, {open, ""},
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), []string{"record", "--config.file=" + cfg, c.file, "--force", "--duration=300ms"}, &stdout, &stderr, villageSystem())
		if (code == exitOK) != (c.want == "") || !strings.Contains(stderr.String(), c.want) {
			t.Errorf("%s: exit code %d, want %q, stderr:\n%s", c.file, code, c.want, stderr.String())
		}
		if c.want != "" {
			continue
		}
		if info, err := os.Stat(c.file); err != nil || info.Mode() != 0o600 || !source.PreflightReplay(c.file).OK() {
			t.Errorf("%s: mode %v, %v; want a whole recording that its owner alone may read", c.file, info.Mode(), err)
		}
	}
	if b, err := os.ReadFile(precious); err != nil || string(b) != "precious" {
		t.Errorf("what links lead to is now %.20q, %v", b, err)
	}
}

func TestRecordRefusals(t *testing.T) {
	cfg := write(t, "config.yaml", quickConfig)
	there := write(t, "there.mglru", "precious")
	fresh := filepath.Join(t.TempDir(), "fresh.mglru")
	for _, c := range []struct {
		name string
		sys  system
		args []string
		want string
	}{
		{"no file", villageSystem(), nil, "required argument 'file' not provided"},
		{"file is there", villageSystem(), []string{there}, "is there already, name another file or say --force"},
		{"no directory", villageSystem(), []string{filepath.Join(there, "x")}, "create the recording: "},
		{"disk full", villageSystem(), []string{"--force", "/dev/full"}, "write the recording: write /dev/full: no space left on device"},
		{"a replay", villageSystem(), []string{fresh, "--config.file=" + write(t, "config.yaml", "source: replay\nreplay: {file: x}\nmemcgs: [{path: /a}]\n")}, "which is a recording already"},
		{"no source", system{parts: func(*config.Config, *slog.Logger) (source.Source, sampler.Deps, error) {
			return nil, sampler.Deps{}, errors.New("no source works here")
		}}, []string{fresh}, "no source works here"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			args := append([]string{"record"}, c.args...)
			if len(c.args) < 2 || !strings.HasPrefix(c.args[1], "--config.file=") {
				args = append(args, "--config.file="+cfg)
			}
			code := run(t.Context(), args, &stdout, &stderr, c.sys)
			if code == exitOK || !strings.Contains(stderr.String(), c.want) {
				t.Errorf("exit code %d, stderr:\n%s\nwant %q", code, stderr.String(), c.want)
			}
		})
	}
	if b, err := os.ReadFile(there); err != nil || string(b) != "precious" {
		t.Errorf("what was there is now %q, %v", b, err)
	}
	if _, err := os.Stat(fresh); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing was recorded, but the file is there: %v", err)
	}
}
