package collector_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mglru_exporter/collector"
	"mglru_exporter/internal/heat"
)

// twoOfOneName has two processes that differ by their pid alone.
func twoOfOneName() *heat.Snapshot {
	series := func(pid int, never ...heat.MappingBytes) heat.Series {
		return heat.Series{
			PID: pid, Comm: "a", Bands: []heat.Band{{Accesses: 1, Resident: 4096, Start: 0x7f0000000000, Mapping: "[heap]"}},
			Excluded: []heat.Excluded{{Node: 0, Type: heat.File, Bytes: 10}},
			Areas:    []heat.Area{{Type: heat.Anon, Cold: 100, Resident: 100, Never: never}},
		}
	}
	return &heat.Snapshot{Memcgs: []*heat.MemcgSnapshot{{Path: "/a", WindowEnd: time.Unix(1, 0), WindowPasses: 4, Series: []heat.Series{
		series(1, heat.MappingBytes{Mapping: "[heap]", Bytes: 8}, heat.MappingBytes{Mapping: "/x", Bytes: 4}),
		series(2, heat.MappingBytes{Mapping: "/x", Bytes: 2}, heat.MappingBytes{Mapping: heat.OtherMappings, Bytes: 1}),
	}}}}
}

func TestWithoutPIDMappingsAreMergedAndBandsLeftOut(t *testing.T) {
	snap := twoOfOneName()
	got := exposition(t, collector.New(fixed(snap), collector.Options{LabelComm: true}))
	want := []string{
		`mglru_mapping_never_accessed_bytes{comm="a",mapping="/x",memcg="/a",node="0",type="anon"} 6`,
		`mglru_mapping_never_accessed_bytes{comm="a",mapping="[heap]",memcg="/a",node="0",type="anon"} 8`,
		`mglru_mapping_never_accessed_bytes{comm="a",mapping="other",memcg="/a",node="0",type="anon"} 1`,
	}
	if diff := cmp.Diff(want, samples(got, "mglru_mapping_never")); diff != "" {
		t.Errorf("never accessed (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{`mglru_excluded_bytes{comm="a",memcg="/a",node="0",type="file"} 20`}, samples(got, "mglru_excluded")); diff != "" {
		t.Errorf("excluded (-want +got):\n%s", diff)
	}
	if lines := samples(got, "mglru_address"); len(lines) > 0 {
		t.Errorf("bands of two processes as one: %q", lines)
	}
	if diff := cmp.Diff(twoOfOneName(), snap); diff != "" {
		t.Errorf("the snapshot was changed (-before +after):\n%s", diff)
	}
}

func TestAddressesShowOnlyWhenAsked(t *testing.T) {
	for _, expose := range []bool{false, true} {
		opts := all()
		opts.ExposeAddresses = expose
		got := exposition(t, collector.New(fixed(twoOfOneName()), opts))
		if strings.Contains(got, `start="0x7f0000000000"`) != expose || strings.Contains(got, "7f00000") != expose {
			t.Errorf("exposed: %v, but:\n%s", expose, strings.Join(samples(got, "mglru_address_band_info"), "\n"))
		}
	}
}

// TestMaxSeriesCountsMappings: a bound that is just enough for a process lets all
// of its series through, and one less none.
func TestMaxSeriesCountsMappings(t *testing.T) {
	snap := twoOfOneName()
	snap.Memcgs[0].Series = snap.Memcgs[0].Series[:1]
	const series = 5 + 1 + 2 + 3 + 1 // by state, swapped, never, bands, excluded
	count := func(most int) int {
		opts := all()
		opts.MaxSeries = ownSeries + most // the memcg's need more than half of it, so they go
		return strings.Count(exposition(t, collector.New(fixed(snap), opts)), `pid="`)
	}
	if got := count(series); got != series {
		t.Errorf("max_series of %d leaves %d", series, got)
	}
	if got := count(series - 1); got != 0 {
		t.Errorf("max_series of %d leaves %d", series-1, got)
	}
}
