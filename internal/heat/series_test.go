package heat

import (
	"math"
	"testing"
)

// TestNativeBuckets compares with Prometheus' definition of a bucket, for all the
// accesses that a region can have.
func TestNativeBuckets(t *testing.T) {
	h := newHistogram([]uint64{0})
	perDoubling := math.Exp2(NativeSchema)
	for v := range uint64(MaxPassesPerWindow*PagesPerRegion + 1) {
		before := append([]uint64(nil), h.Native...)
		h.observe(v)
		for i, n := range h.Native {
			upper := math.Exp2(float64(i-1) / perDoubling)
			lower := math.Exp2(float64(i-2) / perDoubling)
			in := float64(v) > lower && float64(v) <= upper
			if i == 0 {
				in = v == 0
			}
			if got := n - before[i]; in != (got == 1) {
				t.Fatalf("%d counts %d times in element %d, which has (%v, %v]", v, got, i, lower, upper)
			}
		}
	}
}
