package config

import (
	"fmt"
	"math"
	"regexp"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/memcg"
)

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
		if part, least := tooLong(s); part != "" {
			if least == math.MaxInt {
				d.errorf(n.Line, key, "%s matches no text, write .* for all or leave the key out", printable(part))
				return
			}
			d.errorf(n.Line, key, "no process's name can match %s: that takes %d bytes or more, and names have at most %d, %s", printable(part), least, maxComm, commRepair(part))
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
		if wrong := pathMistake(s); wrong != "" {
			d.errorf(n.Line, key, "%s", wrong)
			return
		}
		p, err := memcg.CompilePattern(s)
		if err != nil {
			d.errorf(n.Line, key, "%v", err)
			return
		}
		*dst = p.String()
	}
}
