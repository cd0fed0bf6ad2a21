package config

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// document returns the root mapping of the only document in data, or nil.
func (d *decoder) document(data []byte) *yaml.Node {
	if len(data) > maxFileSize {
		d.errorf(1, "", "is larger than %d bytes, no configuration is", maxFileSize)
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
	if lines := bytes.SplitAfter(data, []byte("\n")); len(lines) <= few && len(data) <= few*100 {
		n, length := len(lines), len(data)
		for n > 0 && !parses(data[:length]) {
			n--
			length -= len(lines[n])
		}
		line = min(n+1, len(lines))
	}
	d.errorf(line, "", "not YAML near this line: %s", printable(text))
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
