package process

import (
	"encoding/binary"
	"errors"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"mglru_exporter/internal/heat"
)

// A page of a fuzzed mapping: its pagemap entry and its frame's kpageflags.
type pageWords struct{ entry, flags uint64 }

// splitWords takes 16 bytes for each page, as testdata/vm-1node/mixed has it.
func splitWords(b []byte) (words []pageWords, entries []byte) {
	for ; len(b) >= 16; b = b[16:] {
		words = append(words, pageWords{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])})
		entries = append(entries, b[:8]...)
	}
	return words, entries
}

// flagsFile is a kpageflags of the given frames. What it says of all others is 0,
// up to its end.
func flagsFile(t testing.TB, words []pageWords) *pageFlags {
	t.Helper()
	fd, err := unix.MemfdCreate("kpageflags", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range words {
		if pfn := w.entry & pmFrame; w.entry&pmPresent != 0 && pfn < 1<<32 {
			if _, err := unix.Pwrite(fd, binary.LittleEndian.AppendUint64(nil, w.flags), int64(pfn*8)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return &pageFlags{fd: fd, open: true}
}

// decodeFrom decodes the entries of a mapping from a page on.
func decodeFrom(v *VMA, entries []byte, page, zeroPFN uint64, m *NodeMap, flags *pageFlags) (res heat.Residency, err error) {
	d := decoder{nodes: m, flags: flags, types: map[fileID]heat.Type{},
		reload: func() (*NodeMap, error) { return nil, errors.New("nothing new") }}
	d.reset(&res, zeroPFN)
	d.enter(v)
	return res, d.decode(entries, page)
}

// fuzzNodes are three nodes, of which two have frames in common, and frames that
// are on none.
func fuzzNodes() *NodeMap {
	return newNodeMap([]zone{
		{nodeSpan: nodeSpan{1, 1 << 20, 0}}, {nodeSpan: nodeSpan{1 << 20, 1 << 40, 1}}, {nodeSpan: nodeSpan{1 << 39, 1 << 54, 2}},
	})
}

// Seeds of which something is known.
const (
	mixedAnon, mixedFile, mixedShmem, mixedHuge = 0x7fcdbae7c, 0x7fcdbae6c, 0x7fcdbae64, 0x7fcdba600
	mixedZero                                   = 0x3b32
)

func TestDecodeWordsOfAKernel(t *testing.T) {
	for _, tc := range []struct {
		file string
		page uint64
		vma  VMA
		want map[heat.Type]int
	}{
		{"anon", mixedAnon, VMA{Perms: [4]byte([]byte("rw-p"))}, map[heat.Type]int{heat.Anon: 14}},
		{"file", mixedFile, VMA{Perms: [4]byte([]byte("rw-p")), Inode: 9, Name: "/srv/mixed/file.dat"}, map[heat.Type]int{heat.File: 14, heat.Anon: 2}},
		{"shmem", mixedShmem, VMA{Perms: [4]byte([]byte("rw-s")), Inode: 9, Name: "/a"}, map[heat.Type]int{heat.Shmem: 6}},
		{"huge", mixedHuge, VMA{Perms: [4]byte([]byte("rw-p"))}, map[heat.Type]int{heat.Anon: 512}},
	} {
		words, entries := splitWords(testdata(t, "vm-1node/mixed/"+tc.file+".bin"))
		flags := flagsFile(t, words)
		res, err := decodeFrom(&tc.vma, entries, tc.page, mixedZero, fuzzNodes(), flags)
		flags.close()
		if err != nil {
			t.Fatal(err)
		}
		got := map[heat.Type]int{}
		for i := range res.Parts {
			got[res.Parts[i].Type] += res.Parts[i].Pages.Count()
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: pages by type (-want +got):\n%s", tc.file, diff)
		}
	}
}

// FuzzDecode compares the decoder with one that looks at each entry by itself.
func FuzzDecode(f *testing.F) {
	word := func(words ...uint64) (b []byte) {
		for _, w := range words {
			b = binary.LittleEndian.AppendUint64(b, w)
		}
		return b
	}
	mixed := func(name string) []byte { return testdata(f, "vm-1node/mixed/"+name+".bin") }
	f.Add(mixed("anon"), true, uint64(mixedAnon), uint64(mixedZero), "rw-p", uint64(0), "")
	f.Add(mixed("file"), true, uint64(mixedFile), uint64(mixedZero), "rw-p", uint64(9), "/srv/mixed/file.dat")
	f.Add(mixed("shmem"), true, uint64(mixedShmem), uint64(mixedZero), "rw-s", uint64(9), "/memfd:mglru (deleted)")
	f.Add(mixed("huge"), true, uint64(mixedHuge), uint64(mixedZero), "rw-p", uint64(0), "")
	f.Add(mixed("huge"), false, uint64(mixedHuge+1), uint64(5), "rw-p", uint64(0), "[heap]")
	f.Add(word(pmPresent|7, 0, pmPresent|8, kpfAnon, pmPresent|9, kpfCompoundTail, pmPresent, 0), true, uint64(100), uint64(5), "rw-p", uint64(9), "/dev/dri/card0")
	f.Add(word(pmPresent|77, kpfAnon, pmPresent|pmFile|78, kpfMmap, pmPresent|79, kpfAnon), true, uint64(3), uint64(5), "r--s", uint64(0), "/dev/zero (deleted)")
	f.Add(word(pmPresent|7, 0, pmPresent|5, 0, pmPresent|8, 0, pmSwap|3, 0, pmSwap|30, 0, pmSwap|pmGuard|3, 0), true, uint64(510), uint64(5), "rw-p", uint64(0), "")
	f.Add(word(pmPresent|pmFile|7, 0, pmPresent|pmFile|8, kpfMmap|kpfSwapBacked, pmPresent|pmFile|9, kpfMmap), true, uint64(3), uint64(5), "r--p", uint64(4), "/a")
	f.Add(word(pmPresent|1<<54, kpfNoPage, pmPresent|1<<54|1, 0, pmPresent|pmFile|1<<54, 0), false, uint64(0), uint64(0), "rw-p", uint64(4), "/a")
	f.Add(word(pmPresent|1<<54, 0), true, uint64(0), uint64(0), "rw-p", uint64(4), "/a")
	f.Add(word(pmPresent, 0), true, uint64(0), uint64(0), "rw-p", uint64(0), "")
	f.Add(word(pmPresent|7, 0, pmPresent, 0), true, uint64(0), uint64(0), "rw-p", uint64(0), "")
	noFileBit := mixed("huge") // as kernels from 6.19 on show the huge zero page
	for i := 7; i < len(noFileBit); i += 16 {
		noFileBit[i] &^= pmFile >> 56
	}
	f.Add(noFileBit, true, uint64(mixedHuge), uint64(mixedZero), "rw-p", uint64(0), "")
	nodes := fuzzNodes()
	f.Fuzz(func(t *testing.T, b []byte, readable bool, page, zeroPFN uint64, perms string, inode uint64, name string) {
		page %= 1 << 36
		v := VMA{Start: page * heat.PageSize, Inode: inode, Name: name}
		copy(v.Perms[:], perms)
		if v.kind() == areaSkip {
			return // is not decoded
		}
		words, entries := splitWords(b)
		flags := &pageFlags{path: "/nonexistent"}
		if readable {
			flags = flagsFile(t, words)
		}
		defer flags.close()
		got, err := decodeFrom(&v, entries, page, zeroPFN, nodes, flags)
		want := oneByOne{v: &v, nodes: nodes, flags: flags, zeroPFN: zeroPFN, unscanned: map[heat.Type]uint64{}, pages: map[piece]bool{}}
		if wantErr := want.decode(words, page); !errors.Is(err, wantErr) {
			t.Fatalf("error %v, want %v", err, wantErr)
		}
		if err != nil {
			return
		}
		checkSorted(t, &got)
		all := map[piece]bool{}
		for _, p := range pieces(&got) {
			all[p] = true
		}
		if !maps.Equal(want.pages, all) {
			t.Errorf("resident (-want +got):\n%s", cmp.Diff(want.pages, all))
		}
		unscanned := map[heat.Type]uint64{}
		for _, u := range got.Unscanned {
			unscanned[u.Type] += u.Pages
		}
		if !maps.Equal(want.unscanned, unscanned) || got.SwappedPages != want.swapped {
			t.Errorf("unscanned %v and %d swapped, want %v and %d", unscanned, got.SwappedPages, want.unscanned, want.swapped)
		}
	})
}

// oneByOne is a decoder without a fast path: the rules for one entry, one after
// another.
type oneByOne struct {
	v       *VMA
	nodes   *NodeMap
	flags   *pageFlags
	zeroPFN uint64

	pages     map[piece]bool
	unscanned map[heat.Type]uint64
	swapped   uint64
	// fileType is that of the first page of the file that tells; seenPFN is set
	// once any entry has told its frame.
	fileType  heat.Type
	typeKnown bool
	seenPFN   bool
}

func (o *oneByOne) decode(words []pageWords, page uint64) error {
	for i := 0; i < len(words); i++ {
		if o.v.kind() == areaAnon && (page+uint64(i))%heat.PagesPerRegion == 0 && len(words)-i >= heat.PagesPerRegion && o.hugeZero(words[i:]) {
			i += heat.PagesPerRegion - 1
			continue
		}
		if err := o.add(words[i].entry, page+uint64(i)); err != nil {
			return err
		}
	}
	return nil
}

// hugeZero tells whether a region is all the huge zero page.
func (o *oneByOne) hugeZero(words []pageWords) bool {
	first := words[0].entry
	pfn := first & pmFrame
	flags, ok := o.flags.read(pfn)
	return first&pmPresent != 0 && pfn != 0 && pfn%heat.PagesPerRegion == 0 &&
		words[heat.PagesPerRegion-1].entry == first+heat.PagesPerRegion-1 && ok && flags&kpfZeroPage != 0
}

func (o *oneByOne) add(e, page uint64) error {
	pfn, kind, ofFile := e&pmFrame, o.v.kind(), e&pmFile != 0
	noStruct := !ofFile && (kind == areaShared || kind == areaDevice) // perhaps
	switch {
	case e&pmPresent == 0:
		if e&pmSwap != 0 && e&pmSwapType < minSpecialSwap && e&pmGuard == 0 {
			o.swapped++
		}
		return nil
	case pfn == 0:
		if !noStruct && !o.seenPFN {
			return ErrNoPFN
		}
		return nil
	}
	o.seenPFN = true
	switch {
	case pfn == o.zeroPFN, ofFile && kind == areaAnon, !ofFile && kind == areaShared:
		return nil
	case noStruct:
		if flags, ok := o.flags.readHead(pfn); ok && flags&kpfAnon == 0 {
			return nil
		}
	}
	typ := heat.Anon
	if ofFile {
		typ = o.typeOf(pfn)
	}
	span, ok := o.nodes.lookup(pfn)
	switch {
	case ok:
		o.pages[piece{page, span.node, typ.String()}] = true
	case o.flags.isMemory(pfn):
		o.unscanned[typ]++
	}
	return nil
}

func (o *oneByOne) typeOf(pfn uint64) heat.Type {
	if !o.typeKnown {
		if o.fileType, o.typeKnown = o.flags.fileType(pfn); !o.typeKnown {
			return o.v.typeByName()
		}
	}
	return o.fileType
}
