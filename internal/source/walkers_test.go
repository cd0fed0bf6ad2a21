package source

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOtherWalkers(t *testing.T) {
	const kdamonds = "kernel/mm/damon/admin/kdamonds/"
	for name, tc := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"a kernel without DAMON":    {nil, nil},
		"DAMON is there and off":    {map[string]string{kdamonds + "0/state": "off\n", "module/damon_stat/parameters/enabled": "N\n"}, nil},
		"one of two kdamonds is on": {map[string]string{kdamonds + "0/state": "off\n", kdamonds + "1/state": "on\n"}, []string{"damon"}},
		"debugfs says off":          {map[string]string{"kernel/debug/damon/monitor_on": "off\n"}, nil},
		"debugfs says on":           {map[string]string{"kernel/debug/damon/monitor_on": "on\n"}, []string{"damon"}},
		"on, by its later name":     {map[string]string{"kernel/debug/damon/monitor_on_DEPRECATED": "on\n"}, []string{"damon"}},
		"modules are on": {map[string]string{"module/damon_stat/parameters/enabled": "Y\n", "module/damon_reclaim/parameters/enabled": "Y\n"},
			[]string{"damon_reclaim", "damon_stat"}},
	} {
		t.Run(name, func(t *testing.T) {
			sys := t.TempDir()
			for file, text := range tc.files {
				file = filepath.Join(sys, file)
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(tc.want, otherWalkers(sys)); diff != "" {
				t.Errorf("otherWalkers (-want +got):\n%s", diff)
			}
			if r := walkersRequirement(sys); r.Met != (len(tc.want) == 0) || r.Met == (r.Repair != "") {
				t.Errorf("requirement %+v", r)
			}
		})
	}
}
