package config_test

import (
	"testing"

	"mglru_exporter/internal/config"
)

func TestCheckReload(t *testing.T) {
	const memcgs = "memcgs: [{path: /a}]\n"
	const replay = "source: replay\nreplay: {file: /a.mglru}\n"
	const refused = ": cannot change while the exporter runs, restart it or take the change back"
	for _, tc := range []struct{ name, running, was, is, want string }{
		{"nothing changes", "hooks", "", "", ""},
		{"all else changes", "hooks", "", "aging: {interval: 1s, passes_per_window: 2, cpu_budget: 1, can_swap: false, concurrency: 2}\nheat: {hot_fraction: 1, idle_ages: []}\nlabels: {pid: false}\nlimits: {max_series: 1}\n", ""},
		{"the source that auto found is named", "hooks", "", "source: hooks\n", ""},
		{"another one is named", "hooks", "", "source: stock\n", "source (was auto, now stock)" + refused},
		{"auto might find another one", "stock", "source: stock\n", "", "source (was stock, now auto)" + refused},
		{"a recording that is not played", "hooks", "", "replay: {file: /b.mglru, speed: 2}\n", ""},
		{"the recording that is played", "replay", replay, "source: replay\nreplay: {file: /b.mglru, speed: 2.5}\n",
			"replay.file (was /a.mglru, now /b.mglru), replay.speed (was 1, now 2.5)" + refused},
	} {
		t.Run(tc.name, func(t *testing.T) {
			was, err := config.Parse("was", []byte(tc.was+memcgs))
			if err != nil {
				t.Fatal(err)
			}
			is, err := config.Parse("is", []byte(tc.is+memcgs))
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if err := was.CheckReload(is, tc.running); err != nil {
				got = err.Error()
			}
			if got != tc.want {
				t.Errorf("error %q, want %q", got, tc.want)
			}
		})
	}
}
