package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"mglru_exporter/internal/heat"
)

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
			mem := mmap(t, tempFile(t, onDisk(t), size), size, rw, shared)
			read(mem, all)
			return mem
		}, repeat(pages, "F", ".", all)},
		{"copy on write of a private file mapping is anonymous", func(t *testing.T) []byte {
			mem := mmap(t, tempFile(t, onDisk(t), size), size, rw, private)
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

func TestReadHugePages(t *testing.T) {
	r := liveReader(t)
	mem := aligned(t, 4)
	mem[3*heat.RegionSize] = 1                 // a huge page of our own
	read(mem, all)                             // the huge zero page, thrice
	mem[heat.RegionSize] = 1                   // another, or a zero page that is split
	mem[2*heat.RegionSize+5*heat.PageSize] = 1 // likewise
	// khugepaged may make huge pages of the rest at any time.
	var res heat.Residency
	before, sums := Mapping{Rss: 1}, Mapping{}
	for before.Rss != sums.Rss {
		before = smapsWithin(t, mem)
		if err := r.Read(context.Background(), os.Getpid(), &res); err != nil {
			t.Fatal(err)
		}
		sums = smapsWithin(t, mem)
	}
	got := within(t, &res, mem)
	if want := int(sums.Rss / heat.PageSize); want != strings.Count(got, "A") {
		t.Errorf("%d pages are anon, want %d as smaps says\n%s", strings.Count(got, "A"), want, got)
	}
	if want := repeat(heat.PagesPerRegion, ".", "", all); got[:heat.PagesPerRegion] != want {
		t.Errorf("the zero page is counted: %s", got[:heat.PagesPerRegion])
	}
	t.Logf("%d KiB of huge pages", sums.Rss>>10)
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

func TestReadAgreesWithTheKernelsSums(t *testing.T) {
	r := liveReader(t)
	pid := sleeper(t, "cat").Process.Pid
	var res heat.Residency
	if err := r.Read(context.Background(), pid, &res); err != nil {
		t.Fatal(err)
	}
	checkSorted(t, &res)
	sum := rollup(t, pid)
	got := totals(&res)
	if total, want := got[0]+got[1]+got[2], sum.Rss+sum.PrivateHugetlb+sum.SharedHugetlb; total != want {
		t.Errorf("%d bytes are resident, smaps_rollup says %d", total, want)
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
		if _, err := NewMappingReader(r.fs).Read(pid); !errors.Is(err, want) {
			t.Errorf("%s: MappingReader.Read: %v, want %v", name, err, want)
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
