package memcg

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode/utf8"
)

// A Pattern matches memcgs by their path. It is a path from the cgroup root
// whose components may have wildcards:
//
//   - any characters of one component, or none
//     ?      one character of it
//     [a-z]  one character of a set; [!a-z] or [^a-z] one that is not in it
//     \c     the character c itself
//     **     as a whole component: any components, or none
//
// So /** matches every memcg, the root included, and /a/** matches /a and all
// below it. The zero Pattern matches nothing; make one with CompilePattern.
type Pattern struct {
	text  string
	parts []part
	rank  rank
}

// A part is one component of a pattern.
type part struct {
	kind partKind
	text string // without escapes if it is literal
}

type partKind uint8

const (
	partLiteral partKind = iota
	partGlob
	partDescend // **
)

// A rank says how specific a pattern is; the first field that differs decides,
// and the larger is the more specific.
type rank [5]int

// CompilePattern compiles a pattern. Empty and "." components are dropped, as
// is a slash at the end, and ** after ** adds nothing. The error says what is
// wrong: a path that is not from the root, a ".." component, a wildcard that
// is not complete, or a ** that is not alone between slashes.
func CompilePattern(text string) (Pattern, error) {
	switch {
	case text == "":
		return Pattern{}, errors.New("the pattern is empty")
	case text[0] != '/':
		return Pattern{}, fmt.Errorf("%q is not a path from the cgroup root, which begins with /", text)
	case strings.ContainsAny(text, "\x00\n"):
		return Pattern{}, fmt.Errorf("%q has a NUL byte or a newline, which no cgroup's name has", text)
	}
	var p Pattern
	for component := range strings.SplitSeq(text, "/") {
		if component == "" || component == "." {
			continue
		}
		c, err := compilePart(component)
		if err != nil {
			return Pattern{}, fmt.Errorf("%q: %w", text, err)
		}
		if c.kind == partDescend && len(p.parts) > 0 && p.parts[len(p.parts)-1].kind == partDescend {
			continue
		}
		p.parts = append(p.parts, c)
		p.text += "/" + component
	}
	p.text = cmp.Or(p.text, "/")
	p.rank = p.makeRank()
	return p, nil
}

// compilePart compiles a component.
func compilePart(s string) (part, error) {
	if s == ".." {
		return part{}, errors.New(`".." leads out of the path`)
	}
	if s == "**" {
		return part{kind: partDescend}, nil
	}
	var plain, glob strings.Builder
	kind := partLiteral
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '*', '?':
			if strings.HasPrefix(s[i:], "**") {
				return part{}, fmt.Errorf("in %q ** is not alone: use it as a whole component, or * within one", s)
			}
			kind = partGlob
			glob.WriteByte(c)
		case '\\':
			if i++; i == len(s) {
				return part{}, fmt.Errorf("%q ends in a backslash that escapes nothing (a slash cannot be escaped)", s)
			}
			plain.WriteByte(s[i])
			glob.WriteByte('\\')
			glob.WriteByte(s[i])
		case '[':
			set, n, err := compileSet(s[i:])
			if err != nil {
				return part{}, fmt.Errorf("in %q %w", s, err)
			}
			kind = partGlob
			glob.WriteString(set)
			i += n - 1
		default:
			plain.WriteByte(c)
			glob.WriteByte(c)
		}
	}
	if kind == partLiteral {
		if name := plain.String(); name == "." || name == ".." {
			return part{}, fmt.Errorf("%q is no name of a cgroup", s)
		}
		return part{partLiteral, plain.String()}, nil
	}
	// What is left over are mistakes in the form of a set's ranges.
	if _, err := path.Match(glob.String(), ""); err != nil {
		return part{}, fmt.Errorf("%q is no pattern: %w", s, err)
	}
	return part{partGlob, glob.String()}, nil
}

