package process

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mglru_exporter/internal/heat"
)

// testdata reads a file of testdata.
func testdata(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseStat(t *testing.T) {
	layout := [10]uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	tests := []struct {
		name, text string
		want       stat
		wantErr    string
	}{
		{"a real one", string(testdata(t, "vm-1node/stat")), stat{comm: "sleep", state: 'S', threads: 1, start: 249792, vsize: 2990080,
			layout: [10]uint64{94662470172672, 94662470190601, 140722995030352, 94662470204688, 94662470205952,
				94663024693248, 140722995038879, 140722995038888, 140722995038888, 140722995040233}}, ""},
		{"parentheses, blanks and newlines in the name", statLine(") S 1 (\n) Z 9", 'R', 3, 8),
			stat{comm: ") S 1 (\n) Z 9", state: 'R', threads: 3, start: 238651, vsize: 8, layout: layout}, ""},
		{"a name that is not UTF-8", statLine("\xff\xfe", 'R', 3, 8),
			stat{comm: "\xff\xfe", state: 'R', threads: 3, start: 238651, vsize: 8, layout: layout}, ""},
		{"an empty name", statLine("", 'R', 3, 8), stat{state: 'R', threads: 3, start: 238651, vsize: 8, layout: layout}, ""},
		{"nothing", "", stat{}, "no name"},
		{"parentheses the wrong way round", "1 )( S", stat{}, "no name"},
		{"an end after the name", "1 (x)", stat{}, "field 3"},
		{"an end after the state", "1 (x) S 1 2", stat{}, "field 20"},
		{"a negative number of threads", statLine("x", 'S', -1, 8), stat{}, "field 20"},
		{"too large a number", strings.Replace(statLine("x", 'S', 1, 8), "238651", "99999999999999999999", 1), stat{}, "field 22"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseStat([]byte(test.text))
			if (err == nil) != (test.wantErr == "") || err != nil && !strings.Contains(err.Error(), test.wantErr) {
				t.Fatalf("error %v, want %q", err, test.wantErr)
			}
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(stat{})); err == nil && diff != "" {
				t.Errorf("stat (-want +got):\n%s", diff)
			}
		})
	}
}

func TestIdentify(t *testing.T) {
	f := newFixture(t, "vm-1node")
	fs := NewFS(f.proc + "/")
	f.file("490/stat", statLine("a) b", 'S', 1, 8))
	first, err := fs.Identify(490)
	if err != nil || first.TGID != 490 || first.Start != 238651 || first.Comm != "a) b" {
		t.Fatalf("Identify: %+v, %v", first, err)
	}
	f.file("490/stat", strings.Replace(statLine("a) b", 'S', 1, 8), " 4 5 6 ", " 4 5 7 ", 1))
	second, err := fs.Identify(490)
	if err != nil || second.Start != first.Start || second.Image == first.Image {
		t.Errorf("after exec: %+v, %v, before it: %+v", second, err, first)
	}
	f.file("490/stat", statLine("kthreadd", 'S', 1, 0))
	if _, err := fs.Identify(490); !errors.Is(err, ErrNoMemory) {
		t.Errorf("kernel thread: %v", err)
	}
	if _, err := fs.Identify(491); !errors.Is(err, ErrGone) {
		t.Errorf("no process: %v", err)
	}
	f.file("492/stat", "junk")
	if _, err := fs.Identify(492); err == nil || errors.Is(err, ErrGone) || errors.Is(err, ErrNoMemory) {
		t.Errorf("junk: %v", err)
	}
}

