package name_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"mglru_exporter/internal/name"
)

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"":                      "",
		"/a b":                  "/a b",
		`/getty\x2d`:            `/getty\x2d`,
		"/é 日本":                 "/é 日本",
		"/\xff\xc3":             "/\uFFFDff\uFFFDc3",
		"/\uFFFDff":             "/\uFFFD\uFFFDff",
		"/\xed\xa0\x80 end":     "/\uFFFDed\uFFFDa0\uFFFD80 end",
		"/a\n\t\x00\x1b[31m":    "/a\uFFFD0a\uFFFD09\uFFFD00\uFFFD1b[31m",
		"\x7f\u0085":            "\uFFFD7f\uFFFDc2\uFFFD85",
		"a\u202eb":              "a\uFFFDe2\uFFFD80\uFFFDaeb",
		"a\u2028\u2029":         "a\uFFFDe2\uFFFD80\uFFFDa8\uFFFDe2\uFFFD80\uFFFDa9",
		"\u200b\ufeff":          "\uFFFDe2\uFFFD80\uFFFD8b\uFFFDef\uFFFDbb\uFFFDbf",
		"a\u2066b\u2069 \u00ad": "a\uFFFDe2\uFFFD81\uFFFDa6b\uFFFDe2\uFFFD81\uFFFDa9 \uFFFDc2\uFFFDad",
	} {
		if got := name.Escape(in); got != want {
			t.Errorf("Escape(%q) = %q, want %q", in, got, want)
		}
	}
	if got, want := name.EscapeLines("a\x1b\nb\n"), "a\uFFFD1b\nb\n"; got != want {
		t.Errorf("EscapeLines: %q, want %q", got, want)
	}
}

func FuzzEscape(f *testing.F) {
	f.Add("/a\xff", "/a\uFFFDff")
	f.Add("/a", "/a")
	f.Add("/a\u202e", "/a\xe2\x80\xae")
	f.Fuzz(func(t *testing.T, a, b string) {
		ea, eb := name.Escape(a), name.Escape(b)
		odd := func(r rune) bool {
			return unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control, unicode.Zl, unicode.Zp)
		}
		if !utf8.ValidString(ea) || strings.ContainsFunc(ea, odd) {
			t.Errorf("Escape(%q) = %q", a, ea)
		}
		if (a == b) != (ea == eb) {
			t.Errorf("Escape(%q) = %q and Escape(%q) = %q", a, ea, b, eb)
		}
	})
}
