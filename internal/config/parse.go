package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/memcg"
)

// Parse makes a Config of a YAML document. The name is only for messages. The
// error joins one error for each thing that is wrong, in the order of lines,
// each of the form "name:line: key: what is wrong, what would be right".
func Parse(name string, data []byte) (*Config, error) {
	d := &decoder{file: name}
	root := d.document(data)
	if root == nil {
		return nil, d.err()
	}
	c := defaults()
	d.mapping(root, "", d.schema(c))
	d.finish(c)
	if err := d.err(); err != nil {
		return nil, err
	}
	return c, nil
}

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

// schema describes the whole file; decoding fills c.
func (d *decoder) schema(c *Config) []field {
	return []field{
		{name: "source", decode: func(n *yaml.Node, key string) {
			d.source = n.Line
			d.oneOf(&c.Source, Sources())(n, key)
		}},
		{name: "replay", sub: []field{
			{name: "file", decode: d.recording(&c.Replay.File)},
			{name: "speed", decode: d.speed(&c.Replay.Speed)},
		}},
		{name: "aging", sub: []field{
			{name: "interval", decode: d.interval(&c.Aging.Interval)},
			{name: "passes_per_window", decode: d.wholeInt(&c.Aging.PassesPerWindow, 1, heat.MaxPassesPerWindow)},
			{name: "cpu_budget", decode: d.share(&c.Aging.CPUBudget, "of one CPU")},
			{name: "can_swap", decode: d.boolean(&c.Aging.CanSwap)},
			{name: "concurrency", decode: d.wholeInt(&c.Aging.Concurrency, 1, MaxConcurrency)},
		}},
		{name: "heat", sub: []field{
			{name: "hot_fraction", decode: d.share(&c.Heat.HotFraction, "of a window's passes")},
			{name: "region_buckets", decode: d.bounds(&c.Heat.RegionBuckets)},
			{name: "idle_ages", decode: d.ages(&c.Heat.IdleAges)},
			{name: "average", decode: d.durationOf(&c.Heat.Average, MinInterval, maxAverage)},
			{name: "never_accessed", sub: []field{
				{name: "windows", decode: func(n *yaml.Node, key string) {
					d.never = n.Line
					d.wholeInt(&c.Heat.NeverAccessed.Windows, 1, heat.MaxIdlePasses)(n, key)
				}},
				{name: "top", decode: d.wholeInt(&c.Heat.NeverAccessed.Top, 0, maxNeverTop)},
			}},
		}},
		{name: "memcgs", required: true, decode: d.memcgs(&c.Memcgs)},
		{name: "labels", sub: []field{
			{name: "pid", decode: d.boolean(&c.Labels.PID)},
			{name: "comm", decode: d.boolean(&c.Labels.Comm)},
		}},
		{name: "limits", sub: []field{
			{name: "max_series", decode: d.wholeInt(&c.Limits.MaxSeries, 1, 1<<31-1)},
			{name: "max_tracked_bytes", decode: d.size(&c.Limits.MaxTrackedBytes, minTrackedBytes)},
			{name: "max_heatmap_bytes", decode: d.size(&c.Limits.MaxHeatmapBytes, 0)},
		}},
	}
}

func (d *decoder) memcgSchema(m *Memcg) []field {
	return []field{
		{name: "path", required: true, decode: d.path(&m.Path)},
		{name: "processes", sub: []field{
			{name: "top", decode: d.wholeInt(&m.Processes.Top, 0, maxTop)},
			{name: "min_resident", decode: d.size(&m.Processes.MinResident, 0)},
			{name: "comm", decode: d.comm(&m.Processes.Comm)},
		}},
		{name: "aging", sub: []field{
			{name: "interval", decode: d.interval(&m.Interval)},
		}},
		{name: "regions", decode: d.regions(&m.Regions)},
		{name: "address_bands", decode: d.wholeInt(&m.AddressBands, 0, maxAddressBands)},
	}
}

