package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"mglru_exporter/internal/heat"
)

// regions decodes which mappings are looked at: patterns of names, and ranges of
// addresses.
func (d *decoder) regions(dst *heat.Selection) decodeFunc {
	return func(n *yaml.Node, key string) {
		items, ok := d.sequence(n, key, `a list of mappings, such as ["[heap]", "/dev/shm/*"]`)
		if !ok {
			return
		}
		if len(items) == 0 {
			d.errorf(n.Line, key, "names no mapping, leave the key out to look at all")
			return
		}
		var s heat.Selection
		for i, item := range items {
			at := fmt.Sprintf("%s[%d]", key, i)
			text, ok := d.text(item, at)
			if !ok {
				continue
			}
			if isRange(text) {
				r, err := parseRange(text)
				if err != nil {
					d.errorf(item.Line, at, "%s %v", printable(text), err)
					continue
				}
				s.Ranges = append(s.Ranges, r)
				continue
			}
			if strings.Trim(text, "abcdefghijklmnopqrstuvwxyz") == "" && text != "" {
				d.errorf(item.Line, at, `no mapping has the name %s, write "[%s]" in quotes or the path of a file`, printable(text), printable(text))
				continue
			}
			if err := heat.CheckPattern(text); err != nil {
				d.errorf(item.Line, at, "%s %v", printable(text), err)
				continue
			}
			s.Names = append(s.Names, text)
		}
		*dst = s
	}
}

// isRange tells what is meant to be a range from names: no name of a mapping
// begins with 0x, or is two numbers as /proc/PID/maps has them.
func isRange(s string) bool {
	return strings.HasPrefix(s, "0x") || strings.Contains(s, "-") && strings.Trim(s, "0123456789abcdefABCDEF-") == ""
}

// parseRange reads a range such as 0x7f0000000000-0x7f0040000000.
func parseRange(s string) (heat.Range, error) {
	var r heat.Range
	from, to, ok := strings.Cut(s, "-")
	for _, end := range []struct {
		text string
		dst  *uint64
	}{{from, &r.Start}, {to, &r.End}} {
		digits, prefixed := strings.CutPrefix(end.text, "0x")
		v, err := strconv.ParseUint(digits, 16, 64)
		ok = ok && prefixed && err == nil
		*end.dst = v
	}
	switch {
	case !ok:
		return r, errors.New("is not a range of addresses, write one such as 0x7f0000000000-0x7f0040000000")
	case (r.Start|r.End)%heat.PageSize != 0:
		return r, errors.New("cuts a page in two, write multiples of 0x1000")
	case r.Start >= r.End:
		return r, errors.New("ends before it begins, write the lower address first")
	}
	return r, nil
}

// CheckAddresses returns an error for each memcg with a range of addresses in its
// regions, and in each one the flag that allows them: what is in such a range shows
// where a process has what, to all who read its metrics.
func (c *Config) CheckAddresses(flag string) []error {
	var errs []error
	for i := range c.Memcgs {
		if m := &c.Memcgs[i]; len(m.Regions.Ranges) > 0 {
			r := m.Regions.Ranges[0]
			errs = append(errs, fmt.Errorf("memcgs[%d].regions: %#x-%#x (of %s) is a range of addresses, start with %s to allow that or write the mapping's name", i, r.Start, r.End, printable(m.Path), flag))
		}
	}
	return errs
}
