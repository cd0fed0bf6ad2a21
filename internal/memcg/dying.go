package memcg

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	"mglru_exporter/internal/name"
)

// MayHaveDying tells whether pages may be charged to a memcg below this one that is
// none any more: because it was removed, or because memory was taken out of the
// cgroup.subtree_control above it. It lives on as long as it has pages, and the
// kernel says of these that they are charged to the nearest memcg above it that is
// left (page_cgroup_ino() in mm/memcontrol.c).
//
// Kernels before 6.12 count only the removed ones, so there it may be wherever there
// are cgroups below; and in cgroup v1 everywhere. The error is ErrGone if the memcg
// does not exist.
func (h *Hierarchy) MayHaveDying(path string) (bool, error) {
	dir, err := h.dirOf(path)
	if err != nil {
		return false, err
	}
	if h.version == 1 {
		return true, nil
	}
	file := dir + "/cgroup.stat"
	b, err := os.ReadFile(file)
	if err != nil {
		return false, fmt.Errorf("count the dying cgroups of %s: %w", name.Escape(path), gone(err))
	}
	counts, err := parseStat(b)
	if err != nil {
		return false, fmt.Errorf("parse %s: %w", file, err)
	}
	if n, ok := counts["nr_dying_subsys_memory"]; ok {
		return n > 0, nil
	}
	return counts["nr_descendants"] > 0 || counts["nr_dying_descendants"] > 0, nil
}

// parseStat parses lines of a key and a number.
func parseStat(b []byte) (map[string]uint64, error) {
	counts := map[string]uint64{}
	for line := range bytes.Lines(b) {
		key, value, ok := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(" "))
		n, err := strconv.ParseUint(string(value), 10, 64)
		if !ok || err != nil {
			return nil, fmt.Errorf("%.40q is not a key and a number", line)
		}
		counts[string(key)] = n
	}
	return counts, nil
}
