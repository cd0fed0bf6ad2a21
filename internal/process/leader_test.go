package process

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mglru_exporter/internal/heat"
)

// leaderless makes process 490, whose leader has ended, and whose thread 512
// lives. The leader's own files are as the kernel shows them without an address
// space: empty, and clear_refs takes a write all the same.
func leaderless(f *fixture) {
	f.t.Helper()
	f.process("490", "")
	f.file("490/stat", statLine("leader", 'Z', 2, 0))
	for _, empty := range []string{"smaps", "numa_maps", "clear_refs"} {
		f.file("490/"+empty, "")
	}
	f.file("490/task/490/stat", statLine("leader", 'Z', 2, 0))
	f.file("490/task/junk/stat", "")
	f.process("490/task/512", mapsLine(base, base+1, "rw-p", "00:00", 0, ""))
	f.entries("490/task/512/pagemap", 0, 0)
	f.entries("490/task/512/pagemap", base, anonPage(5000))
	f.file("490/task/512/smaps", smapsEntry(base, base+1, "rw-p", "00:00", 0, "", "rd", "Rss 4"))
	f.file("490/task/512/clear_refs", "")
}

func TestProcessWhoseLeaderHasEnded(t *testing.T) {
	f := newFixture(t, "qemu-2nodes")
	leaderless(f)
	r := f.reader()
	var res heat.Residency
	if err := r.Read(context.Background(), 490, &res); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]piece{{base, 0, "anon"}}, pieces(&res)); diff != "" {
		t.Errorf("resident pages (-want +got):\n%s", diff)
	}
	p, err := r.fs.Identify(490)
	if err != nil || p.TGID != 490 || p.Comm != "leader" || p.Image == 0 {
		t.Errorf("Identify: %+v, %v", p, err)
	}
	if vmas, err := r.fs.Maps(490); err != nil || len(vmas) != 1 {
		t.Errorf("Maps: %+v, %v", vmas, err)
	}
	if maps, err := NewMappingReader(r.fs).Read(490); err != nil || len(maps) != 1 || maps[0].Rss != 4096 {
		t.Errorf("MappingReader.Read: %+v, %v", maps, err)
	}
	if err := os.RemoveAll(filepath.Join(f.proc, "490/task/512")); err != nil {
		t.Fatal(err)
	}
	if _, err := r.fs.Identify(490); !errors.Is(err, ErrNoMemory) {
		t.Errorf("Identify without a thread: %v, want %v", err, ErrNoMemory)
	}
}

// TestClearOfALeaderThatHasEnded: a write to the leader's clear_refs succeeds and
// clears nothing.
func TestClearOfALeaderThatHasEnded(t *testing.T) {
	f := newFixture(t, "qemu-2nodes")
	leaderless(f)
	r := NewMappingReader(NewFS(f.proc))
	if err := r.ClearRefs(490); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(f.proc, "490/task/512/clear_refs")); err != nil || string(b) != "1" {
		t.Errorf("the living thread's clear_refs has %q, %v", b, err)
	}
	if err := os.RemoveAll(filepath.Join(f.proc, "490/task/512")); err != nil {
		t.Fatal(err)
	}
	if err := r.ClearRefs(490); !errors.Is(err, ErrNoMemory) {
		t.Errorf("without a living thread: %v, want %v", err, ErrNoMemory)
	}
}

func TestNodesOfALeaderThatHasEnded(t *testing.T) {
	f := newFixture(t, "qemu-2nodes")
	leaderless(f)
	f.file("490/task/512/numa_maps", "7f0000000000 default anon=1 N1=1\n")
	maps := []Mapping{{VMA: VMA{Start: 0x7f0000000000, End: 0x7f0000001000}, Node: nodeUnknown}}
	if err := NewMappingReader(NewFS(f.proc)).Locate(490, maps, []int{0, 1}); err != nil || maps[0].Node != 1 {
		t.Errorf("node %d, %v, want 1", maps[0].Node, err)
	}
}

// TestFileSystemOfALeaderThatHasEnded: map_files is in the directory of a process
// only, not in that of a thread, but threads have the former as well.
func TestFileSystemOfALeaderThatHasEnded(t *testing.T) {
	f := newFixture(t, "qemu-2nodes")
	leaderless(f)
	f.file("490/task/512/smaps", smapsEntry(16, 17, "rw-s", "00:1f", 7, "/run/x", "rd", "Rss 4"))
	links := filepath.Join(f.proc, "512/map_files")
	if err := os.MkdirAll(links, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/shm", filepath.Join(links, "10000-11000")); err != nil {
		t.Fatal(err)
	}
	maps, err := NewMappingReader(NewFS(f.proc)).Read(490)
	if err != nil || len(maps) != 1 || maps[0].FileType != heat.Shmem {
		t.Errorf("%+v, %v, want shmem", maps, err)
	}
}

// TestChargeOfALeaderThatHasEnded: the leader's pagemap can be opened, and is
// empty.
func TestChargeOfALeaderThatHasEnded(t *testing.T) {
	f := newFixture(t, "qemu-2nodes")
	leaderless(f)
	f.entries("kpageflags", 5000, kpfLRU)
	f.entries("kpagecgroup", 5000, 7001)
	f.end("490/task/512/pagemap", base+4096)
	c := NewChargeReader(NewFS(f.proc))
	if err := c.Open(490); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var page heat.Bitmap
	page.Set(base % heat.PagesPerRegion)
	if got, err := c.Charged(base/heat.PagesPerRegion, &page, 7001); err != nil || got != page {
		t.Errorf("charged are %x, %v, want %x", got, err, page)
	}
}

func TestTask(t *testing.T) {
	f := newFixture(t, "qemu-2nodes")
	leaderless(f)
	f.process("7", "")
	fs := NewFS(f.proc)
	for pid, want := range map[int]int{490: 512, 7: 7} {
		if tid, err := fs.Task(pid); err != nil || tid != want {
			t.Errorf("process %d: %d, %v, want %d", pid, tid, err, want)
		}
	}
	if _, err := fs.Task(8); !errors.Is(err, ErrGone) {
		t.Errorf("no process: %v, want %v", err, ErrGone)
	}
}
