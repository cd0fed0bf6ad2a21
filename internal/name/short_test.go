package name_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"mglru_exporter/internal/name"
)

// TestLongNamesAreShortened, each to a name of its own that is valid, and no other name
// has.
func TestLongNamesAreShortened(t *testing.T) {
	long := "/kubepods.slice/" + strings.Repeat("a", 3800)
	shown := map[string]string{}
	for _, n := range []string{
		long, long + "b", long[:len(long)-1], long[1:], strings.Repeat("\xff", 513), strings.Repeat("\xff", 514), strings.Repeat("\ufffd", 400),
		strings.Repeat("é", 257), "x" + strings.Repeat("é", 300), strings.Repeat("x", 513),
	} {
		got := name.Escape(n)
		if len(got) > name.MaxLength || len(got) < name.MaxLength/2 || !utf8.ValidString(got) {
			t.Errorf("%.20q…: %d bytes, valid: %v; want at most %d", n, len(got), utf8.ValidString(got), name.MaxLength)
		}
		if other, twice := shown[got]; twice {
			t.Errorf("%.20q… and %.20q… are shown as the same", n, other)
		}
		shown[got] = n
	}
	for got := range shown { // somebody may call a cgroup like a shortened one
		if again := name.Escape(got); shown[again] != "" {
			t.Errorf("%.20q… is shown like a long name", got)
		}
	}
	if got := name.Escape(long); !strings.HasPrefix(got, "/kubepods.slice/aaa") {
		t.Errorf("%.40q, want the beginning kept", got)
	}
	most := strings.Repeat("x", name.MaxLength)
	if got := name.Escape(most); got != most {
		t.Errorf("%d bytes are shortened", name.MaxLength)
	}
	if got := name.EscapeLines(long + "\n" + long); got != long+"\n"+long {
		t.Error("lines of a log are shortened")
	}
}

func FuzzEscapeIsBounded(f *testing.F) {
	f.Add(strings.Repeat("\xe2\x80", 300), "b")
	f.Fuzz(func(t *testing.T, a, b string) {
		x, y := name.Escape(a), name.Escape(b)
		if len(x) > name.MaxLength || !utf8.ValidString(x) || (x == y) != (a == b) {
			t.Errorf("%q and %q are shown as %q and %q", a, b, x, y)
		}
	})
}
