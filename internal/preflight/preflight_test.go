package preflight_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mglru_exporter/internal/preflight"
)

func reports() []preflight.Report {
	return []preflight.Report{
		{Source: "hooks", Requirements: []preflight.Requirement{
			{Name: "root", Met: true, Detail: "uid 0", Repair: "run it as root"},
			{Name: "debugfs", Detail: "/sys/kernel/debug is not mounted", Repair: "mount -t debugfs none /sys/kernel/debug"},
			{Name: "MGLRU switched on", Detail: "lru_gen/enabled is 0x0000", Repair: "echo y >/sys/kernel/mm/lru_gen/enabled\n# and at every boot"},
		}},
		{Source: "stock", Granularity: preflight.Page, Requirements: []preflight.Requirement{{Name: "BTF", Met: true}}},
		{Source: "replay"},
	}
}

func TestWriteNamesEachRepairBelowWhatIsMissing(t *testing.T) {
	const want = `source hooks: does not work here, 2 requirements are not met
  ok       root               uid 0
  MISSING  debugfs            /sys/kernel/debug is not mounted
           → mount -t debugfs none /sys/kernel/debug
  MISSING  MGLRU switched on  lru_gen/enabled is 0x0000
           → echo y >/sys/kernel/mm/lru_gen/enabled
             # and at every boot

source stock: works here
  ok       BTF

source replay: nothing is known of it
`
	var b strings.Builder
	if err := preflight.Write(&b, reports()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

func TestOKNeedsEveryRequirement(t *testing.T) {
	var got []bool
	for _, r := range reports() {
		got = append(got, r.OK())
	}
	if diff := cmp.Diff([]bool{false, true, false}, got); diff != "" {
		t.Errorf("OK (-want +got):\n%s", diff)
	}
}

func TestReportAsJSON(t *testing.T) {
	got, err := json.Marshal(reports()[1])
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"source":"stock","granularity":"page","requirements":[{"name":"BTF","met":true}]}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("JSON (-want +got):\n%s", diff)
	}
}
