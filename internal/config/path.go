package config

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// pathMistake returns what is wrong with a path that can match no memcg for all
// that it may be a pattern, "" if there is nothing to be said: people copy paths
// from where they look different.
func pathMistake(s string) string {
	if below, ok := cutProcLine(s); ok {
		return fmt.Sprintf("%s begins as a line of /proc/PID/cgroup, write %s", printable(s), printable(below))
	}
	if below, ok := cutMountPoint(s); ok {
		return fmt.Sprintf("%s begins with where cgroups are mounted, write the path from the cgroup root, %s", printable(s), printable(below))
	}
	if !strings.HasPrefix(s, "/") {
		repair := "/" + s
		if isUnit(s) {
			repair = "/**/" + s
		}
		return fmt.Sprintf("%q is not a path from the cgroup root, write %s", s, printable(repair))
	}
	if wrong := oddCharacter(s); wrong != "" {
		return wrong
	}
	if esc := systemdEscape(s); esc != "" {
		return fmt.Sprintf(`%s stands for the character x alone, write \%s to match systemd's %s`, esc, esc, esc)
	}
	return ""
}

// cutProcLine cuts the beginning of a line of /proc/PID/cgroup: "0::", "4:memory:".
func cutProcLine(s string) (path string, ok bool) {
	id, rest, _ := strings.Cut(s, ":")
	_, path, ok = strings.Cut(rest, ":")
	return path, ok && digits(id) && strings.HasPrefix(path, "/")
}

// cutMountPoint cuts the directory where cgroups are usually mounted, and the
// hierarchy's below it in cgroup v1.
func cutMountPoint(s string) (path string, ok bool) {
	below, ok := strings.CutPrefix(s, "/sys/fs/cgroup")
	if !ok || below != "" && below[0] != '/' {
		return "", false
	}
	for _, hierarchy := range []string{"memory", "unified", "systemd"} {
		if rest, ok := strings.CutPrefix(below, "/"+hierarchy); ok && (rest == "" || rest[0] == '/') {
			below = rest
			break
		}
	}
	if below == "" {
		below = "/"
	}
	return below, true
}

// isUnit reports whether a name without slash is that of a systemd unit whose
// cgroup is in a slice.
func isUnit(s string) bool {
	dot := strings.LastIndexByte(s, '.')
	if dot <= 0 || strings.Contains(s, "/") {
		return false
	}
	switch s[dot:] {
	case ".service", ".scope", ".socket", ".mount", ".swap":
		return true
	}
	return false
}

// oddCharacter looks for what nobody sees in a path: a blank at either end of a
// component, and characters that are not shown. One that a name really has can be
// matched by "?", and a blank be escaped.
func oddCharacter(s string) string {
	before := '/'
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		next, _ := utf8.DecodeRuneInString(s[i+n:])
		switch {
		case r == utf8.RuneError && n > 1:
			return fmt.Sprintf("%s has U+FFFD, by which /metrics shows bytes that are no text, write ? for each with its two digits, or * for several", printable(s))
		case r != ' ' && (r != utf8.RuneError || n > 1) && !unicode.IsPrint(r) || r == '\ufeff':
			return fmt.Sprintf("%s has the character %U, which is not visible, write the path without it, or ? where a name has it", printable(s), r)
		case r == ' ' && (before == '/' || i+n == len(s) || next == '/'):
			return fmt.Sprintf(`%q has a blank at the end or the beginning of a name, write the path without it, or "\ " where a name has it`, s)
		}
		if i += n; r == '\\' && i < len(s) { // what it escapes is meant
			_, n = utf8.DecodeRuneInString(s[i:])
			i += n
		}
		before = r
	}
	return ""
}

// systemdEscape returns the first \xNN in a pattern whose backslash is not
// escaped: systemd names units like that, a pattern needs another backslash.
func systemdEscape(s string) string {
	for i := 0; i+1 < len(s); i++ {
		if s[i] != '\\' {
			continue
		}
		if i++; s[i] == 'x' {
			return s[i-1 : min(i+3, len(s))]
		}
	}
	return ""
}
