package memcg

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestReadLRUGen(t *testing.T) {
	sys := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(sys, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := ReadLRUGen(sys); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without MGLRU: %v", err)
	}
	write("kernel/mm/lru_gen/enabled", "0x0007\n")
	if _, err := ReadLRUGen(sys); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without debugfs: %v", err)
	}
	text, err := os.ReadFile("testdata/debian-6.12/lru_gen")
	if err != nil {
		t.Fatal(err)
	}
	write("kernel/debug/lru_gen", string(text))
	if groups, err := ReadLRUGen(sys); err != nil || len(groups) == 0 || groups[0].Path != "/" || len(groups[0].Nodes) == 0 {
		t.Errorf("groups %+v, %v", groups, err)
	}
	write("kernel/mm/lru_gen/enabled", "0x0000\n")
	if groups, err := ReadLRUGen(sys); err != nil || len(groups) != 0 {
		t.Errorf("with MGLRU off: %+v, %v", groups, err)
	}
	write("kernel/mm/lru_gen/enabled", "0x0003\n")
	write("kernel/debug/lru_gen", "nonsense\n")
	if _, err := ReadLRUGen(sys); err == nil {
		t.Error("nonsense is no error")
	}
}

// TestGenerationsAreInPagesOf4K: on a machine with pages of 64 KiB a page is 16.
func TestGenerationsAreInPagesOf4K(t *testing.T) {
	for size, want := range map[int]uint64{4 << 10: 3, 64 << 10: 48} {
		groups := []LRUGen{{Nodes: []LRUGenNode{{Gens: []Generation{{AnonPages: 3, FilePages: 3}}}}}}
		inPagesOf4K(groups, size)
		if g := groups[0].Nodes[0].Gens[0]; g.AnonPages != want || g.FilePages != want {
			t.Errorf("pages of %d bytes: %+v, want %d", size, g, want)
		}
	}
}
