package config

import (
	"fmt"
	"time"

	"gopkg.in/yaml.v3"

	"mglru_exporter/internal/heat"
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
		{name: "referenced", sub: []field{
			{name: "max_process", decode: d.size(&c.Referenced.MaxProcess, 0)},
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
			{name: "max_memcgs", decode: d.wholeInt(&c.Limits.MaxMemcgs, 1, 1<<20)},
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
