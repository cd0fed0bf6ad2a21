package collector

import (
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// An emitter collects metrics, or writes their text. What cannot be made into a metric
// becomes an error of the scrape, which leaves the other metrics alone.
type emitter struct {
	metrics []prometheus.Metric
	text    *text // nil for metrics
	// counting has it count what there would be, and make nothing.
	counting bool
	counted  room
}

// count counts series with these labels.
func (e *emitter) count(series int, labels []string) {
	e.counted.series += int64(series)
	for _, l := range labels {
		e.counted.bytes += int64(series * len(l))
	}
}

// starts is how many series say when a counter began.
func starts(since time.Time) int {
	if since.IsZero() {
		return 0
	}
	return 1
}

func (e *emitter) gauge(f *family, v float64, labels ...string) {
	if e.counting {
		e.count(1, labels)
		return
	}
	if e.text != nil {
		e.text.gauge(f, v, labels)
		return
	}
	e.add(f)(prometheus.NewConstMetric(f.Desc, prometheus.GaugeValue, v, labels...))
}

// counter takes when the counter began, zero where that is not known.
func (e *emitter) counter(f *family, v float64, since time.Time, labels ...string) {
	switch {
	case e.counting:
		e.count(1+starts(since), labels)
	case e.text != nil:
		e.text.counter(f, v, since, labels)
	case since.IsZero():
		e.add(f)(prometheus.NewConstMetric(f.Desc, prometheus.CounterValue, v, labels...))
	default:
		e.add(f)(prometheus.NewConstMetricWithCreatedTimestamp(f.Desc, prometheus.CounterValue, v, since, labels...))
	}
}

// histogram takes counts that are not cumulative: one for each bound, and one
// for what is above all bounds.
func (e *emitter) histogram(f *family, bounds []float64, counts []uint64, sum float64, since time.Time, labels ...string) {
	if e.counting {
		e.count(max(1, len(counts))+2+starts(since), labels)
		return
	}
	if e.text != nil {
		e.text.histogram(f, bounds, counts, sum, since, labels)
		return
	}
	buckets := make(map[float64]uint64, len(bounds))
	var n uint64
	for i, c := range counts {
		n += c
		if i < len(bounds) {
			buckets[bounds[i]] = n
		}
	}
	if since.IsZero() {
		e.add(f)(prometheus.NewConstHistogram(f.Desc, n, sum, buckets, labels...))
		return
	}
	e.add(f)(prometheus.NewConstHistogramWithCreatedTimestamp(f.Desc, n, sum, buckets, since, labels...))
}

func (e *emitter) add(f *family) func(prometheus.Metric, error) {
	return func(m prometheus.Metric, err error) {
		if err != nil {
			m = prometheus.NewInvalidMetric(f.Desc, err)
		}
		e.metrics = append(e.metrics, m)
	}
}

// byReason emits a counter for each key of a map, in their order. They are many and all
// there from 0 on, so they have no start.
func (e *emitter) byReason(f *family, counts map[string]uint64, labels ...string) {
	for _, reason := range slices.Sorted(maps.Keys(counts)) {
		e.counter(f, float64(counts[reason]), time.Time{}, append(slices.Clip(labels), reason)...)
	}
}
