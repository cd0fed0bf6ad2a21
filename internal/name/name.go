// Package name shows names that anybody may choose: of cgroups, processes and
// mappings. The kernel allows any bytes in them.
package name

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Escape returns a name as it is shown everywhere: in /metrics, the API, logs and
// messages. The result is UTF-8 without a character that is not seen or that
// changes how others are shown: control characters, line separators, formats such
// as bidi overrides. Each byte of these, and each byte that is not UTF-8, becomes
// U+FFFD and two hexadecimal digits; each U+FFFD becomes two. Any other text stays
// as it is.
//
// A name that would be longer than MaxLength is shown by its beginning and a hash of
// all of it, which U+FFFD and a hash sign part.
//
// Different names are shown differently: no name of a cgroup, which any owner of
// a delegated one may choose, makes a series that exists twice. No shown name but a
// shortened one has a hash sign after an odd number of U+FFFD.
func Escape(name string) string {
	shown := escape(name)
	if len(shown) <= MaxLength {
		return shown
	}
	hash := sha256.Sum256([]byte(name))
	end := "\uFFFD#" + hex.EncodeToString(hash[:16])
	n := 0 // how much of name fits, in whole characters
	for room := MaxLength - len(end); ; {
		_, size := utf8.DecodeRuneInString(name[n:])
		if room -= len(escape(name[n : n+size])); room < 0 {
			break
		}
		n += size
	}
	return escape(name[:n]) + end
}

// MaxLength is how many bytes of a name are shown at most. Paths that container
// runtimes make have up to 350.
const MaxLength = 512

func escape(name string) string {
	first := strings.IndexFunc(name, escaped)
	if first < 0 {
		return name
	}
	const digits = "0123456789abcdef"
	var b strings.Builder
	b.WriteString(name[:first])
	for rest := name[first:]; rest != ""; {
		r, n := utf8.DecodeRuneInString(rest)
		switch {
		case !escaped(r):
			b.WriteString(rest[:n])
		case r == utf8.RuneError && n > 1:
			b.WriteString("\uFFFD\uFFFD")
		default:
			for i := range n {
				b.WriteString("\uFFFD")
				b.WriteByte(digits[rest[i]>>4])
				b.WriteByte(digits[rest[i]&15])
			}
		}
		rest = rest[n:]
	}
	return b.String()
}

// EscapeLines is Escape for text of several lines, which it keeps apart and does not
// shorten.
func EscapeLines(text string) string {
	if strings.IndexFunc(text, escaped) < 0 {
		return text
	}
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = escape(lines[i])
	}
	return strings.Join(lines, "\n")
}

// escaped reports whether a character is not shown as it is. U+FFFD stands for a
// byte that is not UTF-8, too.
func escaped(r rune) bool {
	return r == utf8.RuneError || unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)
}
