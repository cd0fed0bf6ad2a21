package process

import (
	"bytes"
	"fmt"
	"strconv"
)

// MergedPages returns how many pages of a process ksmd has replaced by one that is
// equal to them and may be another process's, and charged to another memcg.
//
// The errors are ErrGone, also on a kernel without CONFIG_KSM, ErrNoMemory, no
// permission (os.ErrPermission), or that the file could not be read or understood.
func (f FS) MergedPages(pid int) (n uint64, err error) {
	err = f.withMemory(pid, func(dir string) error {
		path := dir + "/ksm_merging_pages"
		b, err := readFile(path, nil)
		if err != nil {
			return err
		}
		if len(b) == 0 {
			return fmt.Errorf("read %s: %w", path, ErrNoMemory)
		}
		if n, err = strconv.ParseUint(string(bytes.TrimSuffix(b, []byte("\n"))), 10, 64); err != nil {
			return fmt.Errorf("parse %s: %w", path, err)
		}
		return nil
	})
	return n, err
}
