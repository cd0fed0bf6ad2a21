package heat

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func bitmapOf(pages ...int) Bitmap {
	var b Bitmap
	for _, p := range pages {
		b.Set(p)
	}
	return b
}

func TestSetRange(t *testing.T) {
	for name, c := range map[string]struct{ from, to int }{
		"nothing":                       {0, 0},
		"nothing inside a word":         {5, 5},
		"nothing at a word's edge":      {64, 64},
		"nothing at the end":            {512, 512},
		"nothing if it ends before":     {9, 3},
		"nothing if words before":       {300, 3},
		"the first page":                {0, 1},
		"the last page":                 {511, 512},
		"everything":                    {0, 512},
		"one word":                      {64, 128},
		"the last page of a word":       {63, 64},
		"the first page of a word":      {64, 65},
		"two pages of two words":        {63, 65},
		"a word and a page either side": {63, 129},
		"the middle of one word":        {70, 90},
		"many words, both ends partial": {17, 493},
	} {
		t.Run(name, func(t *testing.T) {
			want := bitmapOf(7, 100)
			got := want
			for i := c.from; i < c.to; i++ {
				want.Set(i)
			}
			got.SetRange(c.from, c.to)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	for from := 0; from <= PagesPerRegion; from++ {
		for to := from; to <= PagesPerRegion; to++ {
			var b Bitmap
			b.SetRange(from, to)
			if b.Count() != to-from || to > from && (!b.Has(from) || !b.Has(to-1)) {
				t.Fatalf("SetRange(%d, %d) sets %x", from, to, b)
			}
		}
	}
}

func TestBitmapSets(t *testing.T) {
	a := bitmapOf(0, 63, 64, 511)
	b := bitmapOf(1, 63, 510, 511)
	or := a
	or.Or(&b)
	if diff := cmp.Diff(bitmapOf(0, 1, 63, 64, 510, 511), or); diff != "" {
		t.Errorf("Or: -want +got:\n%s", diff)
	}
	less := a
	less.remove(&b)
	if diff := cmp.Diff(bitmapOf(0, 64), less); diff != "" {
		t.Errorf("remove: -want +got:\n%s", diff)
	}
	if got := a.Count(); got != 4 {
		t.Errorf("Count is %d, want 4", got)
	}
	for i := range PagesPerRegion {
		if want := i == 0 || i == 63 || i == 64 || i == 511; a.Has(i) != want {
			t.Errorf("Has(%d) is %v, want %v", i, !want, want)
		}
	}
}

func TestTypeNamesAreThoseOfProc(t *testing.T) {
	var got []string
	for typ := range NumTypes + 1 {
		got = append(got, typ.String())
	}
	if diff := cmp.Diff([]string{"anon", "file", "shmem", "Type(3)"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
