package main

import "testing"

func TestGarbageIsTenPercentOrFourMiB(t *testing.T) {
	for _, tc := range []struct {
		live uint64
		want int
	}{
		{0, 100}, {1 << 20, 100}, {4 << 20, 100}, {10 << 20, 40}, {20 << 20, 20}, {40 << 20, 10}, {1 << 40, 10},
	} {
		if got := percentFor(tc.live); got != tc.want {
			t.Errorf("with %d bytes in use the collector is set to %d %%, want %d", tc.live, got, tc.want)
		}
	}
}
