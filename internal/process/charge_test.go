package process

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"mglru_exporter/internal/heat"
)

// putWords writes a file of words, with holes.
func putWords(t *testing.T, path string, words map[uint64]uint64) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var end uint64
	for at, w := range words {
		if _, err := f.WriteAt(binary.LittleEndian.AppendUint64(nil, w), int64(at*8)); err != nil {
			t.Fatal(err)
		}
		end = max(end, at+4096)
	}
	if err := f.Truncate(int64(end * 8)); err != nil {
		t.Fatal(err)
	}
}

func TestCharged(t *testing.T) {
	const (
		pid    = 42
		region = 3
		first  = region * heat.PagesPerRegion
		ours   = 7001
		theirs = 7002
		lru    = kpfLRU
	)
	root := t.TempDir()
	pagemap, flags, cgroups := map[uint64]uint64{}, map[uint64]uint64{}, map[uint64]uint64{}
	put := func(page, pfn, flag, cgroup uint64) {
		pagemap[first+page] = pmPresent | pfn
		flags[pfn], cgroups[pfn] = flag, cgroup
	}
	put(0, 100, lru, ours)
	put(1, 101, lru, theirs)
	put(2, 102, 0, ours) // still in a batch of some CPU
	put(3, 50, lru, ours)
	pagemap[first+4] = pmSwap
	// A large folio as kernels before 6.4 show it, from its middle on.
	flags[208], cgroups[208] = lru|kpfCompoundHead, ours
	put(10, 210, kpfCompoundTail, 0)
	put(11, 211, kpfCompoundTail, 0)
	// And one of the other memcg, from its head on.
	put(12, 216, lru|kpfCompoundHead, theirs)
	put(13, 217, kpfCompoundTail, 0)
	putWords(t, filepath.Join(root, "42/pagemap"), pagemap)
	putWords(t, filepath.Join(root, "kpageflags"), flags)
	putWords(t, filepath.Join(root, "kpagecgroup"), cgroups)

	c := NewChargeReader(NewFS(root))
	if err := c.Open(pid); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for name, tc := range map[string]struct {
		ask, want []int
	}{
		"all":                      {[]int{0, 1, 2, 3, 4, 5, 10, 11, 12, 13}, []int{0, 3, 10, 11}},
		"only those asked for":     {[]int{1, 3}, []int{3}},
		"a tail without its head":  {[]int{11}, []int{11}},
		"none that is not present": {[]int{4, 5}, nil},
	} {
		var ask, want heat.Bitmap
		for _, i := range tc.ask {
			ask.Set(i)
		}
		for _, i := range tc.want {
			want.Set(i)
		}
		got, err := c.Charged(region, &ask, ours)
		if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("%s: %x, want %x", name, got, want)
		}
	}
	if c.Reads() == 0 {
		t.Error("no read was counted")
	}
	if err := c.Open(43); !errors.Is(err, ErrGone) {
		t.Errorf("Open of a process that is gone: %v, want ErrGone", err)
	}
	if err := os.Remove(filepath.Join(root, "kpagecgroup")); err != nil {
		t.Fatal(err)
	}
	if err := c.Open(pid); err == nil {
		t.Error("Open without kpagecgroup succeeds")
	}
}
