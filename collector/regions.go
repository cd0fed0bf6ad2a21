package collector

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"mglru_exporter/internal/heat"
)

// regions is how often the regions of a process are accessed.
type regions struct {
	accesses *family
}

func newRegions(area []string) regions {
	return regions{
		accesses: desc("region_accesses",
			"Accesses of each 2 MiB region in each window: how many pages were found accessed through a mapping, added up over the window's passes, so 0 is an untouched region and 512 times the passes one that is touched all over all the time. Regions are observed once a window; a rate over less than a window is 0. Has the buckets of heat.region_buckets and, for Prometheus that asks, those of a native histogram. Absent where the source sees whole mappings only.", area...),
	}
}

func (g regions) descs() []*family { return []*family{g.accesses} }

func (g regions) emit(e *emitter, r *row) {
	var bounds []float64
	for i := range r.areas {
		a := &r.areas[i]
		h := &a.Accesses
		if len(h.Counts) == 0 { // the source sees no regions
			continue
		}
		bounds = bounds[:0]
		for _, b := range h.Bounds {
			bounds = append(bounds, float64(b))
		}
		e.histogram(g.accesses, bounds, h.Counts, float64(h.Sum), h.Since, r.areaLabels(a)...)
		if last := len(e.metrics) - 1; last >= 0 && len(h.Native) > 0 {
			e.metrics[last] = withNative(e.metrics[last], g.accesses, h, r.areaLabels(a))
		}
	}
}

// withNative gives a classic histogram native buckets beside its own. Prometheus
// asks for them in the protobuf format; the text format has no room for them.
func withNative(classic prometheus.Metric, d *family, h *heat.Histogram, labels []string) prometheus.Metric {
	buckets := map[int]int64{}
	for i, n := range h.Native[1:] {
		if n > 0 {
			buckets[i] = int64(n)
		}
	}
	native, err := prometheus.NewConstNativeHistogram(d.Desc, h.Count(), float64(h.Sum), buckets, nil, h.Native[0],
		heat.NativeSchema, prometheus.DefNativeHistogramZeroThreshold, time.Time{}, labels...)
	if err != nil {
		return prometheus.NewInvalidMetric(d.Desc, err)
	}
	return bothHistograms{classic, native}
}

// bothHistograms is a histogram's classic form with the buckets of the native one.
type bothHistograms struct {
	prometheus.Metric
	native prometheus.Metric
}

// Write implements prometheus.Metric.
func (b bothHistograms) Write(out *dto.Metric) error {
	var native dto.Metric
	if err := errors.Join(b.Metric.Write(out), b.native.Write(&native)); err != nil {
		return err
	}
	h, n := out.GetHistogram(), native.GetHistogram()
	h.Schema, h.ZeroThreshold, h.ZeroCount = n.Schema, n.ZeroThreshold, n.ZeroCount
	h.PositiveSpan, h.PositiveDelta = n.PositiveSpan, n.PositiveDelta
	return nil
}

// regionSeries is the number of series of a histogram: its buckets, the one
// above all bounds, its sum, its count and its start; 0 where there is none.
func regionSeries(h *heat.Histogram) uint64 {
	if len(h.Counts) == 0 {
		return 0
	}
	return uint64(len(h.Bounds)) + 4
}
