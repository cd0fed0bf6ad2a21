//go:build guest

package guest

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"mglru_exporter/bpf"
)

const idleBitmap = "/sys/kernel/mm/page_idle/bitmap"

// TestPageIdleMakesNothingCold: to write page_idle/bitmap takes the accessed bits
// of all processes, and so does to read it where it was written. The hooks see that
// it is used, stock sees each bit.
func TestPageIdleMakesNothingCold(t *testing.T) {
	if _, err := os.Stat(idleBitmap); errors.Is(err, fs.ErrNotExist) {
		t.Logf("this kernel has no page_idle: %v", err)
		return
	}
	const memcg = "/test/pageidle"
	w := StartWorkload(t, memcg)
	busy := w.Map(t, Area{Name: "busy", Kind: Anon, Size: 8 * mib, Node: 0})
	idle := w.Map(t, Area{Name: "idle", Kind: Shmem, Size: 4 * mib, Node: 1})
	r := newRig(t, bpf.HooksOptions{}, "aging: {passes_per_window: 2}", memcg)
	r.mustPass(t, memcg)
	w.EndPass()

	nothing := func(*testing.T) {}
	for _, step := range []struct {
		name string
		use  func(*testing.T)
		sure bool // also with hooks
	}{
		{"before", nothing, true},
		{"written", writeIdle, false},
		{"after that", nothing, false}, // its pages were not looked at by the last pass
		{"well after that", nothing, true},
		{"read", readIdle, false},
		{"after that", nothing, false},
		{"well after that", nothing, true},
	} {
		r.window(t, w, memcg, func(int) {
			busy.TouchAll(t)
			step.use(t)
		})
		r.expectBusyAndIdle(t, step.name, busy, idle, step.sure)
	}
	if sourceName() == "hooks" && r.memcg(t, memcg).Passes.Skips[bpf.SkipPageIdle] != 4 {
		t.Errorf("skips %v, want %s to be counted for each of 4 passes", r.memcg(t, memcg).Passes.Skips, bpf.SkipPageIdle)
	}
}

// writeIdle marks all pages idle.
func writeIdle(t *testing.T) {
	t.Helper()
	f, err := os.OpenFile(idleBitmap, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for ones := bytes.Repeat([]byte{0xff}, os.Getpagesize()); ; {
		switch _, err := f.Write(ones); {
		case errors.Is(err, unix.ENXIO), errors.Is(err, io.ErrUnexpectedEOF): // the end of memory
			return
		case err != nil:
			t.Fatal(err)
		}
	}
}

// readIdle looks which pages are idle.
func readIdle(t *testing.T) {
	t.Helper()
	if b, err := os.ReadFile(idleBitmap); err != nil || len(b) == 0 {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
}
