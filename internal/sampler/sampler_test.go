package sampler

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/memcg"
	"mglru_exporter/internal/source"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestWindows(t *testing.T) {
	for _, tc := range []struct {
		name string
		// fault is put in before the window.
		fault func(*machine)
		want  [4]uint64
	}{
		{"all goes well", func(*machine) {}, [4]uint64{10, 0, 90, 0}},
		{"the kernel fails", func(m *machine) { m.ageErr = &source.Failure{Reason: source.ReasonRaced, Err: unix.EAGAIN} }, [4]uint64{10, 0, 0, 90}},
		{"a record of the process is lost", func(m *machine) { m.out.Lost, m.out.LostBy = 1, []int{1} }, [4]uint64{10, 0, 0, 90}},
		{"a record of another process is lost", func(m *machine) { m.out.Lost, m.out.LostBy = 1, []int{2} }, [4]uint64{10, 0, 90, 0}},
		{"a record of nobody knows whom is lost", func(m *machine) { m.out.Lost = 1 }, [4]uint64{10, 0, 0, 90}},
		{"the walk does not take the process up", func(m *machine) { m.procs[1].silent = true }, [4]uint64{0, 0, 0, 100}},
		{"a node is not walked", func(m *machine) { m.out.Nodes = 3 }, [4]uint64{10, 0, 0, 90}},
		{"the process execs", func(m *machine) { m.procs[1].Image = 2 }, [4]uint64{0, 0, 0, 100}},
		{"the pid is reused", func(m *machine) { m.procs[1].Start = 99 }, [4]uint64{0, 0, 0, 100}},
		{"a walker is active that the source does not see", func(m *machine) { m.walkers = unseenDAMON }, [4]uint64{10, 0, 0, 90}},
		{"a walker is active that the source sees", func(m *machine) {
			m.walkers = []heat.Walker{{Name: "damon_stat", Unobserved: heat.UnobservedNone}}
		}, [4]uint64{10, 0, 90, 0}},
		{"pages appear", func(m *machine) { m.procs[1].pages = 120 }, [4]uint64{10, 0, 90, 20}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newMachine()
			m.add(1, "/a", 100, 10)
			s := started(t, m, twoPasses)
			pass(t, s, "/a", 1)
			if got, want := pages(t, group1(t, s, "/a"), 1), ([4]uint64{0, 0, 0, 100}); got != want {
				t.Errorf("after the first pass: %v pages, want %v", got, want)
			}
			tc.fault(m)
			for range 2 {
				if _, err := s.Pass(context.Background(), "/a"); err != nil && m.ageErr == nil {
					t.Fatal(err)
				}
			}
			if got := pages(t, group1(t, s, "/a"), 1); got != tc.want {
				t.Errorf("hot, warm, cold, unobserved = %v pages, want %v", got, tc.want)
			}
		})
	}
}

// TestWhatIsLostOfOtherMemcgs lets a pass of one memcg find out what another one's
// processes have lost to walkers that are not ours.
func TestWhatIsLostOfOtherMemcgs(t *testing.T) {
	for _, tc := range []struct {
		name  string
		fault func(*machine)
		want  [4]uint64
	}{
		{"nothing", func(*machine) {}, [4]uint64{10, 0, 90, 0}},
		{"a record of the process", func(m *machine) { m.out.Lost, m.out.LostBy = 1, []int{1} }, [4]uint64{10, 0, 0, 90}},
		{"a record of another process", func(m *machine) { m.out.Lost, m.out.LostBy = 1, []int{2} }, [4]uint64{10, 0, 90, 0}},
		{"a record of a process that is watched no more", func(m *machine) { m.out.Lost, m.out.LostBy = 1, []int{77} }, [4]uint64{10, 0, 90, 0}},
		{"a record of nobody knows whom", func(m *machine) { m.out.Lost = 1 }, [4]uint64{10, 0, 0, 90}},
		{"whatever there was while the probes were off", func(m *machine) { m.ageErr = &source.Failure{Reason: source.ReasonProbesOff} }, [4]uint64{10, 0, 0, 90}},
		{"a pass of its own", func(m *machine) { m.ageErr = &source.Failure{Reason: source.ReasonRaced} }, [4]uint64{10, 0, 90, 0}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newMachine()
			m.add(1, "/a", 100, 10)
			m.add(2, "/b", 100, 10)
			s := started(t, m, "aging: {passes_per_window: 2}\n"+entries("/a", "/b"))
			pass(t, s, "/a", 2)
			pass(t, s, "/b", 1)
			tc.fault(m)
			if _, err := s.Pass(t.Context(), "/b"); err != nil && m.ageErr == nil {
				t.Fatal(err)
			}
			m.out.Lost, m.out.LostBy, m.ageErr = 0, nil, nil
			pass(t, s, "/a", 1)
			if got := pages(t, group1(t, s, "/a"), 1); got != tc.want {
				t.Errorf("hot, warm, cold, unobserved = %v pages, want %v", got, tc.want)
			}
			pass(t, s, "/a", 2)
			if got, want := pages(t, group1(t, s, "/a"), 1), ([4]uint64{10, 0, 90, 0}); got != want {
				t.Errorf("in the window after that %v pages, want %v", got, want)
			}
		})
	}
}

