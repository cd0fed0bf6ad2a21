package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"gopkg.in/yaml.v3"
)

// A decodeFunc decodes the value of a key. It reports what is wrong and then
// leaves its destination alone.
type decodeFunc func(n *yaml.Node, key string)

// A field is a key that a mapping may have: a value, or a mapping of its own.
type field struct {
	name     string
	required bool
	decode   decodeFunc
	sub      []field
}

// A decoder walks YAML nodes along a schema and collects all errors on its way.
// Aliases are followed, but only as deep as the schema, so that a file cannot
// make it do more work than its size.
type decoder struct {
	file     string
	problems []problem
	source   int // the line of that key, 0 without it
	// idleAges are the lines of heat.idle_ages, where the file has them.
	idleAges []int
	never    int // the line of heat.never_accessed.windows, 0 without it
}

type problem struct {
	line int
	text string
}

func (d *decoder) errorf(line int, key, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if key != "" {
		text = key + ": " + text
	}
	d.problems = append(d.problems, problem{max(line, 1), text})
}

// err returns all problems by line, or nil.
func (d *decoder) err() error {
	slices.SortStableFunc(d.problems, func(a, b problem) int { return a.line - b.line })
	var errs []error
	for _, p := range slices.Compact(d.problems) {
		errs = append(errs, fmt.Errorf("%s:%d: %s", d.file, p.line, p.text))
	}
	return errors.Join(errs...)
}

// mapping decodes a mapping whose path is at, "" for the root.
func (d *decoder) mapping(n *yaml.Node, at string, fields []field) {
	n = resolve(n)
	if n.Kind != yaml.MappingNode {
		d.wrongType(n, at, "keys and values ("+strings.Join(names(fields), ", ")+")")
		return
	}
	seen := make(map[string]int)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind != yaml.ScalarNode {
			d.errorf(k.Line, at, "a key must be a plain word, write one of %s", strings.Join(names(fields), ", "))
			continue
		}
		key := join(at, printable(k.Value))
		if line, dup := seen[k.Value]; dup {
			d.errorf(k.Line, key, "is already in line %d, write it once", line)
			continue
		}
		seen[k.Value] = k.Line
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == k.Value })
		if i < 0 {
			d.unknown(k, key, fields)
			continue
		}
		d.field(v, key, fields[i])
	}
	for _, f := range fields {
		if _, ok := seen[f.name]; f.required && !ok {
			d.errorf(n.Line, join(at, f.name), "is missing, it has no default")
		}
	}
}

func (d *decoder) field(v *yaml.Node, key string, f field) {
	if f.sub == nil {
		f.decode(v, key)
		return
	}
	// A section whose keys are all commented out is as good as none.
	if !isNull(resolve(v)) {
		d.mapping(v, key, f.sub)
	}
}

func (d *decoder) unknown(k *yaml.Node, key string, fields []field) {
	if k.Value == "<<" {
		d.errorf(k.Line, key, "merge keys are not supported, write the keys out")
		return
	}
	if s := suggest(k.Value, fields); s != "" {
		d.errorf(k.Line, key, "unknown key, did you mean %s?", s)
		return
	}
	d.errorf(k.Line, key, "unknown key, known here: %s", strings.Join(names(fields), ", "))
}

// sequence returns the items of a list.
func (d *decoder) sequence(n *yaml.Node, key, want string) ([]*yaml.Node, bool) {
	if n = resolve(n); n.Kind != yaml.SequenceNode {
		d.wrongType(n, key, want)
		return nil, false
	}
	items := make([]*yaml.Node, len(n.Content))
	for i, c := range n.Content {
		items[i] = resolve(c)
	}
	return items, true
}

// scalar tells whether n is a scalar that has one of the tags. A number with
// leading zeros is none: YAML 1.1 takes it for octal, YAML 1.2 and people do not.
func (d *decoder) scalar(n *yaml.Node, key, want string, tags ...string) bool {
	if plain, ok := withoutZeros(n); ok && slices.Contains(tags, "!!int") {
		d.errorf(n.Line, key, "%s begins with a zero, which may mean octal, write %s", n.Value, plain)
		return false
	}
	if n.Kind != yaml.ScalarNode || !slices.Contains(tags, n.ShortTag()) {
		d.wrongType(n, key, want)
		return false
	}
	return true
}

// withoutZeros returns a whole number that has leading zeros without them, false
// for any other node.
func withoutZeros(n *yaml.Node) (string, bool) {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" && n.ShortTag() != "!!float" {
		return "", false
	}
	number := strings.TrimLeft(n.Value, "+-")
	if len(number) < 2 || number[0] != '0' || strings.Trim(number, "0123456789_") != "" {
		return "", false
	}
	return n.Value[:len(n.Value)-len(number)] + cmp.Or(strings.TrimLeft(number, "0_"), "0"), true
}

