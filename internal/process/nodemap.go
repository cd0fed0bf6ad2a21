package process

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"mglru_exporter/internal/heat"
)

// nodeUnknown is the node of pages that may belong to more than one.
const nodeUnknown = -1

// A NodeMap tells the NUMA node of a page from its page frame number. It is
// immutable, and true until memory is plugged in or out: then a frame that has
// come is in no span, or still in that of the node which had its place before.
type NodeMap struct {
	spans []nodeSpan // ascending, disjoint
	nodes []int      // ascending
}

// A nodeSpan is the page frames [start, end), which all have the same node.
type nodeSpan struct {
	start, end uint64
	node       int16
}

// LoadNodeMap reads which page frames each zone of each node spans, from
// zoneinfo in procRoot (usually "/proc"). A zone's span may have holes, and in
// them frames of another node. Where spans overlap, the memory blocks of each
// node in sysRoot (usually "/sys") decide; frames in no block, or in a block
// of several nodes, or all of them where the kernel has no memory blocks
// (they need CONFIG_MEMORY_HOTPLUG), get node -1.
//
// Zones of device memory (ZONE_DEVICE) are left out.
func LoadNodeMap(procRoot, sysRoot string) (*NodeMap, error) {
	path := filepath.Join(procRoot, "zoneinfo")
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("find the nodes' memory: %w", err)
	}
	zones, err := parseZoneinfo(b)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", path, err)
	}
	m := newNodeMap(zones)
	if len(m.nodes) == 0 {
		return nil, fmt.Errorf("parse %s: no node has memory", path)
	}
	if slices.ContainsFunc(m.spans, func(s nodeSpan) bool { return s.node == nodeUnknown }) {
		blocks, err := loadBlocks(sysRoot)
		if err != nil {
			return nil, fmt.Errorf("find the node of memory that several nodes span: %w", err)
		}
		m.resolve(blocks)
	}
	return m, nil
}

// Node returns the node of a page frame, -1 if it is ambiguous. It returns
// false for a frame in no node's span, which is not memory.
func (m *NodeMap) Node(pfn uint64) (node int, ok bool) {
	s, ok := m.lookup(pfn)
	return int(s.node), ok
}

// lookup returns the span that a page frame is in.
func (m *NodeMap) lookup(pfn uint64) (nodeSpan, bool) {
	lo, hi := 0, len(m.spans)
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		if m.spans[mid].end <= pfn {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == len(m.spans) || pfn < m.spans[lo].start {
		return nodeSpan{}, false
	}
	return m.spans[lo], true
}

// A zone is what zoneinfo says of a zone: what it spans, and how much of that
// is present.
type zone struct {
	nodeSpan
	present uint64
}

// parseZoneinfo returns the zones that span anything, but those of devices.
func parseZoneinfo(b []byte) ([]zone, error) {
	var zones []zone
	var z zone
	var spanned uint64
	device := false
	end := func() {
		if spanned > 0 && !device {
			z.end = z.start + min(spanned, math.MaxUint64-z.start)
			zones = append(zones, z)
		}
	}
	for n := 1; len(b) > 0; n++ {
		var line []byte
		line, b = cutLine(b)
		bad := fmt.Errorf("line %d is %.80q", n, line)
		key, rest := cutField(line)
		if string(key) == "Node" {
			end()
			number, name := cutField(rest)
			node, ok := parseUint(bytes.TrimSuffix(number, []byte(",")))
			word, name := cutField(name)
			if !ok || node > math.MaxInt16 || string(word) != "zone" {
				return nil, bad
			}
			name, _ = cutField(name)
			z, spanned, device = zone{nodeSpan: nodeSpan{node: int16(node)}}, 0, string(name) == "Device"
			continue
		}
		var to *uint64
		switch string(key) {
		case "spanned":
			to = &spanned
		case "present":
			to = &z.present
		case "start_pfn:":
			to = &z.start
		default:
			continue
		}
		number, _ := cutField(rest)
		v, ok := parseUint(number)
		if !ok {
			return nil, bad
		}
		*to = v
	}
	end()
	return zones, nil
}

// newNodeMap cuts what the zones span at all their ends, so that each piece
// has one node or, where zones of several nodes overlap, nodeUnknown.
func newNodeMap(zones []zone) *NodeMap {
	m := &NodeMap{}
	var cuts []uint64
	for _, z := range zones {
		if z.present > 0 && !slices.Contains(m.nodes, int(z.node)) {
			m.nodes = append(m.nodes, int(z.node))
		}
		cuts = append(cuts, z.start, z.end)
	}
	slices.Sort(m.nodes)
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	for i := 0; i+1 < len(cuts); i++ {
		s := nodeSpan{start: cuts[i], end: cuts[i+1]}
		covered := false
		for _, z := range zones {
			if z.start > s.start || z.end < s.end {
				continue
			}
			if covered && s.node != z.node {
				s.node = nodeUnknown
				break
			}
			covered, s.node = true, z.node
		}
		if covered {
			m.add(s)
		}
	}
	return m
}

// add appends a span, as part of the last one if it continues that.
func (m *NodeMap) add(s nodeSpan) {
	if n := len(m.spans); n > 0 && m.spans[n-1].end == s.start && m.spans[n-1].node == s.node {
		m.spans[n-1].end = s.end
		return
	}
	m.spans = append(m.spans, s)
}

// resolve gives the spans of unknown node those of the blocks, which are
// ascending and disjoint.
func (m *NodeMap) resolve(blocks []nodeSpan) {
	spans := m.spans
	m.spans = nil
	for _, s := range spans {
		if s.node != nodeUnknown {
			m.add(s)
			continue
		}
		for _, b := range blocks {
			if b.end <= s.start || b.start >= s.end {
				continue
			}
			if s.start < b.start {
				m.add(nodeSpan{s.start, b.start, nodeUnknown})
			}
			end := min(s.end, b.end)
			m.add(nodeSpan{max(s.start, b.start), end, b.node})
			s.start = end
		}
		if s.start < s.end {
			m.add(s)
		}
	}
}

// loadBlocks returns the memory blocks, ascending. A block that straddles
// nodes is listed under each of them, and is returned once as nodeUnknown.
func loadBlocks(sysRoot string) ([]nodeSpan, error) {
	path := filepath.Join(sysRoot, "devices/system/memory/block_size_bytes")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	size, ok := parseHex(bytes.TrimSpace(b))
	if !ok || size < heat.PageSize {
		return nil, fmt.Errorf("parse %s: %.40q is no size", path, b)
	}
	size /= heat.PageSize

	names, err := filepath.Glob(filepath.Join(sysRoot, "devices/system/node/node[0-9]*/memory[0-9]*"))
	if err != nil {
		return nil, err
	}
	var blocks []nodeSpan
	for _, name := range names {
		node, err1 := strconv.ParseUint(filepath.Base(filepath.Dir(name))[len("node"):], 10, 15)
		block, err2 := strconv.ParseUint(filepath.Base(name)[len("memory"):], 10, 64)
		if err1 != nil || err2 != nil || block >= math.MaxUint64/size-1 {
			continue
		}
		blocks = append(blocks, nodeSpan{block * size, (block + 1) * size, int16(node)})
	}
	slices.SortFunc(blocks, func(a, b nodeSpan) int { return cmp.Compare(a.start, b.start) })
	out := blocks[:0]
	for _, b := range blocks {
		if n := len(out); n > 0 && out[n-1].start == b.start {
			if out[n-1].node != b.node {
				out[n-1].node = nodeUnknown
			}
			continue
		}
		out = append(out, b)
	}
	return out, nil
}
