package main

import (
	"fmt"
	"testing"
)

// TestMaxSeriesHolds at the start, and from a reload on.
func TestMaxSeriesHolds(t *testing.T) {
	config := func(most int) string { return goodConfig + fmt.Sprintf("limits: {max_series: %d}\n", most) }
	file := write(t, "config.yaml", config(1))
	url, stop := start(t, fakeSystem(newMonitor()), "--web.enable-lifecycle", "--config.file="+file)
	for i, tc := range []struct{ most, want int }{{1, 0}, {100, 1}, {1, 0}} {
		if i > 0 {
			rewrite(t, file, config(tc.most))
			if status, body := post(t, url+"/-/reload"); status != 200 {
				t.Fatal(body)
			}
		}
		if got := samples(t, url, "mglru_hot_bytes{"); len(got) != tc.want {
			t.Errorf("limits.max_series %d: %q, want %d series of the one process", tc.most, got, tc.want)
		}
	}
	if code, stderr := stop(); code != exitOK {
		t.Errorf("exit code %d, stderr:\n%s", code, stderr)
	}
}
