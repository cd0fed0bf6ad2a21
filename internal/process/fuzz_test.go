package process

import (
	"encoding/binary"
	"errors"
	"testing"

	"mglru_exporter/internal/heat"
)

func FuzzParseStat(f *testing.F) {
	f.Add(testdata(f, "vm-1node/stat"))
	f.Add([]byte(statLine(") \n(", 'Z', 2, 0)))
	f.Fuzz(func(t *testing.T, b []byte) {
		st, err := parseStat(b)
		if err == nil && len(st.comm) > len(b) {
			t.Errorf("name %q", st.comm)
		}
	})
}

func FuzzParseMaps(f *testing.F) {
	f.Add(testdata(f, "vm-1node/maps"))
	f.Add(testdata(f, "vm-1node/smaps"))
	f.Fuzz(func(t *testing.T, b []byte) {
		vmas, err := parseMaps(b, nil)
		if err != nil {
			return
		}
		var last uint64
		for _, v := range vmas {
			if v.Start < last || v.Start >= v.End || v.Start%heat.PageSize != 0 || v.End%heat.PageSize != 0 {
				t.Fatalf("mapping %+v after %#x", v, last)
			}
			last = v.End
			v.kind()
			v.typeByName()
		}
	})
}

func FuzzSumsOfSmaps(f *testing.F) {
	f.Add(testdata(f, "vm-1node/smaps"))
	f.Add(testdata(f, "vm-1node/smaps_rollup"))
	f.Fuzz(func(t *testing.T, b []byte) {
		vmas := []VMA{{Start: 0x561852e86000, End: 0x561852e90000}, {Start: 0x7f0000000000, End: 0x7f8000000000}}
		maps, err := parseMappings(b, nil)
		if err != nil {
			return
		}
		sums := sumsOf(maps, vmas)
		var all, found uint64
		for i := range maps {
			all += maps[i].Rss
		}
		for i := range sums {
			found += sums[i].Rss
			sums[i].pagesByType()
		}
		if found > all {
			t.Errorf("%d bytes are resident within two mappings, %d in all", found, all)
		}
	})
}

func FuzzParseZoneinfo(f *testing.F) {
	f.Add(testdata(f, "vm-1node/zoneinfo"), uint64(77), uint64(9999999))
	f.Add(testdata(f, "qemu-2nodes/zoneinfo"), uint64(0), uint64(262144))
	f.Add([]byte(zoneText(0, "Normal", 0, 100, 1)+zoneText(1, "Normal", 50, 1<<64-1, 1)), uint64(60), uint64(70))
	f.Fuzz(func(t *testing.T, b []byte, from, to uint64) {
		zones, err := parseZoneinfo(b)
		if err != nil || len(zones) > 100 {
			return
		}
		m := newNodeMap(zones)
		if from < to {
			m.resolve([]nodeSpan{{from, to, 7}})
		}
		checkNodeMap(t, m)
	})
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 0x80, 0, 1, 0, 0, 0, 0, 0, 0xa0}, uint64(510), "rw-p")
	f.Add(make([]byte, 4200), uint64(0), "rw-s")
	f.Fuzz(func(t *testing.T, b []byte, page uint64, perms string) {
		page %= 1 << 36
		b = b[:len(b)&^7]
		m := newNodeMap([]zone{{nodeSpan: nodeSpan{1, 1 << 20, 0}}, {nodeSpan: nodeSpan{1 << 20, 1 << 40, 1}}, {nodeSpan: nodeSpan{1 << 39, 1 << 54, 2}}})
		d := decoder{nodes: m, flags: &pageFlags{path: "/nonexistent"}, types: map[fileID]heat.Type{},
			reload: func() (*NodeMap, error) { return nil, errors.New("nothing new") }}
		var res heat.Residency
		d.reset(&res, 5)
		v := VMA{Inode: 5}
		copy(v.Perms[:], perms)
		d.enter(&v)
		if d.decode(b, page) != nil {
			return
		}
		checkSorted(t, &res)
		// Compare with a decoder that has no fast path.
		want, unscanned := 0, uint64(0) // kpageflags cannot be opened: all are memory
		for ; len(b) > 0; b = b[8:] {
			e := binary.LittleEndian.Uint64(b)
			_, inSpan := m.lookup(e & pmFrame)
			if e&pmPresent == 0 || e&pmFrame == 5 || e&pmFrame == 0 || e&pmFile == 0 && v.Shared() {
				continue
			}
			if inSpan {
				want++
			} else {
				unscanned++
			}
		}
		got := 0
		for i := range res.Parts {
			got += res.Parts[i].Pages.Count()
		}
		if got != want {
			t.Errorf("%d pages are resident, want %d", got, want)
		}
		for _, u := range res.Unscanned {
			unscanned -= u.Pages
		}
		if unscanned != 0 {
			t.Errorf("%d pages too few are unscanned: %+v", int64(unscanned), res.Unscanned)
		}
	})
}
