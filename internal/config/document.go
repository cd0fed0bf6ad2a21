package config

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// document returns the root mapping of the only document in data, or nil.
func (d *decoder) document(data []byte) *yaml.Node {
	if len(data) > maxFileSize {
		d.errorf(1, "", "is larger than %d bytes, no configuration is", maxFileSize)
		return nil
	}
	data, ok := d.directives(data)
	if !ok || !d.utf8(data) {
		return nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	err := dec.Decode(&doc)
	switch {
	case errors.Is(err, io.EOF):
		d.errorf(1, "", "is empty, write at least one entry under memcgs")
		return nil
	case err != nil:
		d.syntax(data, err)
		return nil
	}
	var second yaml.Node
	switch err := dec.Decode(&second); {
	case err == nil:
		d.errorf(second.Line, "", "a second YAML document begins here, write only one")
	case !errors.Is(err, io.EOF):
		d.syntax(data, err)
		return nil
	}
	root := doc.Content[0]
	if isNull(root) {
		d.errorf(root.Line, "", "is empty, write at least one entry under memcgs")
		return nil
	}
	return root
}

// directives makes a comment of a directive that asks for any YAML 1, such as
// "%YAML 1.2": the parser knows "%YAML 1.1" alone, and no value that is accepted
// here differs between the two. It returns false for another version.
func (d *decoder) directives(data []byte) ([]byte, bool) {
	out, from := bytes.Clone(data), 0
	for i, line := range bytes.SplitAfter(data, []byte("\n")) {
		text := bytes.TrimSpace(bytes.TrimPrefix(line, []byte("\ufeff")))
		if len(text) > 0 && text[0] != '#' && text[0] != '%' {
			break
		}
		if version, ok := bytes.CutPrefix(text, []byte("%YAML")); ok {
			version = bytes.TrimSpace(version)
			if !bytes.HasPrefix(version, []byte("1.")) {
				d.errorf(i+1, "", "%%YAML %s is not supported, write %%YAML 1.2 or leave the line out", printable(string(version)))
				return nil, false
			}
			out[from+bytes.IndexByte(line, '%')] = '#'
		}
		from += len(line)
	}
	return out, true
}

// utf8 reports the first byte that is not UTF-8. Files in UTF-16, which say so by
// their first bytes, are left to the parser.
func (d *decoder) utf8(data []byte) bool {
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) || utf8.Valid(data) {
		return true
	}
	for i, line := range bytes.Split(data, []byte("\n")) {
		for len(line) > 0 {
			r, n := utf8.DecodeRune(line)
			if r == utf8.RuneError && n == 1 {
				d.errorf(i+1, "", `the byte \x%02x is not UTF-8, save the file as UTF-8; in a path ? matches such a byte of a cgroup's name`, line[0])
				return false
			}
			line = line[n:]
		}
	}
	return true
}

// syntax reports an error of the YAML parser, whose own line is that of the
// block around the error, or none. The first line after the longest beginning
// of the file that can be parsed is nearer to it.
func (d *decoder) syntax(data []byte, err error) {
	line, text := 1, strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if n, msg, ok := strings.Cut(rest, ": "); ok {
			if i, err := strconv.Atoi(n); err == nil {
				line, text = i, msg
			}
		}
	}
	const few = 500 // lines: each is tried
	lines := bytes.SplitAfter(data, []byte("\n"))
	if len(lines) <= few && len(data) <= few*100 {
		n, length := len(lines), len(data)
		for n > 0 && !parses(data[:length]) {
			n--
			length -= len(lines[n])
		}
		line = min(n+1, len(lines))
	}
	if line <= len(lines) && indentedByTab(lines[line-1]) {
		d.errorf(line, "", "is indented by a tab, indent with spaces")
		return
	}
	d.errorf(line, "", "not YAML near this line: %s", printable(text))
}

// indentedByTab reports whether there is a tab before the first other character.
func indentedByTab(line []byte) bool {
	indent := line[:len(line)-len(bytes.TrimLeft(line, " \t"))]
	return bytes.IndexByte(indent, '\t') >= 0
}

// parses tells whether data is YAML, of any number of documents.
func parses(data []byte) bool {
	for dec := yaml.NewDecoder(bytes.NewReader(data)); ; {
		var n yaml.Node
		if err := dec.Decode(&n); err != nil {
			return errors.Is(err, io.EOF)
		}
	}
}
