package collector

import "github.com/prometheus/client_golang/prometheus"

// Heatmap tells what the past windows take that are kept for heatmaps.
type Heatmap struct {
	stats          func() (bytes, omitted int)
	bytes, omitted *family
}

// NewHeatmap returns a Heatmap. Stats tells how many bytes are kept, and how many
// processes have nothing kept for want of room.
func NewHeatmap(stats func() (bytes, omitted int)) *Heatmap {
	return &Heatmap{
		stats: stats,
		bytes: desc("heatmap_bytes",
			"Memory that past windows of processes take, which heatmaps are made of. limits.max_heatmap_bytes bounds it."),
		omitted: desc("heatmap_omitted_processes",
			"Processes with series of their own that have no heatmap, because limits.max_heatmap_bytes has no room for them."),
	}
}

// Describe implements prometheus.Collector.
func (h *Heatmap) Describe(ch chan<- *prometheus.Desc) {
	ch <- h.bytes.Desc
	ch <- h.omitted.Desc
}

// Collect implements prometheus.Collector.
func (h *Heatmap) Collect(ch chan<- prometheus.Metric) {
	bytes, omitted := h.stats()
	e := &emitter{}
	e.gauge(h.bytes, float64(bytes))
	e.gauge(h.omitted, float64(omitted))
	for _, m := range e.metrics {
		ch <- m
	}
}
