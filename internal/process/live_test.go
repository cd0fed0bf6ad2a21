package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"mglru_exporter/internal/heat"
)

// needRoot skips a test that reads page frame numbers.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: needs root, to read page frame numbers from pagemap")
	}
}

// liveReader returns a Reader of this machine.
func liveReader(t testing.TB) *Reader {
	t.Helper()
	needRoot(t)
	nodes, err := LoadNodeMap("/proc", "/sys")
	if err != nil {
		t.Fatal(err)
	}
	return NewReader(NewFS("/proc"), nodes)
}

// mmap maps memory for the time of the test.
func mmap(t testing.TB, fd, size, prot, flags int) []byte {
	t.Helper()
	mem, err := unix.Mmap(fd, 0, size, prot, flags)
	if err != nil {
		t.Fatalf("mmap %d bytes: %v", size, err)
	}
	t.Cleanup(func() {
		if err := unix.Munmap(mem); err != nil {
			t.Error(err)
		}
	})
	return mem
}

// write writes to the pages that want tells.
func write(mem []byte, want func(page int) bool) {
	for page := range len(mem) / heat.PageSize {
		if want(page) {
			mem[page*heat.PageSize] = 1
		}
	}
}

var sink byte

// read reads from the pages that want tells.
func read(mem []byte, want func(page int) bool) {
	for page := range len(mem) / heat.PageSize {
		if want(page) {
			sink += mem[page*heat.PageSize]
		}
	}
}

func all(int) bool        { return true }
func third(page int) bool { return page%3 == 0 }

// within returns the type of each resident page of mem, as a letter, and '.'
// for those that are not.
func within(t *testing.T, res *heat.Residency, mem []byte) string {
	t.Helper()
	start := uint64(uintptr(unsafe.Pointer(unsafe.SliceData(mem)))) / heat.PageSize
	out := bytes.Repeat([]byte("."), len(mem)/heat.PageSize)
	for _, p := range res.Parts {
		for i := range uint64(heat.PagesPerRegion) {
			at := p.Region*heat.PagesPerRegion + i - start
			if !p.Pages.Has(int(i)) || at >= uint64(len(out)) {
				continue
			}
			if out[at] != '.' {
				t.Fatalf("page %d is in two parts", at)
			}
			if p.Node != 0 {
				t.Logf("page %d is on node %d", at, p.Node)
			}
			out[at] = "AFS"[p.Type]
		}
	}
	return string(out)
}