func (d *decoder) wrongType(n *yaml.Node, key, want string) {
	d.errorf(n.Line, key, "%s, write %s", describe(n), want)
}

func (d *decoder) text(n *yaml.Node, key string) (string, bool) {
	n = resolve(n)
	if !d.scalar(n, key, "text (in quotes if it looks like something else)", "!!str") {
		return "", false
	}
	return n.Value, true
}

func (d *decoder) oneOf(dst *string, values []string) decodeFunc {
	return func(n *yaml.Node, key string) {
		n = resolve(n)
		want := "one of " + strings.Join(values, ", ")
		if !d.scalar(n, key, want, "!!str") {
			return
		}
		if !slices.Contains(values, n.Value) {
			d.errorf(n.Line, key, "unknown value %q, write %s", n.Value, want)
			return
		}
		*dst = n.Value
	}
}

func (d *decoder) boolean(dst *bool) decodeFunc {
	return func(n *yaml.Node, key string) {
		n = resolve(n)
		if !d.scalar(n, key, "true or false", "!!bool") {
			return
		}
		if err := n.Decode(dst); err != nil {
			d.wrongType(n, key, "true or false")
		}
	}
}

// whole decodes a whole number of [lo, hi].
func (d *decoder) whole(n *yaml.Node, key string, lo, hi int64) (int64, bool) {
	n = resolve(n)
	want := fmt.Sprintf("a whole number from %d to %d", lo, hi)
	if !d.scalar(n, key, want, "!!int") {
		return 0, false
	}
	var v int64
	if err := n.Decode(&v); err != nil || v < lo || v > hi {
		d.errorf(n.Line, key, "%s is out of range, write %s", n.Value, want)
		return 0, false
	}
	return v, true
}

func (d *decoder) wholeInt(dst *int, lo, hi int64) decodeFunc {
	return func(n *yaml.Node, key string) {
		if v, ok := d.whole(n, key, lo, hi); ok {
			*dst = int(v)
		}
	}
}

// share decodes a number above 0 and at most 1.
func (d *decoder) share(dst *float64, of string) decodeFunc {
	return func(n *yaml.Node, key string) {
		n = resolve(n)
		want := "a number above 0 and at most 1, the share " + of
		if !d.scalar(n, key, want, "!!float", "!!int") {
			return
		}
		var v float64
		if err := n.Decode(&v); err != nil || !(v > 0 && v <= 1) {
			d.errorf(n.Line, key, "%s is out of range, write %s", n.Value, want)
			return
		}
		*dst = v
	}
}

// duration decodes a Prometheus duration: whole numbers with the units ms, s,
// m, h, d.
func (d *decoder) duration(n *yaml.Node, key string) (time.Duration, bool) {
	n = resolve(n)
	const want = "a duration such as 30s, 5m or 1h30m"
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!int" {
		d.errorf(n.Line, key, "%s has no unit, write %s", n.Value, want)
		return 0, false
	}
	if !d.scalar(n, key, want, "!!str") {
		return 0, false
	}
	v, err := model.ParseDuration(n.Value)
	if err != nil {
		d.errorf(n.Line, key, "%q is not a duration, write %s", n.Value, want)
		return 0, false
	}
	return time.Duration(v), true
}

// size decodes a number of bytes of at least lo.
func (d *decoder) size(dst *uint64, lo uint64) decodeFunc {
	return func(n *yaml.Node, key string) {
		n = resolve(n)
		const want = "a size such as 16MiB or 1.5GiB"
		if !d.scalar(n, key, want, "!!str", "!!int") {
			return
		}
		v, err := parseSize(n.Value)
		switch {
		case err != nil:
			d.errorf(n.Line, key, "%q %v, write %s", n.Value, err, want)
		case v < lo:
			d.errorf(n.Line, key, "%s is too small, write at least %s", n.Value, formatSize(lo))
		default:
			*dst = v
		}
	}
}

// resolve follows an alias. The parser has made sure that it leads somewhere.
func resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// describe says what a node is to someone who wrote something else.
func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "has keys and values of its own"
	case n.Kind == yaml.SequenceNode:
		return "is a list"
	case isNull(n):
		return "has no value"
	case n.ShortTag() == "!!str":
		return fmt.Sprintf("is the text %q", n.Value)
	default:
		return "is " + printable(n.Value)
	}
}

func join(at, name string) string {
	if at == "" {
		return name
	}
	return at + "." + name
}

func names(fields []field) []string {
	out := make([]string, len(fields))
	for i, f := range fields {
		out[i] = f.name
	}
	return out
}