// memcgs decodes the list of memcgs, none of which may be named twice.
func (d *decoder) memcgs(dst *[]Memcg) decodeFunc {
	return func(n *yaml.Node, key string) {
		seen := make(map[string]int)
		items, ok := d.sequence(n, key, "a list of memcgs")
		if !ok {
			return
		}
		if len(items) == 0 {
			d.errorf(n.Line, key, "names no memcg, write at least one, such as - path: /**")
		}
		for i, item := range items {
			m, at := defaultMemcg(), fmt.Sprintf("%s[%d]", key, i)
			d.mapping(item, at, d.memcgSchema(&m))
			if m.Path == "" {
				continue
			}
			if line, dup := seen[m.Path]; dup {
				d.errorf(item.Line, at+".path", "%s is already in line %d, merge the two entries", m.Path, line)
				continue
			}
			seen[m.Path] = item.Line
			*dst = append(*dst, m)
		}
	}
}

// finish fills in what depends on several keys.
func (d *decoder) finish(c *Config) {
	if c.Source == "replay" && c.Replay.File == "" {
		d.errorf(d.source, "replay.file", "is missing, with source replay it says which recording to play")
	}
	if n, most := c.Heat.NeverAccessed.Windows, heat.MaxIdlePasses/c.Aging.PassesPerWindow; n > most {
		d.errorf(d.never, "heat.never_accessed.windows", "%d windows of %d passes are more than the %d passes that can be told apart, write at most %d",
			n, c.Aging.PassesPerWindow, heat.MaxIdlePasses, most)
	}
	for i := range c.Memcgs {
		if c.Memcgs[i].Interval == 0 {
			c.Memcgs[i].Interval = c.Aging.Interval
		}
	}
	var quick *Memcg // the one that can tell the least
	for i := range c.Memcgs {
		m := &c.Memcgs[i]
		if quick == nil || m.Interval < quick.Interval {
			quick = m
		}
		for _, age := range c.Heat.IdleAges {
			if age <= heat.MaxIdlePasses*m.Interval {
				m.IdleAges = append(m.IdleAges, age)
			}
		}
	}
	for i, line := range d.idleAges {
		if age := c.Heat.IdleAges[i]; quick != nil && age > heat.MaxIdlePasses*quick.Interval {
			d.errorf(line, fmt.Sprintf("heat.idle_ages[%d]", i), "%s is longer than the %d passes that can be told apart, which take %s where the interval is %s (%s), write at most %s or an interval of at least %s",
				humanDuration(age), heat.MaxIdlePasses, humanDuration(heat.MaxIdlePasses*quick.Interval), humanDuration(quick.Interval), printable(quick.Path),
				humanDuration(heat.MaxIdlePasses*quick.Interval), humanDuration(leastInterval(age)))
		}
	}
}

// leastInterval is the shortest interval, in whole tenths of a second, at which
// an age can be told.
func leastInterval(age time.Duration) time.Duration {
	const step = 100 * time.Millisecond
	return (age + heat.MaxIdlePasses*step - 1) / (heat.MaxIdlePasses * step) * step
}

// recording decodes the path of a recording.
func (d *decoder) recording(dst *string) decodeFunc {
	return func(n *yaml.Node, key string) {
		s, ok := d.text(n, key)
		switch {
		case !ok:
		case s == "" || strings.ContainsRune(s, 0):
			d.errorf(n.Line, key, "%q is not a path, write that of a recording", s)
		default:
			*dst = s
		}
	}
}

// speed decodes how much faster than it happened something is played.
func (d *decoder) speed(dst *float64) decodeFunc {
	return func(n *yaml.Node, key string) {
		n = resolve(n)
		const want = "a number from 0 to 1000000, 1 for as fast as it happened, 0 for no waiting at all"
		if !d.scalar(n, key, want, "!!float", "!!int") {
			return
		}
		var v float64
		if err := n.Decode(&v); err != nil || !(v >= 0 && v <= maxReplaySpeed) {
			d.errorf(n.Line, key, "%s is out of range, write %s", n.Value, want)
			return
		}
		*dst = v
	}
}

// interval decodes the time between two passes.
func (d *decoder) interval(dst *time.Duration) decodeFunc {
	return d.durationOf(dst, MinInterval, maxInterval)
}

