package top

import (
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/gdamore/tcell/v3"
)

func TestCleanLeavesNothingThatATerminalObeys(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"plain", "memcached -m 64", "memcached -m 64"},
		{"escape sequences", "\x1b[2J\x1b]0;pwned\x07", "�[2J�]0;pwned�"},
		{"C1 controls", "a\u009b31mb", "a�31mb"},
		{"line breaks", "a\nb\rc\td\u2028e\x00", "a�b�c�d�e�"},
		{"delete", "a\x7f", "a�"},
		{"invalid UTF-8", "a\xffb\xe6\x97", "a�b��"},
		{"direction of writing", "a\u202eb\u2066c\u200fd", "a�b�c�d"},
		{"no width", "a\u200bb\ufeffc\u200dd", "a�b�c�d"},
		{"variation selectors", "☺\ufe0f", "☺�"},
		{"marks", "e\u0301 ก\u0e34\u0e48", "e\u0301 ก\u0e34\u0e48"},
		{"too many marks", "e" + strings.Repeat("\u0301", 5), "e\u0301\u0301���"},
		{"mark first", "\u0301a", "�a"},
		{"wide", "日本語", "日本語"},
		{"private use", "\ue000", "�"},
	} {
		if got := Clean(c.in); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add("\x1b[2J日本\u202e\xff e\u0301", 7)
	f.Fuzz(func(t *testing.T, s string, cells int) {
		cells = max(cells&63, 1)
		for _, got := range []string{Clean(s), head(s, cells), tail(s, cells)} {
			for _, r := range got {
				if r != ' ' && !unicode.IsPrint(r) && r != utf8.RuneError {
					t.Fatalf("%q has %U", got, r)
				}
			}
		}
		for _, got := range []string{head(s, cells), tail(s, cells)} {
			if width(got) > cells {
				t.Fatalf("%q has %d cells, not %d", got, width(got), cells)
			}
		}
		for _, ok := range []bool{true, false} {
			fr := frame{unicode: ok}
			fr.resize(cells, 1)
			fr.put(0, 0, s, tcell.StyleDefault)
			n := 0
			for _, c := range fr.cells {
				n += width(c.text)
				for _, r := range c.text {
					if !ok && (r < ' ' || r > '~') {
						t.Fatalf("%q in ASCII", c.text)
					}
				}
			}
			if n != cells {
				t.Fatalf("%q fills %d cells of %d", s, n, cells)
			}
		}
	})
}

func TestTextIsCutWhereItIsLeastMissed(t *testing.T) {
	for _, c := range []struct {
		f     func(string, int) string
		in    string
		cells int
		want  string
	}{
		{head, "memcached", 9, "memcached"},
		{head, "memcached", 5, "memc…"},
		{head, "日本語", 5, "日本…"},
		{head, "日本語", 4, "日…"},
		{tail, "/a/b.service", 12, "/a/b.service"},
		{tail, "/a/b.service", 8, "…service"},
		{tail, "日本語", 4, "…語"},
		{tail, "日本語", 5, "…本語"},
	} {
		if got := c.f(c.in, c.cells); got != c.want {
			t.Errorf("%q in %d: %q, want %q", c.in, c.cells, got, c.want)
		}
	}
}

func TestNumbers(t *testing.T) {
	for n, want := range map[uint64][2]string{
		0:             {"0", "0"},
		4096:          {"4.00 KiB", "4.00K"},
		1<<20 - 4096:  {"1020 KiB", "1020K"},
		1<<20 - 1:     {"1.00 MiB", "1.00M"},
		10 << 20:      {"10.0 MiB", "10.0M"},
		100 << 20:     {"100 MiB", "100M"},
		3 << 40:       {"3.00 TiB", "3.00T"},
		^uint64(0):    {"16.0 EiB", "16.0E"},
		9_999 * 1024:  {"9.76 MiB", "9.76M"},
		10_235 * 1024: {"10.0 MiB", "10.0M"},
	} {
		if got := [2]string{formatBytes(n, false), formatBytes(n, true)}; got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
	for _, c := range []struct {
		part, whole uint64
		want        string
	}{
		{0, 0, "0%"}, {0, 9, "0%"}, {1, 1 << 20, "<0.1%"}, {1, 100, "1.0%"}, {1, 10, "10%"},
		{999_999, 1_000_000, ">99.9%"}, {998, 1000, "99%"}, {7, 7, "100%"}, {8, 7, "100%"},
	} {
		if got := formatShare(c.part, c.whole); got != c.want {
			t.Errorf("%d of %d: %q, want %q", c.part, c.whole, got, c.want)
		}
	}
	for d, want := range map[time.Duration]string{
		-time.Hour: "0s", 0: "0s", 59 * time.Second: "59s", 90 * time.Second: "1m30s", 2 * time.Minute: "2m",
		125 * time.Minute: "2h5m", 49 * time.Hour: "2d1h",
	} {
		if got := formatAge(d); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
}
