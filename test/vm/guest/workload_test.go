//go:build guest

package guest

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"mglru_exporter/internal/heat"
)

// smaps returns the fields of the VMAs of m in /proc/PID/smaps, summed, in KiB,
// and the union of their VmFlags.
func smaps(t *testing.T, m *Mapping) (map[string]uint64, map[string]bool) {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps", m.w.PID))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sizes, flags := map[string]uint64{}, map[string]bool{}
	inside := false
	for in := bufio.NewScanner(f); in.Scan(); {
		name, value, _ := strings.Cut(in.Text(), ":")
		var from, to uint64
		if _, err := fmt.Sscanf(in.Text(), "%x-%x ", &from, &to); err == nil {
			inside = from >= m.Addr && to <= m.Addr+m.Size
			continue
		}
		if !inside {
			continue
		}
		if name == "VmFlags" {
			for flag := range strings.FieldsSeq(value) {
				flags[flag] = true
			}
			continue
		}
		if kib, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64); err == nil {
			sizes[name] += kib
		}
	}
	return sizes, flags
}

// pagesByNode counts the pages of m by node, from /proc/PID/numa_maps.
func pagesByNode(t *testing.T, m *Mapping) map[int]uint64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/numa_maps", m.w.PID))
	if err != nil {
		t.Fatal(err)
	}
	nodes := map[int]uint64{}
	count := regexp.MustCompile(` N(\d+)=(\d+)`)
	for line := range strings.Lines(string(text)) {
		at, _, _ := strings.Cut(line, " ")
		addr, err := strconv.ParseUint(at, 16, 64)
		if err != nil {
			t.Fatalf("numa_maps: %q: %v", line, err)
		}
		if addr < m.Addr || addr >= m.Addr+m.Size {
			continue
		}
		unit := uint64(1)
		if m.Kind == Hugetlb {
			unit = heat.PagesPerRegion
		}
		for _, match := range count.FindAllStringSubmatch(line, -1) {
			node, _ := strconv.Atoi(match[1])
			n, _ := strconv.ParseUint(match[2], 10, 64)
			nodes[node] += n * unit
		}
	}
	return nodes
}

// Bits of /proc/PID/pagemap.
const (
	pagemapPresent = 1 << 63
	pagemapShared  = 1 << 61 // file page or shared anonymous
)

// pagemap returns m's entries of /proc/PID/pagemap.
func pagemap(t *testing.T, m *Mapping) []uint64 {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/pagemap", m.w.PID))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	raw := make([]byte, m.NumPages()*8)
	if _, err := f.ReadAt(raw, int64(m.Addr/pageSize*8)); err != nil {
		t.Fatal(err)
	}
	entries := make([]uint64, m.NumPages())
	for i := range entries {
		entries[i] = binary.LittleEndian.Uint64(raw[i*8:])
	}
	return entries
}

// testAreas has one area of each sort on each node.
func testAreas() []Area {
	const size = 8 << 20
	var areas []Area
	for node := range 2 {
		for _, kind := range []Kind{Anon, THP, File, FilePrivate, Shmem, SharedAnon, Memfd} {
			areas = append(areas, Area{Name: fmt.Sprintf("%s%d", kind, node), Kind: kind, Size: size, Node: node})
		}
	}
	return append(areas,
		Area{Name: "hugetlb", Kind: Hugetlb, Size: 4 << 20, Node: 1},
		Area{Name: "locked", Kind: Anon, Size: 1 << 20, Node: 0, Locked: true},
		Area{Name: "random", Kind: Anon, Size: 1 << 20, Node: 1, Advice: "random"},
		Area{Name: "sequential", Kind: File, Size: 1 << 20, Node: 0, Advice: "sequential"},
		Area{Name: "skewed", Kind: Anon, Size: 4 << 20, Node: 0, Skew: 5},
	)
}

