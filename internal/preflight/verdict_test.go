package preflight_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mglru_exporter/internal/preflight"
)

// source returns a report of a source that lacks what has these repairs.
func source(name, granularity string, repairs ...string) preflight.Report {
	r := preflight.Report{Source: name, Granularity: granularity, Requirements: []preflight.Requirement{{Name: "root", Met: true}}}
	for _, repair := range repairs {
		r.Requirements = append(r.Requirements, preflight.Requirement{Name: "needs " + repair, Detail: "is not so", Repair: repair})
	}
	return r
}

func TestJudge(t *testing.T) {
	const patch = "boot a kernel built with the series in kernel-patches/"
	hooks := source("hooks", preflight.Page, "echo 0x7", patch, patch)
	off := source("stock", preflight.Page, "echo 0x3")
	off.Requirements[1].Effect = "switches this host's reclaim to MGLRU"
	for _, tc := range []struct {
		name    string
		reports []preflight.Report
		want    preflight.Verdict
	}{
		{"the first that works", []preflight.Report{hooks, source("stock", preflight.Page), source("referenced", preflight.Mapping)},
			preflight.Verdict{Text: "would use stock (page-exact)", Source: "stock", Granularity: "page"}},
		{"one command makes it page-exact", []preflight.Report{hooks, off, source("referenced", preflight.Mapping)},
			preflight.Verdict{Text: "would use referenced (per mapping); stock needs one thing: echo 0x3, which switches this host's reclaim to MGLRU",
				Source: "referenced", Granularity: "mapping", Better: "stock", Needs: off.Requirements[1:]}},
		{"another kernel makes it page-exact", []preflight.Report{hooks, source("stock", preflight.Page, "mount debugfs", "boot 6.1"), source("referenced", preflight.Mapping)},
			preflight.Verdict{Text: "would use referenced (per mapping); hooks needs another kernel, and 1 more: " + patch,
				Source: "referenced", Granularity: "mapping", Better: "hooks", Needs: hooks.Requirements[1:3]}},
		{"nothing makes it page-exact", []preflight.Report{source("stock", preflight.Page, "", "echo 0x3"), source("referenced", preflight.Mapping)},
			preflight.Verdict{Text: "would use referenced (per mapping)", Source: "referenced", Granularity: "mapping"}},
		{"none works, and commands are less than a kernel", []preflight.Report{source("hooks", preflight.Page, patch), source("stock", preflight.Page, "echo 0x3", "mount debugfs"), source("referenced", preflight.Mapping, "run as root", "mount proc", "mount sysfs")},
			preflight.Verdict{Text: "would use none: stock needs 2 things: echo 0x3; mount debugfs", Source: "none", Granularity: "none",
				Better: "stock", Needs: source("stock", preflight.Page, "echo 0x3", "mount debugfs").Requirements[1:]}},
		{"none works without another kernel", []preflight.Report{source("hooks", preflight.Page, patch, "echo 0x7")},
			preflight.Verdict{Text: "would use none: hooks needs another kernel, and 1 more: " + patch, Source: "none", Granularity: "none",
				Better: "hooks", Needs: source("hooks", preflight.Page, patch, "echo 0x7").Requirements[1:]}},
		{"none but a coarse one can work", []preflight.Report{source("stock", preflight.Page, "echo 0x3", "mount\ndebugfs"), source("referenced", preflight.Mapping, "run as root")},
			preflight.Verdict{Text: "would use none: referenced needs one thing: run as root", Source: "none", Granularity: "none",
				Better: "referenced", Needs: []preflight.Requirement{{Name: "needs run as root", Detail: "is not so", Repair: "run as root"}}}},
		{"two things, each on one line", []preflight.Report{source("stock", preflight.Page, "echo 0x3", "mount\ndebugfs")},
			preflight.Verdict{Text: "would use none: stock needs 2 things: echo 0x3; mount debugfs", Source: "none", Granularity: "none",
				Better: "stock", Needs: source("stock", preflight.Page, "echo 0x3", "mount\ndebugfs").Requirements[1:]}},
		{"nothing is known", nil, preflight.Verdict{Text: "would use none", Source: "none", Granularity: "none"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, preflight.Judge(tc.reports)); diff != "" {
				t.Errorf("verdict (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWriteBriefShowsWhatMatters(t *testing.T) {
	patch := "boot a patched kernel"
	stock := source("stock", preflight.Page, "echo 0x3")
	stock.Requirements[1].Effect = "switches this host's reclaim to MGLRU"
	used := source("referenced", preflight.Mapping)
	used.Requirements = append(used.Requirements, preflight.Requirement{Name: "memory cgroups", Met: true, Detail: "cgroup v2", Note: "only a part is seen"})
	used.Notes = []string{"it disturbs"}
	reports := []preflight.Report{source("hooks", preflight.Page, "echo 0x7", patch, patch), stock, used}
	const want = `source hooks: does not work here, 3 requirements are not met: boot a patched kernel

source stock: does not work here, 1 requirement is not met
  MISSING  needs echo 0x3  is not so
           → echo 0x3, which switches this host's reclaim to MGLRU

source referenced: works here
  ok       memory cgroups  cgroup v2
  note     only a part is seen
`
	var b strings.Builder
	if err := preflight.WriteBrief(&b, reports, preflight.Judge(reports)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("brief (-want +got):\n%s", diff)
	}
}
