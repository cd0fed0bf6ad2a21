package source

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"mglru_exporter/internal/preflight"
)

// maxNode is the highest NUMA node that a kernel can have: CONFIG_NODES_SHIFT is 10
// at most.
const maxNode = 1023

// maxPageNode is the highest one that sources which see pages keep account of.
const maxPageNode = 63

// errNoNode says that no node has memory: what is mounted is not the kernel's sysfs.
var errNoNode = errors.New("it lists no node")

// nodesWithMemory returns the NUMA nodes that have memory at the moment, in order:
// nodes come and go with memory that is plugged in or out. A kernel without
// CONFIG_NUMA has no list of them, and one node.
func nodesWithMemory(sysRoot string) ([]int, error) {
	path := filepath.Join(sysRoot, "devices/system/node/has_memory")
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return []int{0}, nil
	}
	if err != nil {
		return nil, err
	}
	list := strings.TrimSpace(string(b))
	if list == "" {
		return nil, fmt.Errorf("read %s: %w", path, errNoNode)
	}
	nodes, err := parseNodes(list)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", path, err)
	}
	return nodes, nil
}

// parseNodes parses a node list like "0-1,252-255".
func parseNodes(list string) (nodes []int, err error) {
	for part := range strings.SplitSeq(list, ",") {
		from, to, ranged := strings.Cut(part, "-")
		lo, err := parseNode(from)
		hi := lo
		if err == nil && ranged {
			hi, err = parseNode(to)
		}
		if err != nil || hi < lo {
			return nil, fmt.Errorf("node list %.80q: %.80q is no node or range of nodes within 0 to %d", list, part, maxNode)
		}
		for n := lo; n <= hi; n++ {
			nodes = append(nodes, n)
		}
	}
	slices.Sort(nodes)
	return slices.Compact(nodes), nil
}

func parseNode(text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err == nil && n > maxNode {
		err = strconv.ErrRange
	}
	return int(n), err
}

// pageNodes is nodesWithMemory for sources that see pages: a bit for each.
func pageNodes(sysRoot string) (mask uint64, err error) {
	nodes, err := nodesWithMemory(sysRoot)
	if err != nil {
		return 0, err
	}
	for _, n := range nodes {
		if n > maxPageNode {
			return 0, fmt.Errorf("NUMA node %d has memory, and this source keeps account of nodes 0 to %d", n, maxPageNode)
		}
		mask |= 1 << n
	}
	return mask, nil
}

// pageNodesRequirement asks that pageNodes succeeds.
func pageNodesRequirement(sysRoot string) preflight.Requirement {
	r := preflight.Requirement{Name: "NUMA nodes up to 63"}
	nodes, err := nodesWithMemory(sysRoot)
	if err == nil {
		_, err = pageNodes(sysRoot)
	}
	if err != nil {
		r.Detail, r.Repair = err.Error(), nodesRepair(err)
		if len(nodes) > 0 {
			r.Repair = "use source referenced, which works with all nodes"
		}
		return r
	}
	r.Met, r.Detail = true, fmt.Sprintf("the highest that has memory is %d", nodes[len(nodes)-1])
	return r
}

// nodesRepair is what helps against an error of nodesWithMemory; nothing does where
// the list is of a form that is not known.
func nodesRepair(err error) string {
	if _, unread := errors.AsType[*os.PathError](err); unread || errors.Is(err, errNoNode) {
		return "mount -t sysfs sysfs /sys"
	}
	return ""
}
