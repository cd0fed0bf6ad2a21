package config

import (
	"fmt"
	"math"
	"regexp/syntax"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxComm is how many bytes a process's name has at most: TASK_COMM_LEN in the
// kernel's include/linux/sched.h, less the NUL.
const maxComm = 15

// tooLong returns the first part of a regular expression that only names of more
// than maxComm bytes match, and how many bytes these have at least: all of it, or
// one of its alternatives. It returns "" if there is none.
func tooLong(expr string) (part string, least int) {
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return "", 0
	}
	if n := minBytes(re); n > maxComm {
		if re.Op != syntax.OpAlternate || n == math.MaxInt {
			return expr, n
		}
	}
	return longAlternative(re, 0, "")
}

// longAlternative is tooLong for a part of an expression; outside is how many bytes
// the rest of it takes at least, and before is the literal text before the part.
func longAlternative(re *syntax.Regexp, outside int, before string) (part string, least int) {
	switch re.Op {
	case syntax.OpAlternate:
		for _, alternative := range re.Sub {
			if n := add(outside, minBytes(alternative)); n > maxComm {
				return before + alternative.String(), n
			}
		}
	case syntax.OpConcat:
		whole := minBytes(re)
		for _, sub := range re.Sub {
			if part, least = longAlternative(sub, add(outside, whole-minBytes(sub)), before); part != "" {
				return part, least
			}
			if sub.Op != syntax.OpLiteral {
				before = ""
				continue
			}
			before += sub.String()
		}
		return "", 0
	case syntax.OpCapture:
	default:
		before = ""
	}
	for _, sub := range re.Sub {
		if part, least = longAlternative(sub, outside, before); part != "" {
			return part, least
		}
	}
	return "", 0
}

// minBytes returns how many bytes a text has at least that matches; math.MaxInt if
// none does.
func minBytes(re *syntax.Regexp) int {
	switch re.Op {
	case syntax.OpNoMatch:
		return math.MaxInt
	case syntax.OpLiteral:
		n := 0
		for _, r := range re.Rune {
			n += shortest(r, re.Flags&syntax.FoldCase != 0)
		}
		return n
	case syntax.OpCharClass:
		if len(re.Rune) == 0 {
			return math.MaxInt
		}
		return shortest(re.Rune[0], false) // the lowest
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return 1
	case syntax.OpCapture, syntax.OpPlus:
		return minBytes(re.Sub[0])
	case syntax.OpRepeat:
		n := 0
		for range re.Min {
			n = add(n, minBytes(re.Sub[0]))
		}
		return n
	case syntax.OpConcat:
		n := 0
		for _, sub := range re.Sub {
			n = add(n, minBytes(sub))
		}
		return n
	case syntax.OpAlternate:
		n := math.MaxInt
		for _, sub := range re.Sub {
			n = min(n, minBytes(sub))
		}
		return n
	}
	return 0 // nothing, an assertion, or what may be left out
}

// shortest returns how many bytes a character has, in whichever case is shortest.
func shortest(r rune, anyCase bool) int {
	if r == utf8.RuneError { // matches a byte that is not UTF-8, too
		return 1
	}
	n := utf8.RuneLen(r)
	for f := unicode.SimpleFold(r); anyCase && f != r; f = unicode.SimpleFold(f) {
		n = min(n, utf8.RuneLen(f))
	}
	return n
}

// add adds lengths, of which math.MaxInt is that of no text.
func add(a, b int) int {
	if a > math.MaxInt-b {
		return math.MaxInt
	}
	return a + b
}

// commRepair says what to write in place of a part that is too long.
func commRepair(part string) string {
	if len(part) > maxComm && strings.Trim(part, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_:/ ") == "" {
		return fmt.Sprintf("write %s, which is what the kernel keeps of it", printable(part[:maxComm]))
	}
	return "write a shorter one"
}
