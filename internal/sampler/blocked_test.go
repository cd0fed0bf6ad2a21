package sampler

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mglru_exporter/internal/config"
	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/memcg"
	"mglru_exporter/internal/process"
	"mglru_exporter/internal/source"
)

// A pipeTree is a /proc and a cgroup2 with real processes, each in a memcg of its
// own. A read of the smaps of some of them hangs: it is a FIFO without a writer.
type pipeTree struct {
	proc, cgroups string
	pids          map[string]int
}

func newPipeTree(t *testing.T, good, bad []string) *pipeTree {
	t.Helper()
	p := &pipeTree{proc: t.TempDir(), cgroups: t.TempDir(), pids: map[string]int{}}
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := func(target, name string) {
		t.Helper()
		if err := os.Symlink(target, filepath.Join(p.proc, name)); err != nil {
			t.Fatal(err)
		}
	}
	write(p.cgroups+"/cgroup.controllers", "memory\n")
	write(p.cgroups+"/cgroup.procs", "")
	write(p.proc+"/self/mountinfo", "1 2 0:3 / "+p.cgroups+" rw - cgroup2 none rw\n")
	write(p.proc+"/self/cgroup", "0::/\n")
	link("/proc/vmstat", "vmstat")
	for _, name := range append(append([]string{}, good...), bad...) {
		cmd := exec.Command("sleep", "1000")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		pid := cmd.Process.Pid
		p.pids[name] = pid
		write(filepath.Join(p.cgroups, name, "memory.current"), "1\n")
		write(filepath.Join(p.cgroups, name, "cgroup.procs"), fmt.Sprintln(pid))
		dir := fmt.Sprintf("%s/%d", p.proc, pid)
		write(dir+"/cgroup", "0::/"+name+"\n")
		for _, file := range []string{"stat", "status", "statm", "clear_refs", "maps", "numa_maps", "map_files", "task", "ns"} {
			link(fmt.Sprintf("/proc/%d/%s", pid, file), fmt.Sprintf("%d/%s", pid, file))
		}
		if len(p.pids) <= len(good) {
			link(fmt.Sprintf("/proc/%d/smaps", pid), fmt.Sprintf("%d/smaps", pid))
		} else if err := unix.Mkfifo(dir+"/smaps", 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// release lets the reads that hang come back.
func (p *pipeTree) release(t *testing.T, name string) {
	t.Helper()
	f, err := os.OpenFile(fmt.Sprintf("%s/%d/smaps", p.proc, p.pids[name]), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}

// TestAProcessThatBlocksStopsNoOther has a process whose smaps never comes back: it
// is unobserved and named, other memcgs have their passes, and Run ends when told to.
func TestAProcessThatBlocksStopsNoOther(t *testing.T) {
	tree := newPipeTree(t, []string{"good"}, []string{"bad"})
	cgroups, err := memcg.Open(tree.proc)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Parse("test", []byte("source: referenced\naging: {interval: 100ms, cpu_budget: 1}\nheat: {idle_ages: []}\n"+entries("/good", "/bad")))
	if err != nil {
		t.Fatal(err)
	}
	fs := process.NewFS(tree.proc)
	published := make(chan string, 1000)
	s, err := New(cfg, source.NewReferenced(tree.proc, "/sys").Through(fs.Guard()), Deps{
		Cgroups: cgroups, Processes: statOnly{fs}, Reads: fs.Guard(), Unread: fs.Unread,
		Published: func(memcg string) { published <- memcg },
		Log:       slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	passes := map[string]int{}
	for passes["/good"] < 20 || passes["/bad"] < 2 {
		select {
		case memcg := <-published:
			passes[memcg]++
		case <-time.After(time.Minute):
			t.Fatalf("no pass for a minute, after %v", passes)
		}
	}
	bad := group1(t, s, "/bad")
	if n := bad.Passes.Failures[blockedFailed]; n == 0 {
		t.Errorf("the failures of /bad are %v, want some of reason %q", bad.Passes.Failures, blockedFailed)
	}
	unobserved := uint64(0)
	for _, series := range bad.Series {
		for _, a := range series.Areas {
			if a.Hot+a.Warm+a.Cold > 0 {
				t.Errorf("memory that was not read is %+v", a)
			}
			unobserved += a.Unobserved
		}
	}
	if unobserved == 0 {
		t.Error("the process that blocks has no memory, want all of it unobserved")
	}
	if good := group1(t, s, "/good"); len(good.Series) != 1 || good.Passes.Failures[blockedFailed] != 0 {
		t.Errorf("/good has %d series, and failures %v", len(good.Series), good.Passes.Failures)
	}
	if b := s.Snapshot().Self.Blocked; len(b) != 1 || b[0].PID != tree.pids["bad"] || b[0].Memcg != "/bad" || b[0].Comm != "sleep" {
		t.Errorf("blocked: %+v, want the process of /bad", b)
	}
	if err := s.Healthy(); err != nil {
		t.Errorf("not healthy: %v", err)
	}
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("Run does not end while a process blocks")
	}
	tree.release(t, "bad") // or its goroutine would leak
}

// statOnly reads no residency.
type statOnly struct{ process.FS }

func (statOnly) Residency(context.Context, int, *heat.Residency) error { return nil }
