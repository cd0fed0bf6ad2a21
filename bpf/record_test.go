package bpf

import (
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mglru_exporter/internal/heat"
)

func header(kind, tgid, node, info uint32, start, end uint64) []byte {
	le := binary.LittleEndian
	var b []byte
	for _, v := range []uint32{kind, tgid, node, info} {
		b = le.AppendUint32(b, v)
	}
	return le.AppendUint64(le.AppendUint64(b, start), end)
}

func TestDecode(t *testing.T) {
	const region = 7 * heat.RegionSize
	young := header(kindRegion, 42, 1, infoOther, region, region+heat.RegionSize)
	for i := range uint64(16) {
		young = binary.LittleEndian.AppendUint64(young, i)
	}
	var huge, one heat.Bitmap
	huge.SetRange(0, heat.PagesPerRegion)
	one.Set(3)
	for name, tc := range map[string]struct {
		sample []byte
		want   heat.Record
	}{
		"a region keeps its bitmaps apart": {young, heat.Record{
			Kind: heat.KindYoung, Other: true, TGID: 42, Node: 1, Start: region, End: region + heat.RegionSize,
			Anon: heat.Bitmap{0, 1, 2, 3, 4, 5, 6, 7}, NotAnon: heat.Bitmap{8, 9, 10, 11, 12, 13, 14, 15}}},
		"a page becomes a region with one page": {
			header(kindPage, 42, 0, infoAnon, region+3*heat.PageSize, region+4*heat.PageSize),
			heat.Record{Kind: heat.KindYoung, TGID: 42, Start: region, End: region + 4*heat.PageSize, Anon: one}},
		"a huge page is all pages of its region": {
			header(kindPage, 42, 0, infoOther, region, region+heat.RegionSize),
			heat.Record{Kind: heat.KindYoung, Other: true, TGID: 42, Start: region, End: region + heat.RegionSize, NotAnon: huge}},
		"a page that claims more than its region is cut": {
			header(kindPage, 42, 0, 0, region, region+9*heat.RegionSize),
			heat.Record{Kind: heat.KindYoung, TGID: 42, Start: region, End: region + 9*heat.RegionSize, NotAnon: huge}},
		"a skip has the kernel's name for its reason": {
			header(kindSkip, 42, 0, 2, 4096, 8192),
			heat.Record{Kind: heat.KindSkip, TGID: 42, Start: 4096, End: 8192, Reason: "vma"}},
		"a skip for a reason without a name": {
			header(kindSkip, 42, 0, 99, 4096, 8192),
			heat.Record{Kind: heat.KindSkip, TGID: 42, Start: 4096, End: 8192, Reason: "unknown"}},
		"a clearing of all bits is a skip of all addresses": {
			header(kindClear, 42, 0, 0, 0, 1<<63),
			heat.Record{Kind: heat.KindSkip, TGID: 42, End: 1 << 63, Reason: "clear_refs"}},
		"a walk": {header(kindWalk, 42, 1, 0, 0, 0), heat.Record{Kind: heat.KindWalk, TGID: 42, Node: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			// What the record held before must not shine through.
			got := heat.Record{Kind: heat.KindYoung, Other: true, Reason: "old"}
			cookie, err := decode(tc.sample, map[uint32]string{2: "vma"}, &got)
			if err != nil || cookie != 0 {
				t.Fatalf("decode = cookie %d, %v", cookie, err)
			}
			if got.Kind != heat.KindYoung { // else the bitmaps have no meaning
				got.Anon, got.NotAnon = heat.Bitmap{}, heat.Bitmap{}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("decode (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecodeMark(t *testing.T) {
	var r heat.Record
	if cookie, err := decode(header(kindMark, 0, 0, 0, 77, 0), nil, &r); err != nil || cookie != 77 || r.Kind != 0 {
		t.Errorf("decode(mark) = %d, %v, kind %d; want cookie 77 and no kind", cookie, err, r.Kind)
	}
}

func FuzzDecode(f *testing.F) {
	for kind := range uint32(8) {
		f.Add(header(kind, 1, 2, 3, 1<<40, 1<<41))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var r heat.Record
		cookie, err := decode(b, nil, &r)
		if err == nil && cookie == 0 && r.Kind == 0 && len(b) >= 24 && binary.LittleEndian.Uint32(b) != kindMark {
			t.Errorf("decode(%x) gives nothing and no error", b)
		}
	})
}
