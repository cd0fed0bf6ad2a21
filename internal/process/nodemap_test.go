package process

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// zoneText is what zoneinfo says of a zone.
func zoneText(node int, name string, start, spanned, present uint64) string {
	return fmt.Sprintf("Node %d, zone %8s\n  pages free     3839\n        spanned  %d\n        present  %d\n  start_pfn:           %d\n",
		node, name, spanned, present, start)
}

func TestNodeMap(t *testing.T) {
	real := func(host string) string {
		b, err := os.ReadFile(filepath.Join("testdata", host, "zoneinfo"))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	type blocks map[int][]int // by node
	tests := []struct {
		name      string
		zones     string
		blocks    blocks // of 0x8000000 bytes, 32768 pages; nil: none
		wantSpans []nodeSpan
		wantNodes []int
	}{
		{
			name:      "one node of three zones is one span",
			zones:     real("vm-1node"),
			wantSpans: []nodeSpan{{1, 6553600, 0}},
			wantNodes: []int{0},
		},
		{
			name:      "two nodes, and a hole between them",
			zones:     real("qemu-2nodes"),
			wantSpans: []nodeSpan{{1, 262144, 0}, {262144, 524256, 1}},
			wantNodes: []int{0, 1},
		},
		{
			name:      "a node without memory is not listed",
			zones:     zoneText(0, "Normal", 10, 10, 10) + zoneText(2, "Normal", 30, 10, 9) + "Node 3, zone Normal\n  pages free 0\n        spanned  0\n        present  0\n",
			wantSpans: []nodeSpan{{10, 20, 0}, {30, 40, 2}},
			wantNodes: []int{0, 2},
		},
		{
			name:      "frames that two nodes span are ambiguous without memory blocks",
			zones:     zoneText(0, "Normal", 0, 4*32768, 65536) + zoneText(1, "Normal", 32768, 4*32768, 65536),
			wantSpans: []nodeSpan{{0, 32768, 0}, {32768, 4 * 32768, -1}, {4 * 32768, 5 * 32768, 1}},
			wantNodes: []int{0, 1},
		},
		{
			name:   "memory blocks resolve them",
			zones:  zoneText(0, "Normal", 0, 4*32768, 65536) + zoneText(1, "Normal", 32768, 4*32768, 65536),
			blocks: blocks{0: {0, 2}, 1: {1, 4}},
			wantSpans: []nodeSpan{{0, 32768, 0}, {32768, 2 * 32768, 1}, {2 * 32768, 3 * 32768, 0},
				{3 * 32768, 4 * 32768, -1}, {4 * 32768, 5 * 32768, 1}},
			wantNodes: []int{0, 1},
		},
		{
			name:      "a block of two nodes stays ambiguous",
			zones:     zoneText(0, "Normal", 0, 2*32768, 65536) + zoneText(1, "Normal", 100, 2*32768-100, 65536),
			blocks:    blocks{0: {0, 1}, 1: {1}},
			wantSpans: []nodeSpan{{0, 32768, 0}, {32768, 2 * 32768, -1}},
			wantNodes: []int{0, 1},
		},
		{
			name:      "a zone of all frames there can be",
			zones:     zoneText(0, "Normal", 10, 1<<64-1, 1),
			wantSpans: []nodeSpan{{10, 1<<64 - 1, 0}},
			wantNodes: []int{0},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t, "vm-1node")
			f.file("zoneinfo", test.zones)
			if test.blocks != nil {
				f.write(filepath.Join(f.sys, "devices/system/memory/block_size_bytes"), "8000000\n")
			}
			for node, list := range test.blocks {
				for _, block := range list {
					f.block(node, block)
				}
			}
			m, err := LoadNodeMap(f.proc, f.sys)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.wantSpans, m.spans, cmp.AllowUnexported(nodeSpan{})); diff != "" {
				t.Errorf("spans (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.wantNodes, m.nodes); diff != "" {
				t.Errorf("nodes (-want +got):\n%s", diff)
			}
			checkNodeMap(t, m)
		})
	}
}

// checkNodeMap checks Node at and around the ends of all spans.
func checkNodeMap(t *testing.T, m *NodeMap) {
	t.Helper()
	for i, s := range m.spans {
		if s.start >= s.end || i > 0 && m.spans[i-1].end > s.start {
			t.Fatalf("spans are out of order: %v", m.spans)
		}
		for _, pfn := range []uint64{s.start, s.end - 1} {
			if node, ok := m.Node(pfn); !ok || node != int(s.node) {
				t.Errorf("Node(%d) = %d, %v, want %d", pfn, node, ok, s.node)
			}
		}
		if i+1 == len(m.spans) || m.spans[i+1].start > s.end {
			if _, ok := m.Node(s.end); ok {
				t.Errorf("Node(%d) is something", s.end)
			}
		}
	}
}

func TestNodeMapErrors(t *testing.T) {
	tests := []struct{ name, zones, want string }{
		{"not zoneinfo", "hello\n", "no node has memory"},
		{"a negative number", strings.Replace(zoneText(0, "DMA", 1, 2, 3), "spanned  ", "spanned  -", 1), `line 3`},
		{"a node beyond all", zoneText(99999, "DMA", 1, 2, 3), "line 1"},
		{"no zone name", "Node 0\n", "line 1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t, "vm-1node")
			f.file("zoneinfo", test.zones)
			if _, err := LoadNodeMap(f.proc, f.sys); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("LoadNodeMap: %v, want one with %q", err, test.want)
			}
		})
	}
	t.Run("no zoneinfo", func(t *testing.T) {
		if _, err := LoadNodeMap(t.TempDir(), t.TempDir()); err == nil {
			t.Error("LoadNodeMap returns no error")
		}
	})
	t.Run("a block size that is none", func(t *testing.T) {
		f := newFixture(t, "vm-1node")
		f.file("zoneinfo", zoneText(0, "Normal", 0, 10, 10)+zoneText(1, "Normal", 0, 10, 10))
		f.write(filepath.Join(f.sys, "devices/system/memory/block_size_bytes"), "-8\n")
		if _, err := LoadNodeMap(f.proc, f.sys); err == nil {
			t.Error("LoadNodeMap returns no error")
		}
	})
}

func TestNodeMapOfThisMachine(t *testing.T) {
	m, err := LoadNodeMap("/proc", "/sys")
	if err != nil {
		t.Fatal(err)
	}
	checkNodeMap(t, m)
	dirs, err := filepath.Glob("/sys/devices/system/node/node[0-9]*")
	if err != nil || len(dirs) == 0 {
		t.Skipf("NOT TESTED: no nodes in /sys: %v", err)
	}
	if got := len(m.nodes); got == 0 || got > len(dirs) {
		t.Errorf("%d nodes have memory, of %d", got, len(dirs))
	}
}
