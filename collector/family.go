package collector

import (
	"cmp"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// A family describes a metric of ours: what a registry asks, and what its text needs.
type family struct {
	*prometheus.Desc
	name, help, unit string
	// labels are sorted, as in a registry's text; place is where the value of each is
	// among a sample's.
	labels []string
	place  []int
	// length is how long its text was when it was last made, to make room for it.
	length atomic.Int64
}

// desc describes a metric of ours. Its unit is in its name.
func desc(name, help string, labels ...string) *family {
	f := &family{name: prometheus.BuildFQName(namespace, "", name), help: help}
	base := strings.TrimSuffix(f.name, "_total")
	if unit := base[strings.LastIndexByte(base, '_')+1:]; slices.Contains([]string{"bytes", "ratio", "seconds"}, unit) {
		f.unit = unit
	}
	for i := range labels {
		f.place = append(f.place, i)
	}
	slices.SortFunc(f.place, func(i, j int) int { return cmp.Compare(labels[i], labels[j]) })
	for _, i := range f.place {
		f.labels = append(f.labels, labels[i])
	}
	f.Desc = prometheus.V2.NewDesc(f.name, help, prometheus.UnconstrainedLabels(labels), nil, prometheus.WithUnit(f.unit))
	return f
}
