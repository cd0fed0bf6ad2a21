package name_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"mglru_exporter/internal/name"
)

// TestLogHandler has the same spelling in text and in JSON, in attributes of a
// record and of a logger.
func TestLogHandler(t *testing.T) {
	const raw, shown = "/a\xff\u202e", "/a\uFFFDff\uFFFDe2\uFFFD80\uFFFDae"
	for format, handler := range map[string]func(*bytes.Buffer) slog.Handler{
		"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"json": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var b bytes.Buffer
		log := slog.New(name.LogHandler(handler(&b))).With("with", raw).WithGroup("g")
		log.Info("message", "memcg", raw, "err", errors.New("open "+raw+"\nand\x1b more"), "n", 7, "nothing", nil)
		got := b.String()
		if n := strings.Count(got, shown); n != 3 {
			t.Errorf("%s: the name is shown %d times, want 3: %s", format, n, got)
		}
		for _, want := range []string{"message", "7", `\nand` + "\uFFFD1b more"} {
			if !strings.Contains(got, want) {
				t.Errorf("%s: no %q in %s", format, want, got)
			}
		}
		odd := func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }
		if !utf8.ValidString(got) || strings.ContainsFunc(strings.TrimSuffix(got, "\n"), odd) {
			t.Errorf("%s: %q", format, got)
		}
	}
}
