package process

import (
	"errors"
	"testing"
)

func TestMergedPages(t *testing.T) {
	f := newFixture(t, "vm-1node")
	f.process("7", "")
	fs := NewFS(f.proc)
	if _, err := fs.MergedPages(7); !errors.Is(err, ErrGone) {
		t.Errorf("without CONFIG_KSM: %v, want ErrGone", err)
	}
	for text, want := range map[string]uint64{"0\n": 0, "1024\n": 1024} {
		f.file("7/ksm_merging_pages", text)
		if n, err := fs.MergedPages(7); err != nil || n != want {
			t.Errorf("%q: %d, %v; want %d", text, n, err, want)
		}
	}
	for _, bad := range []string{"", "many\n", "-1\n"} {
		f.file("7/ksm_merging_pages", bad)
		if n, err := fs.MergedPages(7); err == nil {
			t.Errorf("%q: %d, want an error", bad, n)
		}
	}
}
