package memcg

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ReadLRUGen reads the kernel's lru_gen file below sysRoot ("/sys"). With MGLRU
// off, when its numbers mean nothing, it returns none. The error is fs.ErrNotExist
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
	return groups, nil
}