// TestWorkload checks that the workload's memory is what its areas claim: what
// every other test's verdict rests on.
func TestWorkload(t *testing.T) {
	w := StartWorkload(t, "/workload")
	for _, area := range testAreas() {
		t.Run(area.Name, func(t *testing.T) {
			m := w.Map(t, area)
			if got, want := m.Addr%hugeSize, uint64(area.Skew)*pageSize; got != want {
				t.Errorf("address %#x is %#x over a multiple of 2 MiB, want %#x", m.Addr, got, want)
			}
			nodes := pagesByNode(t, m)
			t.Logf("%#x: pages by node: want {%d: %d}, got %v", m.Addr, area.Node, m.NumPages(), nodes)
			if len(nodes) != 1 || nodes[area.Node] != uint64(m.NumPages()) {
				t.Errorf("pages by node: want all %d on %d, got %v", m.NumPages(), area.Node, nodes)
			}
			for i, entry := range pagemap(t, m) {
				if entry&pagemapPresent == 0 {
					t.Fatalf("page %d is not present", i)
				}
				if anon := entry&pagemapShared == 0; anon != (area.Kind.Type() == heat.Anon) {
					t.Fatalf("page %d: anon is %v, want type %v", i, anon, area.Kind.Type())
				}
			}
			sizes, flags := smaps(t, m)
			kib := area.Size / 1024
			for field, want := range map[string]uint64{
				"Rss":             kib * b2u(area.Kind != Hugetlb),
				"AnonHugePages":   kib * b2u(area.Kind == THP),
				"Private_Hugetlb": kib * b2u(area.Kind == Hugetlb),
				"Locked":          kib * b2u(area.Locked),
			} {
				if sizes[field] != want {
					t.Errorf("smaps: %s: want %d kB, got %d kB", field, want, sizes[field])
				}
			}
			for flag, want := range map[string]bool{
				"lo": area.Locked, "rr": area.Advice == "random", "sr": area.Advice == "sequential",
				"ht": area.Kind == Hugetlb, "sh": area.Kind.Type() == heat.Shmem || area.Kind == File,
			} {
				if flags[flag] != want {
					t.Errorf("smaps: flag %s: want %v, got %v", flag, want, flags[flag])
				}
			}
		})
	}
	charged := cgroupStat(t, w.Cgroup)
	for node := range 2 {
		for stat, kinds := range map[string][]heat.Type{"anon": {heat.Anon}, "file": {heat.File, heat.Shmem}, "shmem": {heat.Shmem}} {
			var want uint64
			for _, m := range w.Mappings {
				for _, kind := range kinds {
					if m.Kind != Hugetlb && m.Node == node && m.Kind.Type() == kind {
						want += m.Size
					}
				}
			}
			got := charged[fmt.Sprintf("%s N%d", stat, node)]
			t.Logf("memory.numa_stat: %s of node %d: want %d, got %d", stat, node, want, got)
			// Its own stack, data and page cache come on top of the areas.
			if got < want || got > want+2<<20 {
				t.Errorf("memory.numa_stat: %s of node %d: want %d and little more, got %d", stat, node, want, got)
			}
		}
	}
}

func b2u(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// cgroupStat reads memory.numa_stat; keys are like "anon N0".
func cgroupStat(t *testing.T, cgroup string) map[string]uint64 {
	t.Helper()
	text, err := os.ReadFile(cgroupRoot + cgroup + "/memory.numa_stat")
	if err != nil {
		t.Fatal(err)
	}
	stat := map[string]uint64{}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		for _, field := range fields[1:] {
			node, bytes, _ := strings.Cut(field, "=")
			n, err := strconv.ParseUint(bytes, 10, 64)
			if err != nil {
				t.Fatalf("numa_stat: %q: %v", line, err)
			}
			stat[fields[0]+" "+node] = n
		}
	}
	return stat
}

// TestWorkloadLedger checks the ledger against the workload's own account, and
// both against the accessed bits, cleared and read back through clear_refs and
// smaps.
func TestWorkloadLedger(t *testing.T) {
	w := StartWorkload(t, "/ledger")
	all := w.Map(t, Area{Name: "all", Kind: Anon, Size: 4 << 20, Node: 0})
	third := w.Map(t, Area{Name: "third", Kind: File, Size: 4 << 20, Node: 1})
	one := w.Map(t, Area{Name: "one", Kind: THP, Size: 4 << 20, Node: 1})
	none := w.Map(t, Area{Name: "none", Kind: Shmem, Size: 4 << 20, Node: 0})
	for pass := range 4 {
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", w.PID), []byte("1"), 0o200); err != nil {
			t.Fatal(err)
		}
		all.TouchAll(t)
		third.TouchEvery(t, 3)
		if pass == 0 {
			one.Touch(t, 7, 1, 1)
		}
		w.EndPass()
		for _, m := range w.Mappings {
			m.Check(t)
			sizes, _ := smaps(t, m)
			if got, want := sizes["Referenced"]*1024, m.LastPass().Bytes(); got != want {
				t.Errorf("pass %d: %s: want %d bytes referenced, got %d", pass, m.Name, want, got)
			}
		}
	}
	for _, test := range []struct {
		m               *Mapping
		hot, warm, cold int
	}{
		{all, 1024, 0, 0},
		{third, 342, 0, 682},
		{one, 0, 512, 512},
		{none, 0, 0, 1024},
	} {
		c := test.m.Want(4, 0.5)
		if c.Hot.Count() != test.hot || c.Warm.Count() != test.warm || c.Cold.Count() != test.cold {
			t.Errorf("%s: want %d hot, %d warm, %d cold, got %d, %d, %d", test.m.Name, test.hot, test.warm, test.cold,
				c.Hot.Count(), c.Warm.Count(), c.Cold.Count())
		}
	}
}

// TestWorkloadLife checks that the workload survives what it is asked to do to
// itself.
func TestWorkloadLife(t *testing.T) {
	w := StartWorkload(t, "/life/inner")
	m := w.Map(t, Area{Name: "a", Kind: Anon, Size: 2 << 20, Node: 0})
	child := w.Fork(t)
	if child == w.PID {
		t.Errorf("the child has its parent's pid %d", child)
	}
	w.ExitLeader(t)
	m.TouchAll(t)
	m.Check(t)
	w.Exec(t)
	if answer := w.send(t, "touch a 0 1 1"); !strings.HasPrefix(answer, "error ") {
		t.Errorf("touch after exec: want an error, got %q", answer)
	}
	w.Map(t, Area{Name: "a", Kind: Anon, Size: 2 << 20, Node: 1}).TouchAll(t)
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", w.PID))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(text), "0::/life/inner\n"; got != want {
		t.Errorf("cgroup: want %q, got %q", want, got)
	}
}