func TestResidencyErrorIsCounted(t *testing.T) {
	m := newMachine()
	m.add(1, "/a", 100, 10).resErr = errors.New("permission denied")
	m.add(2, "/a", 100, 10)
	s := started(t, m, twoPasses)
	pass(t, s, "/a", 1)
	g := group1(t, s, "/a")
	if len(g.Series) != 1 || g.Passes.Failures[residencyFailed] != 1 {
		t.Errorf("%d series, failures %v; want one series and one failure", len(g.Series), g.Passes.Failures)
	}
}

func TestMemcgsComeAndGo(t *testing.T) {
	m := newMachine()
	m.add(1, "/a", 100, 10)
	s := started(t, m, "memcgs:\n  - path: /a\n  - path: /later\n  - path: /never*\n")
	if got := group1(t, s, "/later").Passes.Failures["memcg_missing"]; got != 1 {
		t.Errorf("a memcg that does not exist is counted %d times, want 1", got)
	}
	pass(t, s, "/a", 1)
	m.add(2, "/later", 10, 0)
	discover(t, s)
	pass(t, s, "/later", 1)
	if _, ok := group1(t, s, "/later").Passes.Failures["memcg_missing"]; ok {
		t.Error("a memcg that has come is still counted as missing")
	}
	// Removed, and made anew under the same path: nothing of it is the same.
	m.cgroups["/a"]++
	discover(t, s)
	if g := group1(t, s, "/a"); g.TrackedProcesses != 0 || !g.WindowEnd.IsZero() {
		t.Errorf("a memcg made anew has the old one's state: %+v", g)
	}
	delete(m.cgroups, "/a")
	delete(m.procs, 1)
	if _, err := s.Pass(context.Background(), "/a"); !errors.Is(err, memcg.ErrGone) {
		t.Errorf("pass of a removed memcg: %v, want %v", err, memcg.ErrGone)
	}
	if m.watched[1] {
		t.Error("a process of a removed memcg is still watched")
	}
	if n := s.Snapshot().Self.MemcgsRemoved; n != 2 {
		t.Errorf("%d memcgs removed, want 2", n)
	}
}

// TestListingErrorIsLoggedOnce: not each time, but when it is another one, or over.
func TestListingErrorIsLoggedOnce(t *testing.T) {
	m := newMachine()
	m.add(1, "/a", 100, 10)
	s := started(t, m, entries("/a"))
	var got []string
	s.deps.Log = slog.New(slog.NewTextHandler(onLine(func(line string) {
		_, line, _ = strings.Cut(line, "level=")
		got = append(got, strings.TrimSpace(line))
	}), nil))
	tree := &brokenTree{machine: m}
	s.deps.Cgroups = tree
	for _, err := range []string{"", "no", "no", "no", "never", "never", "", "", "no"} {
		tree.err = nil
		if err != "" {
			tree.err = errors.New(err)
		}
		s.discover(time.Now())
	}
	want := []string{
		`WARN msg="Listing cgroups" err=no`, `WARN msg="Listing cgroups" err=never`,
		`INFO msg="All cgroups can be listed again"`, `WARN msg="Listing cgroups" err=no`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func TestMostSpecificEntryWins(t *testing.T) {
	m := newMachine()
	m.add(1, "/a", 1, 0)
	m.add(2, "/b", 1, 0)
	s := started(t, m, "memcgs:\n  - path: /**\n  - path: /b\n    processes: {comm: nobody}\n")
	pass(t, s, "/a", 1)
	pass(t, s, "/b", 1)
	if a, b := group1(t, s, "/a"), group1(t, s, "/b"); a.TrackedProcesses != 1 || b.TrackedProcesses != 0 {
		t.Errorf("%d and %d processes tracked, want 1 and 0", a.TrackedProcesses, b.TrackedProcesses)
	}
}

func TestTrackedBytesAreBounded(t *testing.T) {
	m := newMachine()
	m.add(1, "/a", 100, 10)
	m.add(2, "/a", 200, 10)
	s := started(t, m, "aging: {passes_per_window: 1}\nlimits: {max_tracked_bytes: 2MiB}\nmemcgs:\n  - path: /a\n    processes: {min_resident: 0}\n")
	pass(t, s, "/a", 2)
	g := group1(t, s, "/a")
	if got, want := pages(t, g, 2), ([4]uint64{10, 0, 190, 0}); got != want {
		t.Errorf("the biggest process reads %v, want %v", got, want)
	}
	if got, want := pages(t, g, 1), ([4]uint64{0, 0, 0, 100}); got != want {
		t.Errorf("the process beyond the limit reads %v, want %v", got, want)
	}
	if g.UntrackedRegions != 1 {
		t.Errorf("%d regions are untracked, want the one of the process beyond the limit", g.UntrackedRegions)
	}
	clear(m.procs)
	pass(t, s, "/a", 2)
	if n := group1(t, s, "/a").UntrackedRegions; n != 0 {
		t.Errorf("%d regions of nobody are untracked", n)
	}
}

// TestASourceThatDoesNotStartIsClosed: else what it holds would keep the next try
// from starting.
func TestASourceThatDoesNotStartIsClosed(t *testing.T) {
	m := newMachine()
	m.startErr = errors.New("permission denied")
	err := newSampler(t, m, "memcgs: [{path: /a}]\n").Run(t.Context())
	if err == nil || err.Error() != "start source fake: permission denied" {
		t.Errorf("error %v, want why it did not start", err)
	}
	if !m.closed {
		t.Error("the source is still open")
	}
}