// compileSet returns the set of characters that s begins with in the form of
// package path, and its length in s.
func compileSet(s string) (set string, length int, err error) {
	var b strings.Builder
	i := 1
	b.WriteByte('[')
	if i < len(s) && (s[i] == '!' || s[i] == '^') {
		b.WriteByte('^')
		i++
	}
	for first := true; ; first = false {
		if i >= len(s) {
			return "", 0, errors.New(`a set has no "]" (write \[ for the character)`)
		}
		if s[i] == ']' {
			if first {
				return "", 0, errors.New(`a set is empty (write \] for the character)`)
			}
			b.WriteByte(']')
			return b.String(), i + 1, nil
		}
		lo, n, err := setChar(s[i:])
		if err != nil {
			return "", 0, err
		}
		b.WriteString(s[i : i+n])
		i += n
		if i+1 < len(s) && s[i] == '-' && s[i+1] != ']' {
			hi, n, err := setChar(s[i+1:])
			if err != nil {
				return "", 0, err
			}
			if hi < lo {
				return "", 0, fmt.Errorf("the range %s-%s ends before it begins", string(lo), string(hi))
			}
			b.WriteString(s[i : i+1+n])
			i += 1 + n
		}
	}
}

// setChar returns the character of a set that s begins with, and how many
// bytes it is written with.
func setChar(s string) (r rune, length int, err error) {
	escape := 0
	if s[0] == '\\' {
		escape = 1
	} else if s[0] == '-' {
		return 0, 0, errors.New(`a "-" in a set is not between two characters (write \- for the character)`)
	}
	if escape == len(s) {
		return 0, 0, errors.New("a backslash in a set escapes nothing")
	}
	r, n := utf8.DecodeRuneInString(s[escape:])
	if r == utf8.RuneError && n <= 1 {
		return 0, 0, errors.New("a set is not UTF-8")
	}
	return r, escape + n, nil
}

// String returns the pattern in its one normal form.
func (p Pattern) String() string { return p.text }

// Literal tells whether the pattern has no wildcard, so that it can match
// but one memcg.
func (p Pattern) Literal() bool { return p.rank[0] == 1 }

// Match tells whether the pattern matches a memcg's path.
func (p Pattern) Match(path string) bool {
	if len(path) == 0 || path[0] != '/' || p.text == "" {
		return false
	}
	// As with * in a string, only the last ** ever has to be tried again:
	// an earlier one that took more would gain nothing.
	i, rest := 0, path[1:]
	back, backRest := -1, ""
	for rest != "" {
		if i < len(p.parts) && p.parts[i].kind == partDescend {
			i++
			back, backRest = i, rest
			continue
		}
		component, after, _ := strings.Cut(rest, "/")
		if i < len(p.parts) && p.parts[i].match(component) {
			i, rest = i+1, after
			continue
		}
		if back < 0 {
			return false
		}
		_, backRest, _ = strings.Cut(backRest, "/")
		i, rest = back, backRest
	}
	return i == len(p.parts) || i == len(p.parts)-1 && p.parts[i].kind == partDescend
}

func (c *part) match(component string) bool {
	if c.kind == partLiteral {
		return c.text == component
	}
	ok, err := path.Match(c.text, component)
	return ok && err == nil
}

// Less tells whether p is less specific than q: where both match a memcg, q is
// to win. In this order, the first difference decides:
//
//  1. a pattern without wildcards beats one with them;
//  2. more components before the first that has a wildcard beat fewer;
//  3. more characters of that one before its first wildcard beat fewer;
//  4. a pattern without ** beats one with it;
//  5. more components beat fewer.
//
// Patterns that differ in none of these are equally specific, whichever memcg
// they match: neither is less, and the caller has to let the first one win.
func (p Pattern) Less(q Pattern) bool { return p.Compare(q) < 0 }

// Compare is negative if p is less specific than q, positive if it is more
// specific, and 0 if neither is. See Less for what decides.
func (p Pattern) Compare(q Pattern) int {
	for i := range p.rank {
		if c := cmp.Compare(p.rank[i], q.rank[i]); c != 0 {
			return c
		}
	}
	return 0
}

// makeRank computes how specific the pattern is.
func (p Pattern) makeRank() rank {
	r := rank{1, 0, 0, 1, 0}
	for _, c := range p.parts {
		switch {
		case c.kind == partLiteral && r[0] == 1:
			r[1]++
		case c.kind == partGlob && r[0] == 1:
			r[2] = strings.IndexAny(c.text, `*?[\`)
		}
		if c.kind != partLiteral {
			r[0] = 0
		}
		if c.kind == partDescend {
			r[3] = 0
		} else {
			r[4]++
		}
	}
	return r
}
