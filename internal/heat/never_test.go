package heat

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// never ends a window and returns what was never accessed of the first area.
func (o *one) never() []MappingBytes {
	o.t.Helper()
	series, err := o.EndWindow(map[int]*Residency{1: o.res}, Observers{})
	if err != nil {
		o.t.Fatal(err)
	}
	return series[0].Areas[0].Never
}

func pagesNamed(name string, pages uint64) MappingBytes { return MappingBytes{name, pages * PageSize} }

// mapped maps the first region, from page 1 to 63, to a file, from there to the
// middle of the second to the heap, and the last page of that to the stack.
func mapped() []Mapping {
	second := uint64(firstRegion+1) * RegionSize
	return []Mapping{
		{Start: address(1), End: address(64), Name: "/lib/a.so"},
		{Start: address(64), End: second + 256*PageSize, Name: "[heap]"},
		{Start: second + 511*PageSize, End: second + RegionSize, Name: "[stack]"},
	}
}

// TestNever lets two windows of two passes pass in which nothing happens, with what
// differs done in the passes of the first, and looks at the second.
func TestNever(t *testing.T) {
	// Of the pages 0, 1, 63, 64 and 511 of each region.
	untouched := []MappingBytes{pagesNamed("[heap]", 6), pagesNamed("/lib/a.so", 2), pagesNamed("[stack]", 1), pagesNamed(UnknownMapping, 1)}
	for name, c := range map[string]struct {
		first  func(o *one) // in place of a quiet window
		second func(o *one)
		want   []MappingBytes
	}{
		"what nobody touched": {want: untouched},
		"a page touched once never counts again": {
			first: func(o *one) { o.pass(func() { o.young(1, 511) }); o.pass(nil); o.never(); o.quiet(); o.quiet() },
			want:  []MappingBytes{pagesNamed("[heap]", 5), pagesNamed("/lib/a.so", 1), pagesNamed("[stack]", 1), pagesNamed(UnknownMapping, 1)},
		},
		"a page that was missed has been watched since then only": {
			first: func(o *one) { o.pass(func() { o.Skip(1, address(1), address(2)) }); o.pass(nil); o.never() },
			want:  []MappingBytes{pagesNamed("[heap]", 6), pagesNamed("/lib/a.so", 1), pagesNamed("[stack]", 1), pagesNamed(UnknownMapping, 1)},
		},
		"and counts again once that was long enough": {
			first: func(o *one) { o.pass(func() { o.Skip(1, address(1), address(2)) }); o.pass(nil); o.never(); o.quiet() },
			want:  untouched,
		},
		"a page that was not resident for a while is another one": {
			first: func(o *one) {
				o.pass(func() { o.young(64) })
				o.pass(nil)
				all := o.res.Parts[0].Pages
				o.res.Parts[0].Pages = bitmapOf(0, 1, 63, 511)
				o.never()
				o.res.Parts[0].Pages = all
				o.quiet()
				o.quiet()
			},
			want: untouched,
		},
		"without mappings there is none": {
			second: func(o *one) { o.res.Mappings = nil },
		},
		"the top two are named": {
			second: func(o *one) { o.setNever(2, 2) },
			want:   []MappingBytes{pagesNamed("[heap]", 6), pagesNamed("/lib/a.so", 2), pagesNamed(OtherMappings, 2)},
		},
		"with no top there is none": {
			second: func(o *one) { o.setNever(2, 0) },
		},
		"three windows are not over yet": {
			second: func(o *one) { o.setNever(3, 9) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOne(t, 2)
			o.setNever(2, 9)
			o.res.Mappings = mapped()
			o.quiet()
			if c.first == nil {
				o.quiet()
			} else {
				c.first(o)
			}
			o.pass(nil)
			o.pass(nil)
			if c.second != nil {
				c.second(o)
			}
			if diff := cmp.Diff(c.want, o.never()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func (o *one) setNever(windows, top int) {
	o.t.Helper()
	p := o.params
	p.NeverWindows, p.NeverTop = windows, top
	if err := o.SetParams(p); err != nil {
		o.t.Fatal(err)
	}
}

// TestNeverIsMergedWithItsSeries names, of two processes' mappings, the ones with
// most bytes over all areas of the merged series.
func TestNeverIsMergedWithItsSeries(t *testing.T) {
	o := newOne(t, 1, func(p *Params) { p.LabelPID, p.LabelComm, p.NeverWindows, p.NeverTop = false, false, 1, 1 })
	o.procs = append(o.procs, Process{ProcessID: ProcessID{TGID: 2}, Comm: "other"})
	at := func(region uint64, name string) Mapping {
		return Mapping{Start: region * RegionSize, End: (region + 1) * RegionSize, Name: name}
	}
	part := func(region uint64, typ Type, pages ...int) ResidentPart {
		return ResidentPart{Region: region, Type: typ, Pages: bitmapOf(pages...)}
	}
	residency := map[int]*Residency{
		1: {Parts: []ResidentPart{part(1, Anon, 1, 2, 3), part(2, Anon, 1, 2)}, Mappings: []Mapping{at(1, "/a"), at(2, "/b")}},
		2: {Parts: []ResidentPart{part(5, File, 1, 2)}, Mappings: []Mapping{at(5, "/b")}},
	}
	var series []Series
	for range 2 {
		o.pass(func() { o.Walked(2, 0) })
		var err error
		if series, err = o.EndWindow(residency, Observers{}); err != nil {
			t.Fatal(err)
		}
	}
	if len(series) != 1 || len(series[0].Areas) != 2 {
		t.Fatalf("got %+v, want one series with two areas", series)
	}
	got := [][]MappingBytes{series[0].Areas[0].Never, series[0].Areas[1].Never}
	want := [][]MappingBytes{{pagesNamed(OtherMappings, 3), pagesNamed("/b", 2)}, {pagesNamed("/b", 2)}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