// memfd returns an unlinked file of the given size in shared memory.
func memfd(t testing.TB, size int, flags int) int {
	t.Helper()
	fd, err := unix.MemfdCreate("process test (deleted)", flags)
	if err != nil {
		t.Skipf("NOT TESTED: memfd: %v", err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Ftruncate(fd, int64(size)); err != nil {
		t.Fatal(err)
	}
	return fd
}

// tempFile returns a file of size bytes that are not zero.
func tempFile(t testing.TB, dir string, size int) int {
	t.Helper()
	path := filepath.Join(dir, "a file) with\nodd name")
	if err := os.WriteFile(path, bytes.Repeat([]byte("x"), size), 0o600); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(path, unix.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// onTmpfs returns a directory on a tmpfs with huge pages if there are any.
func onTmpfs(t testing.TB, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("test", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("NOT TESTED: mount tmpfs %s: %v", options, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// repeat returns the pattern of a letter at the pages that want tells.
func repeat(pages int, letter, rest string, want func(int) bool) string {
	var b strings.Builder
	for i := range pages {
		if want(i) {
			b.WriteString(letter)
		} else {
			b.WriteString(rest)
		}
	}
	return b.String()
}

func TestReadOwnMemory(t *testing.T) {
	r := liveReader(t)
	const size = 5<<20 + 3*heat.PageSize
	const pages = size / heat.PageSize
	rw, private, shared := unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE, unix.MAP_SHARED
	tests := []struct {
		name string
		make func(t *testing.T) []byte
		want string
	}{
		{"every third page of anonymous memory", func(t *testing.T) []byte {
			mem := mmap(t, -1, size, rw, private|unix.MAP_ANONYMOUS)
			write(mem, third)
			return mem
		}, repeat(pages, "A", ".", third)},
		{"zero pages are not counted", func(t *testing.T) []byte {
			mem := mmap(t, -1, size, rw, private|unix.MAP_ANONYMOUS)
			read(mem, all)
			write(mem, third)
			return mem
		}, repeat(pages, "A", ".", third)},
		{"a private mapping of /dev/zero is anonymous", func(t *testing.T) []byte {
			fd, err := unix.Open("/dev/zero", unix.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)
			mem := mmap(t, fd, size, rw, private)
			read(mem, all)
			write(mem, third)
			return mem
		}, repeat(pages, "A", ".", third)},
		{"memory without permissions stays counted", func(t *testing.T) []byte {
			mem := mmap(t, -1, size, rw, private|unix.MAP_ANONYMOUS)
			write(mem, third)
			if err := unix.Mprotect(mem, unix.PROT_NONE); err != nil {
				t.Fatal(err)
			}
			return mem
		}, repeat(pages, "A", ".", third)},
		{"shared anonymous memory is shmem", func(t *testing.T) []byte {
			mem := mmap(t, -1, size, rw, shared|unix.MAP_ANONYMOUS)
			write(mem, third)
			return mem
		}, repeat(pages, "S", ".", third)},
		{"a memfd is shmem", func(t *testing.T) []byte {
			mem := mmap(t, memfd(t, size, 0), size, rw, shared)
			write(mem, all)
			return mem
		}, repeat(pages, "S", ".", all)},
		{"copy on write of a private memfd is anonymous", func(t *testing.T) []byte {
			fd := memfd(t, size, 0)
			write(mmap(t, fd, size, rw, shared), all)
			mem := mmap(t, fd, size, rw, private)
			write(mem, third)
			read(mem, all)
			return mem
		}, repeat(pages, "A", "S", third)},
		{"a file on a tmpfs is shmem wherever it is mounted", func(t *testing.T) []byte {
			mem := mmap(t, tempFile(t, onTmpfs(t, ""), size), size, rw, shared)
			read(mem, all)
			return mem
		}, repeat(pages, "S", ".", all)},
		{"a huge page on a tmpfs is shmem", func(t *testing.T) []byte {
			mem := mmap(t, tempFile(t, onTmpfs(t, "huge=always"), size), size, rw, shared)
			read(mem, all)
			return mem
		}, repeat(pages, "S", ".", all)},
		{"a shared file mapping is file", func(t *testing.T) []byte {
			mem := mmap(t, tempFile(t, t.TempDir(), size), size, rw, shared)
			read(mem, all)
			return mem
		}, repeat(pages, "F", ".", all)},
		{"copy on write of a private file mapping is anonymous", func(t *testing.T) []byte {
			mem := mmap(t, tempFile(t, t.TempDir(), size), size, rw, private)
			// A file's huge page that is written to is unmapped as a whole.
			write(mem, third)
			read(mem, all)
			return mem
		}, repeat(pages, "A", "F", third)},
		{"a hugetlb mapping of one's own is anon", func(t *testing.T) []byte {
			mem := hugetlb(t, private)
			write(mem, all)
			return mem
		}, repeat(heat.PagesPerRegion, "A", ".", all)},
		{"a shared hugetlb mapping is file", func(t *testing.T) []byte {
			mem := hugetlb(t, shared)
			write(mem, all)
			return mem
		}, repeat(heat.PagesPerRegion, "F", ".", all)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			mem := test.make(t)
			var res heat.Residency
			if err := r.Read(context.Background(), os.Getpid(), &res); err != nil {
				t.Fatal(err)
			}
			checkSorted(t, &res)
			if got := within(t, &res, mem); got != test.want {
				t.Errorf("pages are\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

// hugetlb maps one huge page of hugetlbfs.
func hugetlb(t *testing.T, flags int) []byte {
	t.Helper()
	free, err := os.ReadFile("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
	if err != nil || strings.TrimSpace(string(free)) == "0" {
		t.Skip("NOT TESTED: no free hugetlb pages; set vm.nr_hugepages")
	}
	return mmap(t, -1, heat.RegionSize, unix.PROT_READ|unix.PROT_WRITE, flags|unix.MAP_ANONYMOUS|unix.MAP_HUGETLB)
}

// aligned maps n regions of anonymous memory that may be huge pages.
func aligned(t *testing.T, n int) []byte {
	t.Helper()
	mem := mmap(t, -1, (n+1)*heat.RegionSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	start := uintptr(unsafe.Pointer(unsafe.SliceData(mem)))
	skip := -start & (heat.RegionSize - 1)
	mem = mem[skip : int(skip)+n*heat.RegionSize]
	if err := unix.Madvise(mem, unix.MADV_HUGEPAGE); err != nil {
		t.Skipf("NOT TESTED: no transparent huge pages: %v", err)
	}
	return mem
}

func TestReadHugePages(t *testing.T) {
	r := liveReader(t)
	mem := aligned(t, 4)
	read(mem, all)                             // the huge zero page, four times
	mem[heat.RegionSize] = 1                   // a huge page of our own
	mem[2*heat.RegionSize+5*heat.PageSize] = 1 // as well, or a split zero page
	var res heat.Residency
	if err := r.Read(context.Background(), os.Getpid(), &res); err != nil {
		t.Fatal(err)
	}
	got := within(t, &res, mem)
	sums := smapsWithin(t, mem)
	if want := int(sums.Rss / heat.PageSize); want != strings.Count(got, "A") {
		t.Errorf("%d pages are anon, want %d as smaps says\n%s", strings.Count(got, "A"), want, got)
	}
	if want := repeat(heat.PagesPerRegion, ".", "", all); got[:heat.PagesPerRegion] != want {
		t.Errorf("the zero page is counted: %s", got[:heat.PagesPerRegion])
	}
	t.Logf("%d KiB of huge pages", sums.Rss>>10)
}

// smapsWithin sums up what smaps says of the mappings within mem.
func smapsWithin(t *testing.T, mem []byte) Rollup {
	t.Helper()
	start := uint64(uintptr(unsafe.Pointer(unsafe.SliceData(mem))))
	sums, _, err := smapsOf("/proc/self", []VMA{{Start: start, End: start + uint64(len(mem))}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return sums[0]
}

func TestReadSparseGiant(t *testing.T) {
	r := liveReader(t)
	// An address sanitizer's shadow memory.
	const size = 16 << 40
	mem := mmap(t, -1, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	touched := []int{0, 1 << 20, 3<<40 + 5*heat.PageSize, 9<<40 + 2*heat.RegionSize, size - heat.PageSize}
	for _, at := range touched {
		mem[at] = 1
	}
	for _, noScan := range []bool{false, true} {
		t.Run(fmt.Sprint("noScan ", noScan), func(t *testing.T) {
			r.noScan = noScan
			var res heat.Residency
			if err := r.Read(context.Background(), os.Getpid(), &res); err != nil {
				t.Fatal(err)
			}
			checkSorted(t, &res)
			start := uint64(uintptr(unsafe.Pointer(unsafe.SliceData(mem))))
			found := 0
			for _, p := range res.Parts {
				if a := p.Region * heat.RegionSize; a+heat.RegionSize > start && a < start+size {
					found += p.Pages.Count()
				}
			}
			var unscanned uint64
			for _, u := range res.Unscanned {
				unscanned += u.Pages
				if u.Node != -1 || u.Type != heat.Anon {
					t.Errorf("unscanned pages are %+v", u)
				}
			}
			if r.noScan { // set, or the kernel has no PAGEMAP_SCAN
				// The race detector has giants of its own.
				if unscanned < uint64(len(touched)) {
					t.Errorf("%d pages unscanned, want %d", unscanned, len(touched))
				}
			} else if found < len(touched) || unscanned != 0 {
				t.Errorf("%d pages found and %d unscanned, want %d and 0", found, unscanned, len(touched))
			}
		})
	}
}

// checkSorted checks what a Residency promises of its parts.
func checkSorted(t testing.TB, res *heat.Residency) {
	t.Helper()
	for i := range res.Parts {
		p := &res.Parts[i]
		if p.Pages.Count() == 0 {
			t.Fatalf("part %d, %+v, is empty", i, p)
		}
		if i == 0 {
			continue
		}
		q := &res.Parts[i-1]
		if q.Region > p.Region || q.Region == p.Region &&
			(q.Node > p.Node || q.Node == p.Node && q.Type >= p.Type) {
			t.Fatalf("parts %d and %d are out of order: %+v, %+v", i-1, i, q, p)
		}
		for w := range p.Pages {
			if q.Region == p.Region && p.Pages[w]&q.Pages[w] != 0 {
				t.Fatalf("parts %d and %d share pages", i-1, i)
			}
		}
	}
}

// totals returns the bytes of a Residency by type.
func totals(res *heat.Residency) (bytes [heat.NumTypes]uint64) {
	for i := range res.Parts {
		bytes[res.Parts[i].Type] += uint64(res.Parts[i].Pages.Count()) * heat.PageSize
	}
	for _, u := range res.Unscanned {
		bytes[u.Type] += u.Pages * heat.PageSize
	}
	return bytes
}

// statusRss returns RssAnon, RssFile and RssShmem of /proc/PID/status.
func statusRss(t *testing.T, pid int) (bytes [heat.NumTypes]uint64) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		for typ, key := range []string{"RssAnon:", "RssFile:", "RssShmem:"} {
			if rest, ok := strings.CutPrefix(line, key); ok {
				if _, err := fmt.Sscanf(rest, "%d", &bytes[typ]); err != nil {
					t.Fatal(err)
				}
				bytes[typ] <<= 10
			}
		}
	}
	return bytes
}

// sleeper starts a process that does nothing until the test ends.
func sleeper(t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(name, args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skipf("NOT TESTED: start %s: %v", name, err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	// An echo says that it waits for more.
	echo := make([]byte, 1)
	if _, err := in.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(echo); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func TestReadAgreesWithTheKernelsSums(t *testing.T) {
	r := liveReader(t)
	pid := sleeper(t, "cat").Process.Pid
	var res heat.Residency
	if err := r.Read(context.Background(), pid, &res); err != nil {
		t.Fatal(err)
	}
	checkSorted(t, &res)
	sum, err := r.fs.Rollup(pid)
	if err != nil {
		t.Fatal(err)
	}
	got := totals(&res)
	if total := got[0] + got[1] + got[2]; total != sum.Resident() {
		t.Errorf("%d bytes are resident, smaps_rollup says %d", total, sum.Resident())
	}
	if got[heat.Anon] != sum.Anonymous {
		t.Errorf("%d bytes are anon, smaps_rollup says %d", got[heat.Anon], sum.Anonymous)
	}
	// The counters of status are kept per CPU and summed up loosely.
	t.Logf("read %v, status %v", got, statusRss(t, pid))
}

func TestReadOfAProcessThatIsNotThere(t *testing.T) {
	r := liveReader(t)
	exited := exec.Command("true")
	if err := exited.Start(); err != nil {
		t.Skipf("NOT TESTED: %v", err)
	}
	// Wait for its end, but leave it a zombie.
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_PID, exited.Process.Pid, &info, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	check := func(name string, want error) {
		t.Helper()
		pid := exited.Process.Pid
		res := heat.Residency{Parts: make([]heat.ResidentPart, 3), SwappedPages: 1}
		if err := r.Read(context.Background(), pid, &res); !errors.Is(err, want) {
			t.Errorf("%s: Read: %v, want %v", name, err, want)
		}
		if len(res.Parts) != 0 || res.SwappedPages != 0 {
			t.Errorf("%s: Read left %d parts", name, len(res.Parts))
		}
		if _, err := r.fs.Identify(pid); !errors.Is(err, want) {
			t.Errorf("%s: Identify: %v, want %v", name, err, want)
		}
		if _, err := r.fs.Maps(pid); !errors.Is(err, want) {
			t.Errorf("%s: Maps: %v, want %v", name, err, want)
		}
		if _, err := r.fs.Rollup(pid); !errors.Is(err, want) {
			t.Errorf("%s: Rollup: %v, want %v", name, err, want)
		}
	}
	check("zombie", ErrNoMemory)
	if err := exited.Wait(); err != nil {
		t.Fatal(err)
	}
	check("gone", ErrGone)
}

func TestReadStopsWithItsContext(t *testing.T) {
	r := liveReader(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var res heat.Residency
	if err := r.Read(ctx, os.Getpid(), &res); !errors.Is(err, context.Canceled) {
		t.Errorf("Read: %v, want %v", err, context.Canceled)
	}
}
