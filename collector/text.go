package collector

import (
	"io"
	"math"
	"strconv"
	"strings"
	"time"
)

// A text is metrics in Prometheus's text format, or in OpenMetrics, which has units,
// and start times for counters. It is what package expfmt would write, without a
// structure in memory for each sample.
type text struct {
	openMetrics bool
	families    map[*family]*section
	order       []*section
	labels      []byte // of the sample being written
}

// A section is what there is of one family.
type section struct {
	name string // of samples
	base string // of _created
	out  []byte
}

func newText(openMetrics bool) *text {
	return &text{openMetrics: openMetrics, families: map[*family]*section{}}
}

// writeTo writes all of the text, in the order in which families came up.
func (t *text) writeTo(w io.Writer) error {
	for f, s := range t.families {
		f.length.Store(int64(len(s.out)))
	}
	for _, s := range t.order {
		if _, err := w.Write(s.out); err != nil {
			return err
		}
	}
	return nil
}

// section finds or begins that of a family.
func (t *text) section(f *family, kind string) *section {
	if s := t.families[f]; s != nil {
		return s
	}
	last := f.length.Load()
	s := &section{out: make([]byte, 0, last+last/8), name: f.name, base: strings.TrimSuffix(f.name, "_total")}
	t.families[f] = s
	t.order = append(t.order, s)
	name, escape := f.name, strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	if t.openMetrics {
		name, escape = s.base, escaped
	}
	s.out = append(s.out, "# HELP "+name+" "+escape.Replace(f.help)+"\n# TYPE "+name+" "+kind+"\n"...)
	if t.openMetrics && f.unit != "" {
		s.out = append(s.out, "# UNIT "+name+" "+f.unit+"\n"...)
	}
	return s
}

func (t *text) gauge(f *family, v float64, labels []string) {
	s := t.section(f, "gauge")
	t.setLabels(f, labels)
	t.sample(s, s.name, "", "")
	s.out = append(t.appendFloat(s.out, v), '\n')
}

func (t *text) counter(f *family, v float64, since time.Time, labels []string) {
	s := t.section(f, "counter")
	t.setLabels(f, labels)
	t.sample(s, s.name, "", "")
	s.out = append(t.appendFloat(s.out, v), '\n')
	t.created(s, since)
}

func (t *text) histogram(f *family, bounds []float64, counts []uint64, sum float64, since time.Time, labels []string) {
	s := t.section(f, "histogram")
	t.setLabels(f, labels)
	if len(counts) == 0 {
		counts = []uint64{0}
		bounds = nil
	}
	var n uint64
	var le [32]byte
	for i, c := range counts {
		n += c
		bound := math.Inf(1)
		if i < len(bounds) {
			bound = bounds[i]
		}
		t.sample(s, s.name, "_bucket", string(t.appendFloat(le[:0], bound)))
		s.out = append(t.appendCount(s.out, n), '\n')
	}
	t.sample(s, s.name, "_sum", "")
	s.out = append(t.appendFloat(s.out, sum), '\n')
	t.sample(s, s.name, "_count", "")
	s.out = append(t.appendCount(s.out, n), '\n')
	t.created(s, since)
}

// created writes when a counter began.
func (t *text) created(s *section, since time.Time) {
	if t.openMetrics && !since.IsZero() {
		t.sample(s, s.base, "_created", "")
		s.out = append(t.appendFloat(s.out, float64(since.UnixNano())/1e9), '\n')
	}
}

// sample writes the name and the labels of a sample, and le unless it is empty.
func (t *text) sample(s *section, name, suffix, le string) {
	s.out = append(append(s.out, name...), suffix...)
	if len(t.labels) > 0 || le != "" {
		s.out = append(append(s.out, '{'), t.labels...)
		if le != "" {
			if len(t.labels) > 0 {
				s.out = append(s.out, ',')
			}
			s.out = append(append(append(s.out, `le="`...), le...), '"')
		}
		s.out = append(s.out, '}')
	}
	s.out = append(s.out, ' ')
}

// setLabels makes the labels of the sample to come.
func (t *text) setLabels(f *family, values []string) {
	t.labels = t.labels[:0]
	for i, name := range f.labels {
		if i > 0 {
			t.labels = append(t.labels, ',')
		}
		t.labels = append(append(t.labels, name...), `="`...)
		v := values[f.place[i]]
		if strings.ContainsAny(v, "\\\"\n") {
			v = escaped.Replace(v)
		}
		t.labels = append(append(t.labels, v...), '"')
	}
}

// escaped is how the value of a label, and help in OpenMetrics, is written.
var escaped = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)

// appendCount writes a number of observations.
func (t *text) appendCount(out []byte, n uint64) []byte {
	if t.openMetrics {
		return strconv.AppendUint(out, n, 10)
	}
	return t.appendFloat(out, float64(n))
}

// appendFloat writes a number, in OpenMetrics one that can be told from a whole one.
func (t *text) appendFloat(out []byte, v float64) []byte {
	switch {
	case math.IsInf(v, 1):
		return append(out, "+Inf"...)
	case v == math.Trunc(v) && math.Abs(v) < 1e6: // most are 0
		out = strconv.AppendInt(out, int64(v), 10)
		if t.openMetrics {
			out = append(out, ".0"...)
		}
		return out
	}
	begin := len(out)
	out = strconv.AppendFloat(out, v, 'g', -1, 64)
	if t.openMetrics && !strings.ContainsAny(string(out[begin:]), "e.") {
		out = append(out, ".0"...)
	}
	return out
}
