package source

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/preflight"
)

func TestOtherWalkers(t *testing.T) {
	const (
		kdamonds = "kernel/mm/damon/admin/kdamonds/"
		debugfs  = "kernel/debug/damon/"
		reclaim  = "module/damon_reclaim/parameters/enabled"
		stat     = "module/damon_stat/parameters/enabled"
	)
	type on struct{ name, by, stop string }
	for name, tc := range map[string]struct {
		files map[string]string
		want  []on
	}{
		"a kernel without DAMON": {nil, nil},
		"DAMON is there and off": {map[string]string{kdamonds + "0/state": "off\n", kdamonds + "0/pid": "-1\n", stat: "N\n"}, nil},
		"one of two kdamonds is on": {
			map[string]string{
				kdamonds + "0/state": "off\n", kdamonds + "1/state": "on\n", kdamonds + "1/pid": "77\n",
				kdamonds + "1/contexts/0/operations": "vaddr\n", kdamonds + "1/contexts/0/targets/0/pid_target": "4711\n",
			},
			[]on{{"damon", "kdamond 1, thread 77, vaddr of process 4711", "echo off > /sys/" + kdamonds + "1/state"}},
		},
		"a kdamond watches physical memory": {
			map[string]string{kdamonds + "0/state": "on\n", kdamonds + "0/contexts/0/operations": "paddr\n", kdamonds + "0/contexts/0/targets/0/pid_target": "0\n"},
			[]on{{"damon", "kdamond 0, paddr", "echo off > /sys/" + kdamonds + "0/state"}},
		},
		"debugfs says off": {map[string]string{debugfs + "monitor_on": "off\n"}, nil},
		"debugfs says on": {map[string]string{debugfs + "monitor_on": "on\n"},
			[]on{{"damon", "started through debugfs", "echo off > /sys/" + debugfs + "monitor_on"}}},
		"on, by its later name": {map[string]string{debugfs + "monitor_on_DEPRECATED": "on\n"},
			[]on{{"damon", "started through debugfs", "echo off > /sys/" + debugfs + "monitor_on_DEPRECATED"}}},
		"debugfs says on for a module, too": {map[string]string{debugfs + "monitor_on": "on\n", reclaim: "Y\n"},
			[]on{{"damon_reclaim", "module", "echo N > /sys/" + reclaim}}},
		"modules are on": {map[string]string{stat: "Y\n", reclaim: "Y\n"}, []on{
			{"damon_reclaim", "module", "echo N > /sys/" + reclaim},
			{"damon_stat", "module", "echo N > /sys/" + stat},
		}},
		"a sample is on": {map[string]string{"module/damon_sample_wsse/parameters/enable": "Y\n"},
			[]on{{"damon_sample_wsse", "module", "echo N > /sys/module/damon_sample_wsse/parameters/enable"}}},
	} {
		t.Run(name, func(t *testing.T) {
			sys := sysWith(t, tc.files)
			var got []on
			for _, w := range activeWalkers(sys) {
				got = append(got, on{w.name, w.by, strings.ReplaceAll(w.stop, sys, "/sys")})
			}
			if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(on{})); diff != "" {
				t.Errorf("active walkers (-want +got):\n%s", diff)
			}
		})
	}
}

// sysWith returns a directory like /sys with these files.
func sysWith(t *testing.T, files map[string]string) string {
	t.Helper()
	sys := t.TempDir()
	for file, text := range files {
		file = filepath.Join(sys, file)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return sys
}

// damonStat is DAMON_STAT as Debian's kernels from 7.2 on have it.
var damonStat = map[string]string{"module/damon_stat/parameters/enabled": "Y\n"}

// TestCheckSaysWhatIsOn: each source's requirement names the walker that is on and
// what it costs there, and how to stop it only if it costs anything.
func TestCheckSaysWhatIsOn(t *testing.T) {
	off, on := sysWith(t, nil), sysWith(t, damonStat)
	const who = "on here: damon_stat (module)"
	stop := "echo N > " + filepath.Join(on, "module/damon_stat/parameters/enabled")
	for unobserved, want := range map[heat.Unobserved]preflight.Requirement{
		heat.UnobservedNone: {Met: true, Detail: who, Note: "nothing is unobserved for it: this source sees what it clears"},
		heat.UnobservedShared: {Met: true, Detail: who,
			Note: "while it is on, memory that several processes map is unobserved instead of cold; to stop it: " + stop},
		heat.UnobservedAll: {Detail: who + "; while it is on, all memory is unobserved: this source cannot see what it clears",
			Repair: stop + "; or use source stock, which sees what it clears"},
	} {
		want.Name = "other walkers of accessed bits"
		if diff := cmp.Diff(want, walkersRequirement(on, unobserved)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", unobserved, diff)
		}
		want := preflight.Requirement{Name: want.Name, Met: true, Detail: "DAMON is off"}
		if diff := cmp.Diff(want, walkersRequirement(off, unobserved)); diff != "" {
			t.Errorf("%s, DAMON off (-want +got):\n%s", unobserved, diff)
		}
	}
}

// TestSourcesNameOtherWalkers: sources that were silent about DAMON report it.
func TestSourcesNameOtherWalkers(t *testing.T) {
	on := sysWith(t, map[string]string{
		"module/damon_stat/parameters/enabled":        "Y\n",
		"kernel/mm/damon/admin/kdamonds/0/state":      "on\n",
		"kernel/mm/damon/admin/kdamonds/1/state":      "on\n",
		"module/damon_lru_sort/parameters/enabled":    "N\n",
		"module/damon_reclaim/parameters/skip_anon":   "Y\n",
		"module/zswap/parameters/enabled":             "Y\n",
		"kernel/mm/damon/admin/kdamonds/nr_kdamonds":  "2\n",
		"kernel/mm/damon/admin/kdamonds/0/contexts/x": "",
	})
	for name, tc := range map[string]struct {
		src        Source
		unobserved heat.Unobserved
	}{
		"stock":      {&Stock{sysRoot: on}, heat.UnobservedNone},
		"referenced": {NewReferenced(t.TempDir(), on), heat.UnobservedShared},
	} {
		want := []heat.Walker{{Name: "damon", Unobserved: tc.unobserved}, {Name: "damon_stat", Unobserved: tc.unobserved}}
		if diff := cmp.Diff(want, tc.src.OtherWalkers()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if got := hooksUnobserved(true); got != heat.UnobservedNone {
		t.Errorf("hooks that see DAMON leave %q unobserved", got)
	}
	if got := hooksUnobserved(false); got != heat.UnobservedAll {
		t.Errorf("hooks that do not see DAMON leave %q unobserved", got)
	}
}

// TestWalkersInRecordings: a name alone, as recordings of before have it, leaves all
// unobserved.
func TestWalkersInRecordings(t *testing.T) {
	for text, w := range map[string]heat.Walker{
		"damon":             {Name: "damon", Unobserved: heat.UnobservedAll},
		"damon_stat none":   {Name: "damon_stat", Unobserved: heat.UnobservedNone},
		"damon_stat shared": {Name: "damon_stat", Unobserved: heat.UnobservedShared},
	} {
		if got := walkerText(w); got != text {
			t.Errorf("%+v is recorded as %q, want %q", w, got, text)
		}
		if got := recordedWalker(text); got != w {
			t.Errorf("%q is played as %+v, want %+v", text, got, w)
		}
	}
	if got := recordedWalker("who knows"); got.Unobserved != heat.UnobservedAll {
		t.Errorf("what a later version may add leaves %q unobserved, want all", got.Unobserved)
	}
}
