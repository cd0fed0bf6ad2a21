//go:build guest

package guest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mglru_exporter/bpf"
	"mglru_exporter/internal/config"
	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/memcg"
	"mglru_exporter/internal/process"
	"mglru_exporter/internal/recording"
	"mglru_exporter/internal/sampler"
	"mglru_exporter/internal/source"
)

// judged is all that a window says of the pages, in the order in which it was
// said of each process, without where they are.
type judged map[int][]string

func (j judged) visit(p heat.Process, part *heat.ResidentPart, c *heat.Classes) {
	j[p.TGID] = append(j[p.TGID], fmt.Sprint(part.Node, part.Type, part.Pages, *c))
}

// remembered is a snapshot, and how the pages were judged in its window, as JSON.
func remembered(t testing.TB, s *heat.Snapshot, j judged) string {
	t.Helper()
	c := *s
	c.Source, c.MemcgSet, c.Self.CPUSeconds, c.Self.BPFMemoryBytes = heat.SourceInfo{}, 0, nil, 0
	c.Self.Since = time.Time{} // of who plays
	c.Self.OtherWalkers = append([]heat.Walker{}, c.Self.OtherWalkers...)
	c.Memcgs = slices.Clone(c.Memcgs)
	for i := range c.Memcgs {
		copied := *c.Memcgs[i]
		m := &copied
		c.Memcgs[i] = m
		// When a memcg came under watch is told by its player's clock.
		m.WindowEnd, m.Passes.Since = m.WindowEnd.UTC().Round(0), time.Time{}
		m.Series = slices.Clone(m.Series)
		for j := range m.Series {
			m.Series[j].Bands = slices.Clone(m.Series[j].Bands)
			for k := range m.Series[j].Bands {
				m.Series[j].Bands[k].Start = 0 // an address, which no recording may tell
			}
		}
	}
	text, err := json.MarshalIndent(map[string]any{"snapshot": c, "judged": j}, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	clear(j)
	return string(text)
}

// TestRecordAndReplay compares each snapshot of a replay, and the class of each
// page, with what there was when the kernel was asked.
func TestRecordAndReplay(t *testing.T) {
	const memcgPath = "/test/record"
	w := StartWorkload(t, memcgPath)
	anon := w.Map(t, Area{Name: "anon", Kind: Anon, Size: 8 * mib, Node: 0, Skew: 3})
	file := w.Map(t, Area{Name: "recorded", Kind: File, Size: 6 * mib, Node: 1})
	w.Map(t, Area{Name: "thp", Kind: THP, Size: 4 * mib, Node: 1})
	w.Map(t, Area{Name: "locked", Kind: Anon, Size: 2 * mib, Node: 0, Locked: true})
	other := StartWorkload(t, memcgPath)
	other.Map(t, Area{Name: "memfd", Kind: Memfd, Size: 4 * mib, Node: 0})

	cfg, err := config.Parse("test", []byte("aging: {passes_per_window: 3}\nheat: {never_accessed: {windows: 2, top: 3}}\n"+
		"memcgs: [{path: "+memcgPath+", processes: {min_resident: 0}, address_bands: 12}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	processes, err := process.NewProc("/proc", "/sys")
	if err != nil {
		t.Fatal(err)
	}
	cgroups, err := memcg.Open("/proc")
	if err != nil {
		t.Fatal(err)
	}
	src := newSource(t, bpf.HooksOptions{}, testLog(t))
	var buf bytes.Buffer
	h := recording.Header{Started: time.Now(), Source: src.Info().Name, Granularity: "page", PassesPerWindow: 3, Mappings: true, SkipReasons: source.SkipReasons()}
	out, err := recording.NewWriter(&buf, h)
	if err != nil {
		t.Fatal(err)
	}
	rec := source.NewRecorder(out, h, cgroups, processes, src, source.RecorderOptions{Watched: func(path string) bool { return path == memcgPath }})
	seen := judged{}
	live, err := sampler.New(cfg, rec.Source(), sampler.Deps{
		Cgroups: rec, Processes: rec, Now: rec.Now, Ended: rec.Ended,
		Generations: rec.Generations(func() ([]memcg.LRUGen, error) { return memcg.ReadLRUGen("/sys") }),
		SkipReasons: h.SkipReasons, Visit: seen.visit, Log: testLog(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := live.Start(); err != nil {
		t.Fatal(err)
	}
	if err := live.Discover(time.Now()); err != nil {
		t.Fatal(err)
	}
	want := []string{remembered(t, live.Snapshot(), seen)}
	for i := range 13 {
		if i%2 == 0 {
			anon.TouchAll(t)
		}
		switch i {
		case 5:
			file.TouchEvery(t, 7)
		case 6: // a new region, between others
			w.Map(t, Area{Name: "more", Kind: SharedAnon, Size: 2 * mib, Node: 0})
		case 8:
			other.Exec(t)
		}
		if _, err := live.Pass(context.Background(), memcgPath); err != nil {
			t.Fatal(err)
		}
		want = append(want, remembered(t, live.Snapshot(), seen))
	}
	if err := rec.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes", buf.Len())

	name := filepath.Join(t.TempDir(), "guest.mglru")
	if err := os.WriteFile(name, buf.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	play, err := source.OpenReplay(name, 0, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	replayed, err := sampler.New(cfg, play.Source(), sampler.Deps{
		Cgroups: play, Processes: play, Now: play.Now, Generations: play.Generations,
		FailReasons: source.Reasons(h.Source),
		SkipReasons: h.SkipReasons, Visit: seen.visit, Log: testLog(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := replayed.Start(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for {
		path, at, err := play.Next(context.Background())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if path == "" {
			err = replayed.Discover(at)
		} else {
			_, err = replayed.Pass(context.Background(), path)
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, remembered(t, replayed.Snapshot(), seen))
	}
	if err := play.Close(); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-recorded +replayed):\n%.4000s", diff)
	}
}

// recordConfig is what the recording that is a fixture elsewhere was made with.
const recordConfig = `
source: %s
aging: {interval: 500ms, passes_per_window: 4, cpu_budget: 1}
memcgs:
  - path: /test/shop.slice/*
    processes: {min_resident: 0}
`

// TestRecordCommand records with the real command, is interrupted, and serves
// what was recorded twice. With a file testdata/print-recording it prints the
// recording: the fixture internal/recording/testdata/guest.mglru was made so.
func TestRecordCommand(t *testing.T) {
	web := StartWorkload(t, "/test/shop.slice/web.service")
	web.Do(t, "comm webshop")
	session := web.Map(t, Area{Name: "session", Kind: Anon, Size: 24 * mib, Node: 0})
	web.Map(t, Area{Name: "templates", Kind: File, Size: 8 * mib, Node: 1})
	db := StartWorkload(t, "/test/shop.slice/db.service")
	db.Do(t, "comm postgres")
	buffers := db.Map(t, Area{Name: "buffers", Kind: Shmem, Size: 32 * mib, Node: 1})
	index := db.Map(t, Area{Name: "index", Kind: File, Size: 16 * mib, Node: 0})
	db.Map(t, Area{Name: "heap", Kind: THP, Size: 4 * mib, Node: 0})

	touch := func(i int) {
		session.Touch(t, 0, 1, session.NumPages()/3)
		buffers.Touch(t, 0, 1+i%2, buffers.NumPages()/2)
		if i%16 == 0 {
			index.TouchEvery(t, 5)
		}
		time.Sleep(100 * time.Millisecond)
	}
	// A walk that comes while a workload maps or faults leaves it out, and then the
	// window says less. That is counted, and may happen in the one that is last.
	const tries = 3
	var file string
	for try := 1; ; try++ {
		file = filepath.Join(t.TempDir(), "guest.mglru")
		passes := recordWhile(t, file, touch)
		missed, wrong := replayTwice(t, file, passes)
		if wrong == nil {
			break
		}
		if missed == 0 || try == tries {
			t.Fatal(wrong)
		}
		t.Logf("once more, for %v processes or parts of them were missed: %v", missed, wrong)
	}
	if _, err := os.Stat("testdata/print-recording"); err == nil {
		printFile(t, file)
	}
}

// recordWhile records with the real command while touch is called over and over,
// with how often it has been, and interrupts it. It returns the number of passes.
func recordWhile(t *testing.T, file string, touch func(i int)) int {
	t.Helper()
	cfg := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(cfg, fmt.Appendf(nil, recordConfig, sourceName()), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/mglru_exporter", "--config.file="+cfg, "record", file)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// On a busy host passes take their time. Each memcg has to have had its first
	// window, of one pass, and three more.
	const enough = 2 * (1 + 3*4)
	for i, begin := 0, time.Now(); time.Since(begin) < 20*time.Second || time.Since(begin) < 3*time.Minute && passesSoFar(file) < enough; i++ {
		touch(i)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil || !regexp.MustCompile(`: \d+ windows of 2 memcgs in `).MatchString(stdout.String()) {
		t.Fatalf("record: %v\n%s%s", err, stdout.String(), stderr.String())
	}
	t.Log(stdout.String())

	passes, err := countPasses(file)
	if err != nil || passes < enough {
		t.Fatalf("the recording has %d passes, want %d at least: %v", passes, enough, err)
	}
	return passes
}

// replayTwice serves what was recorded twice, and returns how often processes or
// parts of them have been missed in all, and what is wrong with the last window.
func replayTwice(t *testing.T, file string, passes int) (missed float64, wrong error) {
	t.Helper()
	playing := fmt.Sprintf(strings.Replace(recordConfig, "source: %s", "source: replay\nreplay: {file: %s, speed: 0}", 1), file)
	self := regexp.MustCompile(`(?m)^(mglru_cpu_seconds_total|mglru_config_last_reload_success_timestamp_seconds).*\n`)
	var pages [2]string
	for i := range pages {
		e := startExporter(t, playing, "--web.disable-exporter-metrics")
		e.wait(t, "at its end", func() bool {
			n, _ := e.metric(t, "mglru_passes_total")
			return int(n) == passes
		})
		_, body := e.get("/metrics")
		pages[i] = self.ReplaceAllString(body, "")
		hot, _ := e.metric(t, "mglru_hot_bytes", `comm="webshop"`, `type="anon"`, `node="0"`)
		cold, _ := e.metric(t, "mglru_cold_bytes", `comm="postgres"`, `type="shmem"`, `node="1"`)
		missed = 0
		for _, reason := range []string{"not_walked", "mmap_lock", "pte_lock", "pmd_lock", "aborted"} {
			n, _ := e.metric(t, "mglru_skipped_walks_total", `reason="`+reason+`"`)
			missed += n
		}
		e.kill()
		if hot < 8*mib || hot > 10*mib || cold < 7*mib || cold > 9*mib {
			wrong = fmt.Errorf("%v hot bytes, want 8 MiB and what the workload itself needs; %v cold bytes, want 8 MiB: every other page of the second half; "+
				"all there is to say of these:\n%s", hot, cold, strings.Join(regexp.MustCompile(`(?m)^mglru_.*db\.service.*[^0]$`).FindAllString(body, -1), "\n"))
		}
	}
	if diff := cmp.Diff(pages[0], pages[1]); diff != "" {
		t.Errorf("two replays differ:\n%s", diff)
	}
	return missed, wrong
}

// countPasses counts the passes of a recording, up to where it cannot be read.
func countPasses(file string) (n int, err error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	r, err := recording.NewReader(f, file)
	if err != nil {
		return 0, err
	}
	var ev recording.Event
	for {
		switch err := r.Next(&ev); {
		case errors.Is(err, io.EOF):
			return n, nil
		case err != nil:
			return n, err
		}
		if ev.Kind == recording.Done {
			n++
		}
	}
}

// passesSoFar counts the passes of a recording that has no end yet.
func passesSoFar(file string) int {
	n, _ := countPasses(file) // what is wrong is that it has no end
	return n
}

// printFile prints a file as lines of base64.
func printFile(t testing.TB, file string) {
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := base64.StdEncoding.EncodeToString(b)
	for len(text) > 0 {
		n := min(len(text), 120)
		t.Log("recording: " + text[:n])
		text = text[n:]
	}
}
