package top

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/clipperhouse/displaywidth"
)

// maxMarks is how many combining marks a rune keeps: enough for any language,
// too few to draw over the neighbours.
const maxMarks = 2

// glyphs splits text from elsewhere into what fills a cell or two each, and
// passes each with its width. Whatever could move the cursor, change colours,
// turn the direction of writing or be no text at all comes out as a
// replacement: names of processes and mappings are anyone's choice.
func glyphs(s string, unicodeOK bool, yield func(text string, width int) bool) {
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		text, width := s[:n], 1
		switch {
		case r < utf8.RuneSelf && r >= ' ' && r != 0x7f:
		case !unicodeOK:
			text = asciiFor(r)
		case r == utf8.RuneError || !unicode.IsPrint(r) || unicode.In(r, unicode.M, unicode.Variation_Selector):
			text = "\ufffd"
		default:
			if width = displaywidth.Rune(r); width < 1 || width > 2 {
				text, width = "\ufffd", 1
			}
		}
		s = s[n:]
		if text != "\ufffd" && unicodeOK {
			m := marks(s)
			text, s = text+s[:m], s[m:]
		}
		if !yield(text, width) {
			return
		}
	}
}

// marks returns how many bytes of combining marks s begins with, of those that
// a rune keeps.
func marks(s string) int {
	n := 0
	for range maxMarks {
		r, size := utf8.DecodeRuneInString(s[n:])
		if !unicode.In(r, unicode.Mn) || unicode.In(r, unicode.Variation_Selector) {
			break
		}
		n += size
	}
	return n
}

// asciiFor is what stands for a rune where the locale has only ASCII.
func asciiFor(r rune) string {
	switch r {
	case '·', '–', '−':
		return "-"
	case '…':
		return "~"
	case '▸':
		return ">"
	case '▴':
		return "^"
	case '▾':
		return "v"
	case '│':
		return "|"
	case '├':
		return "+"
	case '└', '┘':
		return "'"
	case '≥':
		return ">"
	case '×':
		return "x"
	case '↑':
		return "^"
	case '↓':
		return "v"
	case '←':
		return "<"
	case '→':
		return ">"
	}
	return "?"
}

// Clean returns text from elsewhere in one line that is safe to print.
func Clean(s string) string {
	var b strings.Builder
	glyphs(s, true, func(text string, _ int) bool {
		b.WriteString(text)
		return true
	})
	return b.String()
}

// width is how many cells a text fills.
func width(s string) int {
	n := 0
	glyphs(s, true, func(_ string, w int) bool {
		n += w
		return true
	})
	return n
}

// head returns as much of a text's beginning as fits, and tail of its end;
// both mark what they cut.
func head(s string, cells int) string {
	s = Clean(s)
	if width(s) <= cells {
		return s
	}
	var b strings.Builder
	left := cells - 1
	glyphs(s, true, func(text string, w int) bool {
		if left -= w; left < 0 {
			return false
		}
		b.WriteString(text)
		return true
	})
	return b.String() + "…"
}

func tail(s string, cells int) string {
	s = Clean(s)
	over := width(s) - cells
	if over <= 0 {
		return s
	}
	over++ // for the mark
	var b strings.Builder
	glyphs(s, true, func(text string, w int) bool {
		if over > 0 {
			over -= w
		} else {
			b.WriteString(text)
		}
		return true
	})
	return "…" + b.String()
}

// formatBytes has three digits and a unit, of eight cells at most, or of five
// where there is little room.
func formatBytes(n uint64, short bool) string {
	if n == 0 {
		return "0"
	}
	v, unit := float64(n)/1024, 0
	for v >= 1023.5 && unit < 5 {
		v /= 1024
		unit++
	}
	digits := 0
	switch {
	case v < 9.995:
		digits = 2
	case v < 99.95:
		digits = 1
	}
	if short {
		return fmt.Sprintf("%.*f%c", digits, v, "KMGTPE"[unit])
	}
	return fmt.Sprintf("%.*f %ciB", digits, v, "KMGTPE"[unit])
}

// formatShare is part ÷ whole in percent. What is not zero does not read as
// zero, nor what is not all as all.
func formatShare(part, whole uint64) string {
	switch p := 100 * float64(part) / float64(whole); {
	case whole == 0 || part == 0:
		return "0%"
	case part >= whole:
		return "100%"
	case p < 0.1:
		return "<0.1%"
	case p > 99.9:
		return ">99.9%"
	case p < 9.95:
		return fmt.Sprintf("%.1f%%", p)
	default:
		return fmt.Sprintf("%.0f%%", min(p, 99))
	}
}

// formatAge has the two largest units of a duration.
func formatAge(d time.Duration) string {
	d = max(d, 0).Round(time.Second)
	s, m, h := int(d.Seconds())%60, int(d.Minutes())%60, int(d.Hours())
	two := func(a int, x string, b int, y string) string {
		if b == 0 {
			return fmt.Sprintf("%d%s", a, x)
		}
		return fmt.Sprintf("%d%s%d%s", a, x, b, y)
	}
	switch {
	case h >= 24:
		return two(h/24, "d", h%24, "h")
	case h > 0:
		return two(h, "h", m, "m")
	case m > 0:
		return two(m, "m", s, "s")
	default:
		return fmt.Sprintf("%ds", s)
	}
}
