package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"mglru_exporter/internal/heat"
)

// smapsEntry returns the entry of a mapping of pages [start, end), with sizes in
// kB by name, such as "Rss 8".
func smapsEntry(start, end uint64, perms, dev string, inode int, name, flags string, sizes ...string) string {
	var b strings.Builder
	b.WriteString(mapsLine(start, end, perms, dev, inode, name))
	for _, s := range sizes {
		key, size, _ := strings.Cut(s, " ")
		fmt.Fprintf(&b, "%-15s %8s kB\n", key+":", size)
	}
	fmt.Fprintf(&b, "THPeligible:           0\nVmFlags: %s\n", flags)
	return b.String()
}

func TestReadMappings(t *testing.T) {
	f := newFixture(t, "vm-1node")
	f.process("7", "")
	f.file("7/smaps", smapsEntry(16, 32, "rw-p", "00:00", 0, "[heap]", "rd wr mr mw me ac ",
		"Size 64", "Rss 48", "Shared_Clean 4", "Shared_Dirty 8", "Private_Dirty 36", "Referenced 12", "Anonymous 48", "Swap 16")+
		smapsEntry(40, 48, "rw-p", "fe:01", 9, "/srv/a: b", "rd wr pf ", "Rss 32", "Referenced 32", "Anonymous 4")+
		smapsEntry(64, 1024, "rw-s", "00:0f", 3, "/dev/hugepages/x", "rd wr sh ht ", "Rss 0", "Shared_Hugetlb 2048", "Private_Hugetlb 1024")+
		smapsEntry(2048, 2052, "rw-s", "00:01", 4, "/memfd:m (deleted)", "rd wr sh ", "Rss 16", "Referenced 0")+
		smapsEntry(4096, 4099, "rw-s", "00:0e", 5, "anon_inode:kvm-vcpu:0", "rd wr sh ", "Rss 12"))
	r := NewMappingReader(NewFS(f.proc))
	got, err := r.Read(7)
	if err != nil {
		t.Fatal(err)
	}
	const kb = 1024
	want := []Mapping{
		{VMA: VMA{Name: "[heap]"}, Rss: 48 * kb, Referenced: 12 * kb, Anonymous: 48 * kb, SharedRss: 12 * kb, Swap: 16 * kb},
		{VMA: VMA{Name: "/srv/a: b"}, Rss: 32 * kb, Referenced: 32 * kb, Anonymous: 4 * kb, Special: true},
		{VMA: VMA{Name: "/dev/hugepages/x"}, PrivateHugetlb: 1024 * kb, SharedHugetlb: 2048 * kb},
		{VMA: VMA{Name: "/memfd:m (deleted)"}, Rss: 16 * kb, FileType: heat.Shmem},
		{VMA: VMA{Name: "anon_inode:kvm-vcpu:0"}, Rss: 12 * kb},
	}
	for i := range want {
		want[i].Node = -1
		if want[i].FileType == 0 {
			want[i].FileType = heat.File
		}
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(VMA{}, "Start", "End", "Perms", "Dev", "Inode")); diff != "" {
		t.Errorf("mappings (-want +got):\n%s", diff)
	}
	for i, vcpu := range []bool{false, false, false, false, true} {
		if got[i].ShowsVCPU() != vcpu || got[i].PlainAnon() != (i == 0) {
			t.Errorf("%s: vcpu %v, plain anonymous %v", got[i].Name, got[i].ShowsVCPU(), got[i].PlainAnon())
		}
	}
	if err := r.Locate(7, got, []int{3}); err != nil {
		t.Errorf("where there is one node, numa_maps is not needed: %v", err)
	}
	for i := range got {
		if got[i].Node != 3 {
			t.Errorf("%s is on node %d, want the only one, 3", got[i].Name, got[i].Node)
		}
	}
}

