package source

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/process"
)

// A toucher is a child process that has touched all of an area, and touches the
// first quarter of it when told to.
type toucher struct {
	t     testing.TB
	pid   int
	start uint64 // of the area
	in    io.Writer
	out   *bufio.Scanner
}

const touchEnv = "MGLRU_TEST_TOUCH"

// startToucher starts one. Kind is "anon", "huge", "shmem" or the path of a file.
func startToucher(t testing.TB, kind string, size int) *toucher {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: needs root, to clear the accessed bits of other processes")
	}
	if _, err := os.Stat("/proc/self/clear_refs"); err != nil {
		t.Skip("NOT TESTED: needs a kernel with CONFIG_PROC_PAGE_MONITOR: ", err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestTouch$") //nolint:noctx // its end is that of its input
	cmd.Env = append(os.Environ(), touchEnv+"="+fmt.Sprint(size, " ", kind), "GOMAXPROCS=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	w := &toucher{t: t, pid: cmd.Process.Pid, in: in, out: bufio.NewScanner(out)}
	if !w.out.Scan() {
		t.Fatal("the child ended early")
	}
	if _, err := fmt.Sscanf(w.out.Text(), "at %x", &w.start); err != nil {
		t.Fatalf("%q: %v", w.out.Text(), err)
	}
	return w
}

// touch returns when the child has touched the quarter once more.
func (w *toucher) touch() {
	w.t.Helper()
	if _, err := io.WriteString(w.in, "touch\n"); err != nil {
		w.t.Fatal(err)
	}
	if !w.out.Scan() {
		w.t.Fatal("the child ended early")
	}
}

// TestTouch is the child. It ends with its standard input.
func TestTouch(t *testing.T) {
	arg := os.Getenv(touchEnv)
	if arg == "" {
		t.Skip("this is a process for other tests")
	}
	var size int
	var kind string
	if _, err := fmt.Sscan(arg, &size, &kind); err != nil {
		t.Fatal(err)
	}
	mem := touchedArea(t, size, kind)
	var sum byte
	for i := 0; i < len(mem); i += heat.PageSize {
		sum += mem[i]
		if !strings.HasPrefix(kind, "/") {
			mem[i] = 1
		}
	}
	fmt.Printf("at %x\n", uintptr(unsafe.Pointer(&mem[0])))
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		flushTLB(t)
		for i := 0; i < len(mem)/4; i += heat.PageSize {
			sum += mem[i]
		}
		fmt.Println("touched", sum&1)
	}
}

// flushTLB makes the processor look into the page tables anew: to clear an accessed
// bit does not, and while a page is in the TLB its bit is not set again. Unmapping
// more than tlb_single_page_flush_ceiling (33) pages flushes all of the process's.
func flushTLB(t *testing.T) {
	t.Helper()
	mem, err := unix.Mmap(-1, 0, 64*heat.PageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
	if err == nil {
		err = unix.Munmap(mem)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// touchedArea maps an area aligned to a region.
func touchedArea(t *testing.T, size int, kind string) []byte {
	t.Helper()
	fd, flags, prot := -1, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, unix.PROT_READ|unix.PROT_WRITE
	var err error
	switch kind {
	case "anon", "huge":
	case "shmem":
		flags = unix.MAP_SHARED
		if fd, err = unix.MemfdCreate("touched", unix.MFD_CLOEXEC); err == nil {
			err = unix.Ftruncate(fd, int64(size)+heat.RegionSize)
		}
	default:
		flags, prot = unix.MAP_PRIVATE, unix.PROT_READ
		fd, err = unix.Open(kind, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	mem, err := unix.Mmap(fd, 0, size+heat.RegionSize, prot, flags)
	if err != nil {
		t.Fatal(err)
	}
	if off := uintptr(unsafe.Pointer(&mem[0])) % heat.RegionSize; off != 0 {
		mem = mem[heat.RegionSize-off:]
	}
	mem = mem[:size]
	advice := unix.MADV_NOHUGEPAGE
	if kind == "huge" {
		advice = unix.MADV_HUGEPAGE
	}
	if err := unix.Madvise(mem, advice); err != nil {
		t.Log("madvise:", err)
	}
	return mem
}

// TestQuarterIsHot looks at the one mapping which the child touches, and wants
// it exact to the page.
func TestQuarterIsHot(t *testing.T) {
	size := area(t, 256<<20)
	dir := t.TempDir()
	onDisk := filepath.Join(dir, "touched")
	fileType := heat.File
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err == nil && fs.Type == unix.TMPFS_MAGIC {
		fileType = heat.Shmem
	}
	for _, tc := range []struct {
		kind string
		typ  heat.Type
	}{{"anon", heat.Anon}, {"huge", heat.Anon}, {"shmem", heat.Shmem}, {onDisk, fileType}} {
		t.Run(filepath.Base(tc.kind), func(t *testing.T) {
			if tc.kind == onDisk {
				f, err := os.Create(onDisk)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.CopyN(f, zeros{}, int64(size)+heat.RegionSize); err != nil {
					t.Fatal(err)
				}
				// Dirty pages are written back meanwhile otherwise.
				if err := f.Sync(); err != nil {
					t.Fatal(err)
				}
				f.Close()
			}
			w := startToucher(t, tc.kind, size)
			reader := process.NewMappingReader(process.NewFS("/proc"))
			rec := newReclaim("/proc", "/sys")
			look := func() []process.Mapping {
				all, err := reader.Read(w.pid)
				if err == nil {
					err = reader.Locate(w.pid, all, []int{0})
				}
				if err != nil {
					t.Fatal(err)
				}
				var area []process.Mapping
				for _, m := range all {
					if m.Start < w.start+uint64(size) && m.End > w.start {
						area = append(area, m)
					}
				}
				return area
			}
			before, err := rec.read()
			if err != nil {
				t.Fatal(err)
			}
			kept := remember(look(), nil)
			if err := reader.ClearRefs(w.pid); err != nil {
				t.Fatal(err)
			}
			w.touch()
			maps := look()
			after, err := rec.read()
			if err != nil {
				t.Fatal(err)
			}
			j := judge{before: kept, lost: rec.lost(before, after)}
			got := j.window(maps)
			want := heat.Area{Type: tc.typ, Hot: uint64(size) / 4, Cold: uint64(size) * 3 / 4, Resident: uint64(size)}
			if j.lost > 0 {
				t.Skipf("NOT TESTED: the machine reclaims memory: %+v", got.Areas)
			}
			if len(got.Areas) != 1 || !sameBytes(got.Areas[0], want) {
				t.Errorf("areas %+v, want %+v", got.Areas, want)
			}
		})
	}
}

func sameBytes(a, b heat.Area) bool {
	return a.Node == b.Node && a.Type == b.Type && a.Hot == b.Hot && a.Warm == b.Warm && a.Cold == b.Cold &&
		a.Unobserved == b.Unobserved && a.Resident == b.Resident
}

// zeros reads as zeros without end.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// TestObserveAProcess is the source as it is used, over a process that has 1 GiB
// and touches 256 MiB.
func TestObserveAProcess(t *testing.T) {
	w := startToucher(t, "anon", area(t, 1<<30))
	size := uint64(area(t, 1<<30))
	r := NewReferenced("/proc", "/sys")
	fs := process.NewFS("/proc")
	p, err := fs.Identify(w.pid)
	if err != nil {
		t.Fatal(err)
	}
	var hot, cold, unobserved [3]uint64
	for i := range hot {
		begin := time.Now()
		win, err := r.Observe(p, &heat.Selection{})
		if err != nil {
			t.Fatal(err)
		}
		took := time.Since(begin)
		if all := rollup(t, w.pid); diff(win.Resident(), all) > size/100 {
			t.Errorf("%d bytes are resident, smaps_rollup has %d", win.Resident(), all)
		}
		for _, a := range win.Areas {
			if a.Type == heat.Anon {
				hot[i] += a.Hot + a.Warm
				cold[i] += a.Cold
				unobserved[i] += a.Unobserved
			}
			if a.Hot+a.Warm+a.Cold+a.Unobserved != a.Resident {
				t.Errorf("area %+v does not add up", a)
			}
		}
		t.Logf("pass %d took %v: hot %d, cold %d, unobserved %d KiB; skips %v", i, took, hot[i]>>10, cold[i]>>10, unobserved[i]>>10, win.Skips)
		w.touch()
	}
	if hot[0] != 0 || cold[0] != 0 {
		t.Errorf("the first pass found %d bytes hot and %d cold", hot[0], cold[0])
	}
	for i := 1; i < len(hot); i++ {
		if d := diff(hot[i], size/4); d > size/4/100 {
			t.Errorf("pass %d: %d bytes are hot, want %d ± 1 %%", i, hot[i], size/4)
		}
		// The race detector's own memory is cold as well.
		if cold[i] < size*3/4*99/100 || cold[i] > size*3/4*105/100 {
			t.Errorf("pass %d: %d bytes are cold and %d unobserved, want %d cold", i, cold[i], unobserved[i], size*3/4)
		}
	}
}

// TestObserveASelection: what is selected of a process and what is excluded are
// all that it has.
func TestObserveASelection(t *testing.T) {
	w := startToucher(t, "anon", area(t, 64<<20))
	fs := process.NewFS("/proc")
	p, err := fs.Identify(w.pid)
	if err != nil {
		t.Fatal(err)
	}
	win, err := NewReferenced("/proc", "/sys").Observe(p, &heat.Selection{Names: []string{"/*"}})
	if err != nil {
		t.Fatal(err)
	}
	all := rollup(t, w.pid)
	var excluded uint64
	for _, x := range win.Excluded {
		excluded += x.Bytes
	}
	if excluded < uint64(area(t, 64<<20)) || win.Resident() == 0 {
		t.Errorf("%d bytes are resident, %d excluded, want the anonymous memory to be", win.Resident(), excluded)
	}
	if diff(win.Resident()+excluded, all) > all/20 {
		t.Errorf("%d bytes are resident, %d excluded, smaps_rollup has %d", win.Resident(), excluded, all)
	}
}

// area is the size of an area to touch: as much as asked for, or what a small
// machine has room for.
func area(t testing.TB, size int) int {
	t.Helper()
	var si unix.Sysinfo_t
	if err := unix.Sysinfo(&si); err != nil {
		t.Fatal(err)
	}
	for size > heat.RegionSize && uint64(size) > si.Totalram*uint64(si.Unit)/8 {
		size /= 2
	}
	return size
}

// rollup returns how many bytes of a process are resident as the kernel itself
// sums it up.
func rollup(t *testing.T, pid int) (sum uint64) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		key, rest, _ := strings.Cut(line, ":")
		var kb uint64
		switch key {
		case "Rss", "Private_Hugetlb", "Shared_Hugetlb":
			if _, err := fmt.Sscan(rest, &kb); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
		}
		sum += kb * 1024
	}
	return sum
}

func diff(a, b uint64) uint64 { return max(a, b) - min(a, b) }

// TestKcmpVM asks about processes that do not share their memory, and about one
// that does with itself.
func TestKcmpVM(t *testing.T) {
	self, err := kcmpVM(os.Getpid(), os.Getpid())
	if err != nil {
		t.Skip("NOT TESTED: no kcmp here: ", err)
	}
	parent, err := kcmpVM(os.Getpid(), os.Getppid())
	if err != nil && os.Geteuid() != 0 {
		t.Skip("NOT TESTED: may not ask about our parent: ", err)
	}
	if self != 0 || parent == 0 || err != nil {
		t.Errorf("we share our memory with ourselves: %v, with our parent: %v (%v)", self, parent, err)
	}
}
