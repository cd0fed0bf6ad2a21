package process

import (
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
