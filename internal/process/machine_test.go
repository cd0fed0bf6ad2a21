package process

import (
	"bytes"
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
	return NewReader(NewFS("/proc"), "/sys", nodes)
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

// onDisk returns a directory whose files are not shared memory.
func onDisk(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil || st.Type == unix.TMPFS_MAGIC {
		t.Skipf("NOT TESTED: %s is on a tmpfs; set TMPDIR (%v)", dir, err)
	}
	return dir
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

// smapsWithin sums up what smaps says of the mappings within mem.
func smapsWithin(t *testing.T, mem []byte) Mapping {
	t.Helper()
	start := uint64(uintptr(unsafe.Pointer(unsafe.SliceData(mem))))
	var r Reader
	sums, err := r.smapsOf("/proc/self", []VMA{{Start: start, End: start + uint64(len(mem))}})
	if err != nil {
		t.Fatal(err)
	}
	return sums[0]
}

// rollup returns what the kernel itself sums up of a process, in smaps_rollup.
func rollup(t *testing.T, pid int) Mapping {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	return parseRollup(t, b)
}

// parseRollup parses a smaps_rollup file, which is like one of a single mapping.
func parseRollup(t *testing.T, b []byte) Mapping {
	t.Helper()
	maps, err := parseMappings(b, nil)
	if err != nil || len(maps) != 1 {
		t.Fatalf("rollup is %+v, %v", maps, err)
	}
	return maps[0]
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