func TestIdentifyOwnProcess(t *testing.T) {
	fs := NewFS("/proc")
	p, err := fs.Identify(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	if p.Comm != strings.TrimSuffix(string(comm), "\n") || p.Start == 0 || p.Image == 0 {
		t.Errorf("Identify: %+v, comm is %q", p, comm)
	}
	if again, err := fs.Identify(os.Getpid()); err != nil || again.ProcessID != p.ProcessID {
		t.Errorf("Identify: %+v, %v, then %+v", p, err, again)
	}
	// Kernel threads: the second process of the initial PID namespace.
	if comm, err := os.ReadFile("/proc/2/comm"); err == nil && string(comm) == "kthreadd\n" {
		if _, err := fs.Identify(2); !errors.Is(err, ErrNoMemory) {
			t.Errorf("kthreadd: %v", err)
		}
		if _, err := fs.Maps(2); !errors.Is(err, ErrNoMemory) && !errors.Is(err, os.ErrPermission) {
			t.Errorf("maps of kthreadd: %v", err)
		}
	}
}

func TestParseMaps(t *testing.T) {
	rw, rx, shared := [4]byte([]byte("rw-p")), [4]byte([]byte("r-xp")), [4]byte([]byte("rw-s"))
	tests := []struct {
		name, text string
		want       []VMA
		wantErr    bool
	}{
		{"nothing", "", nil, false},
		{"a file, the heap and a deleted file with blanks in its name",
			"561852e88000-561852e8d000 r-xp 00002000 fe:00 247766                     /usr/bin/sleep\n" +
				"561873f5d000-561873f7e000 rw-p 00000000 00:00 0                          [heap]\n" +
				"7f0d6eb1b000-7f0d6eb1e000 rw-p 00000000 00:00 0 \n" +
				"7f0d6ed01000-7f0d6ed08000 rw-s 00001000 103:fffff 18446744073709551615 /tmp/a  b\\012c\xff (deleted)\n",
			[]VMA{{Start: 0x561852e88000, End: 0x561852e8d000, Perms: rx, Offset: 0x2000, Dev: 0xfe << 32, Inode: 247766, Name: "/usr/bin/sleep"},
				{Start: 0x561873f5d000, End: 0x561873f7e000, Perms: rw, Name: "[heap]"},
				{Start: 0x7f0d6eb1b000, End: 0x7f0d6eb1e000, Perms: rw},
				{Start: 0x7f0d6ed01000, End: 0x7f0d6ed08000, Perms: shared, Offset: 0x1000, Dev: 0x103<<32 | 0xfffff, Inode: 1<<64 - 1, Name: "/tmp/a  b\\012c\xff (deleted)"}}, false},
		{"overlaps are cut off", mapsLine(1, 5, "rw-p", "00:00", 0, "") + mapsLine(3, 8, "rw-p", "00:00", 0, "") + mapsLine(2, 4, "rw-p", "00:00", 0, ""),
			[]VMA{{Start: 0x1000, End: 0x5000, Perms: rw}, {Start: 0x5000, End: 0x8000, Perms: rw, Offset: 0x2000}}, false},
		{"an end before the start", "5000-1000 rw-p 00000000 00:00 0\n", nil, true},
		{"an empty mapping", "5000-5000 rw-p 00000000 00:00 0\n", nil, true},
		{"half a page", "5000-5800 rw-p 00000000 00:00 0\n", nil, true},
		{"too large an address", "10000000000000000-5800 rw-p 00000000 00:00 0\n", nil, true},
		{"a sign", "-5000-6000 rw-p 00000000 00:00 0\n", nil, true},
		{"too many permissions", "5000-6000 rw-pp 00000000 00:00 0\n", nil, true},
		{"no device", "5000-6000 rw-p 00000000\n", nil, true},
		{"an empty line", "\n", nil, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseMaps([]byte(test.text), nil)
			if (err != nil) != test.wantErr {
				t.Fatalf("error %v, want one: %v", err, test.wantErr)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("mappings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseMapsAgainAllocatesNothing(t *testing.T) {
	text := testdata(t, "vm-1node/maps")
	vmas, err := parseMaps(text, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(10, func() {
		if vmas, err = parseMaps(text, vmas); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestSumsOfSmaps(t *testing.T) {
	vmas, err := parseMaps(testdata(t, "vm-1node/maps"), nil)
	if err != nil {
		t.Fatal(err)
	}
	maps, err := parseMappings(testdata(t, "vm-1node/smaps"), nil)
	if err != nil {
		t.Fatal(err)
	}
	sums := sumsOf(maps, vmas)
	want := parseRollup(t, testdata(t, "vm-1node/smaps_rollup"))
	var got Mapping
	for i := range sums {
		s := &sums[i]
		got.Rss += s.Rss
		got.Anonymous += s.Anonymous
		if pages := s.pagesByType(); (pages[0]+pages[1]+pages[2])*heat.PageSize != s.Rss {
			t.Errorf("pages of %+v are %v", s, pages)
		}
	}
	if got.Rss != want.Rss || got.Anonymous != want.Anonymous || want.Rss != 1792<<10 {
		t.Errorf("mappings sum up to %+v, the rollup is %+v", got, want)
	}
	// Only what is asked for is counted.
	if diff := cmp.Diff(sums[4:6], sumsOf(maps, vmas[4:6])); diff != "" {
		t.Errorf("sums (-want +got):\n%s", diff)
	}
}

// TestSumsOfMappingsThatWereJoined: what the mappings had that were joined between
// two pieces of the file is in the joined one, and counts once.
func TestSumsOfMappingsThatWereJoined(t *testing.T) {
	text := smapsEntry(16, 20, "rw-p", "00:00", 0, "", "rd", "Rss 8", "Anonymous 8", "Swap 4") +
		smapsEntry(20, 24, "r--p", "00:00", 0, "", "rd", "Rss 4", "Private_Hugetlb 8") +
		smapsEntry(16, 28, "rw-p", "00:00", 0, "", "rd", "Rss 16", "Anonymous 12", "Swap 4", "Private_Hugetlb 8") +
		smapsEntry(28, 32, "r--p", "00:00", 0, "", "rd", "Rss 4", "Shared_Hugetlb 2048")
	maps, err := parseMappings([]byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	var got [][5]uint64
	for _, m := range sumsOf(maps, []VMA{{Start: 12 * heat.PageSize, End: 28 * heat.PageSize}, {Start: 28 * heat.PageSize, End: 64 * heat.PageSize}}) {
		got = append(got, [...]uint64{m.Rss / 1024, m.Anonymous / 1024, m.Swap / 1024, m.PrivateHugetlb / 1024, m.SharedHugetlb / 1024})
	}
	if diff := cmp.Diff([][5]uint64{{16, 12, 4, 8, 0}, {4, 0, 0, 0, 2048}}, got); diff != "" {
		t.Errorf("kB (-want +got):\n%s", diff)
	}
}