// durationOf decodes a duration of [lo, hi].
func (d *decoder) durationOf(dst *time.Duration, lo, hi time.Duration) decodeFunc {
	return func(n *yaml.Node, key string) {
		v, ok := d.duration(n, key)
		switch {
		case !ok:
		case v < lo || v > hi:
			d.errorf(n.Line, key, "%s is out of range, write a duration from %s to %s", n.Value, humanDuration(lo), humanDuration(hi))
		default:
			*dst = v
		}
	}
}

// ages decodes idle ages; an empty list is for none.
func (d *decoder) ages(dst *[]time.Duration) decodeFunc {
	return func(n *yaml.Node, key string) {
		items, ok := d.sequence(n, key, "a list of durations")
		if !ok {
			return
		}
		if len(items) > heat.MaxIdleAges {
			d.errorf(n.Line, key, "has %d ages, write at most %d", len(items), heat.MaxIdleAges)
			return
		}
		out, lines, good := []time.Duration{}, []int{}, true
		for i, item := range items {
			at := fmt.Sprintf("%s[%d]", key, i)
			var v time.Duration
			d.durationOf(&v, MinInterval, maxIdleAge)(item, at)
			if v == 0 {
				good = false
				continue
			}
			if len(out) > 0 && v <= out[len(out)-1] {
				d.errorf(item.Line, at, "%s comes after %s, write the ages in ascending order, each once", item.Value, humanDuration(out[len(out)-1]))
				good = false
				continue
			}
			out, lines = append(out, v), append(lines, item.Line)
		}
		if good {
			*dst, d.idleAges = out, lines
		}
	}
}

// bounds decodes the upper bounds of histogram buckets.
func (d *decoder) bounds(dst *[]uint64) decodeFunc {
	return func(n *yaml.Node, key string) {
		items, ok := d.sequence(n, key, "a list of whole numbers")
		if !ok {
			return
		}
		if len(items) == 0 || len(items) > maxRegionBuckets {
			d.errorf(n.Line, key, "has %d bounds, write 1 to %d", len(items), maxRegionBuckets)
			return
		}
		var out []uint64
		good := true
		for i, item := range items {
			at := fmt.Sprintf("%s[%d]", key, i)
			v, ok := d.whole(item, at, 0, maxRegionBound)
			if !ok {
				good = false
				continue
			}
			if len(out) > 0 && uint64(v) <= out[len(out)-1] {
				d.errorf(item.Line, at, "%d comes after %d, write the bounds in ascending order, each once", v, out[len(out)-1])
				good = false
				continue
			}
			out = append(out, uint64(v))
		}
		if good {
			*dst = out
		}
	}
}

// comm decodes a regular expression that must match all of a process's name.
func (d *decoder) comm(dst **regexp.Regexp) decodeFunc {
	return func(n *yaml.Node, key string) {
		s, ok := d.text(n, key)
		if !ok {
			return
		}
		if _, err := regexp.Compile(s); err != nil {
			d.errorf(n.Line, key, "not a regular expression: %s, see https://golang.org/s/re2syntax", regexpReason(err))
			return
		}
		re, err := regexp.Compile("^(?s:" + s + ")$")
		if err != nil {
			d.errorf(n.Line, key, "not a regular expression: %s, write a simpler one", regexpReason(err))
			return
		}
		if s == "" {
			d.errorf(n.Line, key, "matches no process, write .* for all or leave the key out")
			return
		}
		if s == ".*" {
			re = nil
		}
		*dst = re
	}
}

// regexpReason returns what is wrong without the words that name the package.
func regexpReason(err error) string {
	return strings.TrimPrefix(err.Error(), "error parsing regexp: ")
}

// path decodes the path of a memcg, or a pattern of paths.
func (d *decoder) path(dst *string) decodeFunc {
	return func(n *yaml.Node, key string) {
		s, ok := d.text(n, key)
		if !ok {
			return
		}
		p, err := memcg.CompilePattern(s)
		switch esc := systemdEscape(s); {
		case !strings.HasPrefix(s, "/"):
			d.errorf(n.Line, key, "%q is not a path from the cgroup root, write %s", s, printable("/"+s))
		case err != nil:
			d.errorf(n.Line, key, "%v", err)
		case esc != "":
			d.errorf(n.Line, key, `%s stands for the character x alone, write \%s to match systemd's %s`, esc, esc, esc)
		default:
			*dst = p.String()
		}
	}
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
