package memcg

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ReadLRUGen reads the kernel's lru_gen file below sysRoot ("/sys"). With MGLRU
// off, when its numbers mean nothing, it returns none. Its pages are of 4 KiB,
// whatever the machine's are. The error is fs.ErrNotExist
// if the kernel has no MGLRU or debugfs is not mounted.
func ReadLRUGen(sysRoot string) ([]LRUGen, error) {
	b, err := os.ReadFile(filepath.Join(sysRoot, "kernel/mm/lru_gen/enabled"))
	if err != nil {
		return nil, err
	}
	if bits, err := strconv.ParseUint(strings.TrimSpace(string(b)), 0, 64); err != nil || bits&1 == 0 {
		return nil, err
	}
	f, err := os.Open(filepath.Join(sysRoot, "kernel/debug/lru_gen"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	groups, err := ParseLRUGen(f)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", f.Name(), err)
	}
	inPagesOf4K(groups, os.Getpagesize())
	return groups, nil
}

// inPagesOf4K counts generations in pages of 4 KiB instead of the machine's pages,
// which are larger on some: what reads a recording may be another machine.
func inPagesOf4K(groups []LRUGen, pageSize int) {
	times := uint64(pageSize) / 4096
	for i := range groups {
		for _, node := range groups[i].Nodes {
			for j := range node.Gens {
				node.Gens[j].AnonPages *= times
				node.Gens[j].FilePages *= times
			}
		}
	}
}
