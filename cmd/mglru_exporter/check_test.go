package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mglru_exporter/internal/config"
	"mglru_exporter/internal/memcg"
	"mglru_exporter/internal/preflight"
)

func works() preflight.Report {
	return preflight.Report{Source: "hooks", Granularity: preflight.Page, Requirements: []preflight.Requirement{{Name: "BTF", Met: true, Detail: "/sys/kernel/btf/vmlinux"}},
		Notes: []string{"a huge page is hot, warm or cold as a whole"}}
}

func broken() preflight.Report {
	return preflight.Report{Source: "hooks", Granularity: preflight.Page, Requirements: []preflight.Requirement{
		{Name: "root", Met: true},
		{Name: "debugfs", Detail: "not mounted", Repair: "mount -t debugfs none /sys/kernel/debug"},
	}}
}

func coarse() preflight.Report {
	return preflight.Report{Source: "referenced", Granularity: preflight.Mapping, Requirements: []preflight.Requirement{{Name: "clear_refs", Met: true}}}
}

const brief = "\n--verbose lists all requirements, and what each source disturbs and cannot see.\n"

func TestCheck(t *testing.T) {
	good := write(t, "config.yaml", goodConfig)
	bad := write(t, "config.yaml", "source: x\n")
	old := write(t, "config.yaml", "source: replay\nreplay: {file: ../../internal/recording/testdata/version1.mglru}\nmemcgs: [{path: /a, regions: [/lib/*]}]\n")
	mapped := write(t, "config.yaml", "source: replay\nreplay: {file: ../../internal/recording/testdata/version2.mglru}\n"+goodConfig)
	valid := "\nconfig " + good + ": valid, entries for memcgs: 1\n\n"
	named := write(t, "config.yaml", "source: hooks\n"+goodConfig)
	stranger := fakeSystem(nil, works())
	stranger.uid = 1000
	elsewhere := fakeSystem(nil, works())
	elsewhere.cgroups = func() ([]memcg.Group, error) {
		return []memcg.Group{{Path: "/"}, {Path: "/b"}, {Path: "/system.slice/db.service"}}, nil
	}
	paths := write(t, "config.yaml", "memcgs: [{path: /db.service}, {path: /b}, {path: /none*}]\n")
	odd := works()
	odd.Notes = []string{"the process a\x1b[2J\u202e\xff is here"}
	for _, c := range []struct {
		name string
		args []string
		sys  system
		code int
		want string
	}{
		{"paths that match no memcg", []string{"--config.file=" + paths}, elsewhere, exitOK,
			"would use hooks (page-exact)\n\nconfig " + paths + ": valid, entries for memcgs: 3\n  note: /db.service matches no memcg now, did you mean /system.slice/db.service?\n  note: /none* matches no memcg now\n\n" +
				"source hooks: works here\n" + brief},
		{"a name that plays tricks", []string{"--config.file=" + good, "--verbose"}, fakeSystem(nil, odd), exitOK,
			"would use hooks (page-exact)\n" + valid + "source hooks: works here\n  ok       BTF  /sys/kernel/btf/vmlinux\n  note     the process a\uFFFD1b[2J\uFFFDe2\uFFFD80\uFFFDae\uFFFDff is here\n"},
		{"page-exact", []string{"--config.file=" + good}, fakeSystem(nil, works(), coarse()), exitOK,
			"would use hooks (page-exact)\n" + valid + "source hooks: works here\nsource referenced: works here\n" + brief},
		{"coarse only", []string{"--config.file=" + good}, fakeSystem(nil, broken(), coarse()), exitCoarse,
			"would use referenced (per mapping); hooks needs one thing: mount -t debugfs none /sys/kernel/debug\n" + valid +
				"source hooks: does not work here, 1 requirement is not met\n  MISSING  debugfs  not mounted\n           → mount -t debugfs none /sys/kernel/debug\n\nsource referenced: works here\n" + brief},
		{"no source works", []string{"--config.file=" + good}, fakeSystem(nil, broken()), exitNoSource,
			"would use none: hooks needs one thing: mount -t debugfs none /sys/kernel/debug\n" + valid +
				"source hooks: does not work here, 1 requirement is not met\n  MISSING  debugfs  not mounted\n           → mount -t debugfs none /sys/kernel/debug\n" + brief},
		{"another source than the config names would work", []string{"--config.file=" + named}, fakeSystem(nil, broken(), coarse()), exitNoSource,
			"would use none: hooks needs one thing: mount -t debugfs none /sys/kernel/debug; with source: auto it would use referenced\n" +
				"\nconfig " + named + ": valid, entries for memcgs: 1\n\n" +
				"source hooks: does not work here, 1 requirement is not met\n  MISSING  debugfs  not mounted\n           → mount -t debugfs none /sys/kernel/debug\n" + brief},
		{"all of it", []string{"--config.file=" + good, "--verbose"}, fakeSystem(nil, works()), exitOK,
			"would use hooks (page-exact)\n" + valid + "source hooks: works here\n  ok       BTF  /sys/kernel/btf/vmlinux\n  note     a huge page is hot, warm or cold as a whole\n"},
		{"another user than root", []string{"--config.file=" + good}, stranger, exitOK,
			"run as uid 1000, not as root: judges the config and the kernel, and what this user may do; run it as root to learn what the exporter may do\n" +
				"would use hooks (page-exact)\n" + valid + "source hooks: works here\n" + brief},
		{"bad config", []string{"--config.file=" + bad}, fakeSystem(nil, works()), exitFailure,
			"would not start: " + bad + " is not valid; once it is, would use hooks (page-exact)\n\nconfig " + bad + ": not valid\n  " + bad + ":1: source: unknown value \"x\", write one of " + strings.Join(config.Sources(), ", ") + "\n  " + bad + ":1: memcgs: is missing, it has no default\n\nsource hooks: works here\n" + brief},
		{"only the config", []string{"--config.file=" + good, "--config-only"}, stranger, exitOK,
			"config " + good + ": valid, entries for memcgs: 1\n"},
		{"only a bad config", []string{"--config.file=" + bad, "--config-only"}, stranger, exitFailure,
			"config " + bad + ": not valid\n  " + bad + ":1: source: unknown value \"x\", write one of " + strings.Join(config.Sources(), ", ") + "\n  " + bad + ":1: memcgs: is missing, it has no default\n"},
		{"a recording", []string{"--config.file=" + mapped}, fakeSystem(nil), exitOK,
			"would use replay (page-exact)\n\nconfig " + mapped + ": valid, entries for memcgs: 1\n\nsource replay: works here\n  ok       recording  ../../internal/recording/testdata/version2.mglru has 1 passes in 3h0m0s, recorded 2026-11-22T01:02:03Z on Linux 6.1.0 with source hooks\n"},
		{"regions of a recording without mappings", []string{"--config.file=" + old}, fakeSystem(nil), exitFailure,
			"would not start: " + old + " is not valid; once it is, would use replay (page-exact)\n\nconfig " + old + ": not valid\n  ../../internal/recording/testdata/version1.mglru has no mappings, so memcgs[0].regions (of /a) can select none: leave the key out, or record with this version and a source other than referenced\n\n" +
				"source replay: works here\n  ok       recording  ../../internal/recording/testdata/version1.mglru has 1 passes in 3h0m0s, recorded 2026-11-22T01:02:03Z on Linux 6.1.0 with source hooks\n"},
		{"as JSON", []string{"--config.file=" + good, "--output=json"}, fakeSystem(nil, broken(), coarse()), exitCoarse, `{
  "ok": true,
  "verdict": {
    "text": "would use referenced (per mapping); hooks needs one thing: mount -t debugfs none /sys/kernel/debug",
    "source": "referenced",
    "granularity": "mapping",
    "better": "hooks",
    "needs": [
      {
        "name": "debugfs",
        "met": false,
        "detail": "not mounted",
        "repair": "mount -t debugfs none /sys/kernel/debug"
      }
    ]
  },
  "config": {
    "file": "` + good + `",
    "ok": true,
    "memcgs": 1
  },
  "sources": [
    {
      "source": "hooks",
      "granularity": "page",
      "requirements": [
        {
          "name": "root",
          "met": true
        },
        {
          "name": "debugfs",
          "met": false,
          "detail": "not mounted",
          "repair": "mount -t debugfs none /sys/kernel/debug"
        }
      ]
    },
    {
      "source": "referenced",
      "granularity": "mapping",
      "requirements": [
        {
          "name": "clear_refs",
          "met": true
        }
      ]
    }
  ]
}
`},
		{"only the config, as JSON", []string{"--config.file=" + good, "--output=json", "--config-only"}, stranger, exitOK, `{
  "ok": true,
  "config": {
    "file": "` + good + `",
    "ok": true,
    "memcgs": 1
  }
}
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := run(t.Context(), append([]string{"check"}, c.args...), &stdout, &stderr, c.sys); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			if diff := cmp.Diff(c.want, stdout.String()); diff != "" {
				t.Errorf("stdout (-want +got):\n%s", diff)
			}
			if stderr.Len() > 0 {
				t.Errorf("stderr: %q", stderr.String())
			}
		})
	}
}

func TestCheckOfANamedConfigThatIsMissingFails(t *testing.T) {
	var stdout, stderr bytes.Buffer
	none := filepath.Join(t.TempDir(), "none.yaml")
	code := run(t.Context(), []string{"check", "--config.file=" + none}, &stdout, &stderr, fakeSystem(nil, works()))
	if code != exitFailure || !strings.Contains(stdout.String(), none+": not valid\n") {
		t.Errorf("exit code %d, stdout:\n%s", code, stdout.String())
	}
}

func TestCheckWithoutAnyConfigIsAboutTheSources(t *testing.T) {
	var out bytes.Buffer
	none := configFile{name: filepath.Join(t.TempDir(), "config.yaml")}
	code, err := checkCommand{sys: fakeSystem(nil, works()), out: &out, output: "text"}.run(none)
	if code != exitOK || err != nil || !strings.Contains(out.String(), "not there yet") {
		t.Errorf("exit code %d, error %v, output:\n%s", code, err, out.String())
	}
	code, err = checkCommand{sys: fakeSystem(nil, works()), out: &out, output: "text", configOnly: true}.run(none)
	if code != exitFailure || err != nil || !strings.Contains(out.String(), "copy config.example.yaml there") {
		t.Errorf("of the config only: exit code %d, error %v, output:\n%s", code, err, out.String())
	}
}