func TestMappingsThatWereJoinedShowOnce(t *testing.T) {
	text := smapsEntry(16, 20, "rw-p", "00:00", 0, "", "rd", "Rss 8") +
		smapsEntry(20, 24, "r--p", "00:00", 0, "", "rd", "Rss 4") +
		smapsEntry(16, 28, "rw-p", "00:00", 0, "", "rd", "Rss 16") +
		smapsEntry(28, 32, "r--p", "00:00", 0, "", "rd", "Rss 4")
	maps, err := parseMappings([]byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []uint64
	for _, m := range maps {
		got = append(got, m.Start/heat.PageSize, m.End/heat.PageSize, m.Rss/1024)
	}
	if diff := cmp.Diff([]uint64{16, 28, 16, 28, 32, 4}, got); diff != "" {
		t.Errorf("start, end and Rss (-want +got):\n%s", diff)
	}
}

func TestParseMappingsErrors(t *testing.T) {
	entry := smapsEntry(16, 20, "rw-p", "00:00", 0, "", "rd", "Rss 8")
	for _, text := range []string{
		"Rss: 8 kB\n" + entry,
		strings.Replace(entry, "kB", "MB", 1),
		strings.Replace(entry, "8 kB", "-8 kB", 1),
		strings.Replace(entry, "8 kB", "99999999999999999999 kB", 1),
		strings.Replace(entry, "8 kB", "9999999999999 kB", 1),
	} {
		if maps, err := parseMappings([]byte(text), nil); err == nil {
			t.Errorf("%q is %+v", text, maps)
		}
	}
}

func TestMappingReaderErrors(t *testing.T) {
	f := newFixture(t, "vm-1node")
	r := NewMappingReader(NewFS(f.proc))
	if _, err := r.Read(7); !errors.Is(err, ErrGone) {
		t.Errorf("no process: %v", err)
	}
	if err := r.ClearRefs(7); !errors.Is(err, ErrGone) {
		t.Errorf("no process: %v", err)
	}
	f.file("8/stat", statLine("kthreadd", 'S', 1, 0))
	f.file("8/smaps", "")
	if _, err := r.Read(8); !errors.Is(err, ErrNoMemory) {
		t.Errorf("kernel thread: %v", err)
	}
	f.process("9", "")
	f.file("9/smaps", "nonsense\n")
	if _, err := r.Read(9); err == nil || !strings.Contains(err.Error(), filepath.Join(f.proc, "9/smaps")) {
		t.Errorf("nonsense: %v", err)
	}
	f.file("9/numa_maps", "nonsense\n")
	if err := r.Locate(9, nil, []int{0, 1}); err == nil || !strings.Contains(err.Error(), "numa_maps") {
		t.Errorf("nonsense: %v", err)
	}
}

func TestLocate(t *testing.T) {
	f := newFixture(t, "qemu-2nodes")
	f.process("7", "")
	var smaps strings.Builder
	for i := range uint64(7) {
		smaps.WriteString(smapsEntry(16*i+16, 16*i+24, "rw-p", "00:00", 0, "", "rd", "Rss 8"))
	}
	f.file("7/smaps", smaps.String())
	f.file("7/numa_maps", `00010000 default heap anon=2 dirty=2 active=0 N0=2 kernelpagesize_kB=4
00020000 interleave:0-1 anon=2 dirty=2 N0=1 N1=1 kernelpagesize_kB=4
00030000 default file=/srv/N1\0403=4 mapped=2 N12=2 kernelpagesize_kB=4
00038000 default anon=1 N5=1 kernelpagesize_kB=4
00040000 default
00060000 default file=/N9 mapped=2 Nx=1 N=3 N1=2
`)
	r := NewMappingReader(NewFS(f.proc))
	maps, err := r.Read(7)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Locate(7, maps, []int{0, 1}); err != nil {
		t.Fatal(err)
	}
	var got []int16
	for i := range maps {
		got = append(got, maps[i].Node)
	}
	// One node; two; one beyond ten; none listed; not listed; strange words.
	if diff := cmp.Diff([]int16{0, -1, 12, -1, -1, 1, -1}, got); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
}

func TestClearRefsWrites1(t *testing.T) {
	f := newFixture(t, "vm-1node")
	f.process("7", "")
	f.file("7/clear_refs", "")
	if err := NewMappingReader(NewFS(f.proc)).ClearRefs(7); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(f.proc, "7/clear_refs"))
	if err != nil || string(b) != "1" {
		t.Errorf("%q, %v", b, err)
	}
}

func FuzzParseMappings(f *testing.F) {
	f.Add(testdata(f, "vm-1node/smaps"), []byte("561852e86000 default file=/usr/bin/sleep mapped=2 N0=2 kernelpagesize_kB=4\n"))
	f.Add(testdata(f, "vm-1node/mixed/smaps"), testdata(f, "vm-1node/mixed/numa_maps"))
	f.Add([]byte(smapsEntry(16, 28, "rw-p", "00:00", 0, "", "rd pf", "Rss 16")), []byte("10000 default N1=1 N2=1\n"))
	f.Fuzz(func(t *testing.T, smaps, numa []byte) {
		maps, err := parseMappings(smaps, nil)
		if err != nil {
			return
		}
		var last, sum uint64
		for i := range maps {
			m := &maps[i]
			if m.Start < last || m.Start >= m.End {
				t.Fatalf("mapping %+v after %#x", m.VMA, last)
			}
			last = m.End
			if sum+m.Rss < sum {
				t.Fatal("the sum of all overflows")
			}
			sum += m.Rss
			m.ShowsVCPU()
		}
		_ = parseNumaMaps(numa, maps)
		for i := range maps {
			if maps[i].Node < nodeUnknown {
				t.Errorf("node %d", maps[i].Node)
			}
		}
	})
}
