package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mglru_exporter/internal/config"
	"mglru_exporter/internal/preflight"
)

func works() preflight.Report {
	return preflight.Report{Source: "hooks", Requirements: []preflight.Requirement{{Name: "BTF", Met: true, Detail: "/sys/kernel/btf/vmlinux"}}}
}

func broken() preflight.Report {
	return preflight.Report{Source: "hooks", Requirements: []preflight.Requirement{
		{Name: "root", Met: true},
		{Name: "debugfs", Detail: "not mounted", Repair: "mount -t debugfs none /sys/kernel/debug"},
	}}
}

func TestCheck(t *testing.T) {
	good := write(t, "config.yaml", goodConfig)
	bad := write(t, "config.yaml", "source: x\n")
	old := write(t, "config.yaml", "source: replay\nreplay: {file: ../../internal/recording/testdata/version1.mglru}\nmemcgs: [{path: /a, regions: [/lib/*]}]\n")
	for _, c := range []struct {
		name string
		args []string
		sys  system
		code int
		want string
	}{
		{"all is well", []string{"--config.file=" + good}, fakeSystem(nil, works()), exitOK,
			"config " + good + ": valid, entries for memcgs: 1\n\nsource hooks: works here\n  ok       BTF  /sys/kernel/btf/vmlinux\n"},
		{"no source works", []string{"--config.file=" + good}, fakeSystem(nil, broken()), exitFailure,
			"config " + good + ": valid, entries for memcgs: 1\n\nsource hooks: does not work here, 1 requirement is not met\n  ok       root\n  MISSING  debugfs  not mounted\n           → mount -t debugfs none /sys/kernel/debug\n"},
		{"bad config", []string{"--config.file=" + bad}, fakeSystem(nil, works()), exitFailure,
			"config " + bad + ": not valid\n  " + bad + ":1: source: unknown value \"x\", write one of " + strings.Join(config.Sources(), ", ") + "\n  " + bad + ":1: memcgs: is missing, it has no default\n\nsource hooks: works here\n  ok       BTF  /sys/kernel/btf/vmlinux\n"},
		{"regions of a recording without mappings", []string{"--config.file=" + old}, fakeSystem(nil), exitFailure,
			"config " + old + ": not valid\n  ../../internal/recording/testdata/version1.mglru has no mappings, so memcgs[0].regions (of /a) can select none: leave the key out, or record with this version and a source other than referenced\n\n" +
				"source replay: works here\n  ok       recording  ../../internal/recording/testdata/version1.mglru has 1 passes in 3h0m0s, recorded 2026-11-22T01:02:03Z on Linux 6.1.0 with source hooks\n"},
		{"as JSON", []string{"--config.file=" + good, "--output=json"}, fakeSystem(nil, works()), exitOK, `{
  "ok": true,
  "config": {
    "file": "` + good + `",
    "ok": true,
    "memcgs": 1
  },
  "sources": [
    {
      "source": "hooks",
      "requirements": [
        {
          "name": "BTF",
          "met": true,
          "detail": "/sys/kernel/btf/vmlinux"
        }
      ]
    }
  ]
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
	ok, err := checkCommand{sys: fakeSystem(nil, works()), out: &out, output: "text"}.run(configFile{name: filepath.Join(t.TempDir(), "config.yaml")})
	if !ok || err != nil || !strings.Contains(out.String(), "not there yet") {
		t.Errorf("ok %v, error %v, output:\n%s", ok, err, out.String())
	}
}
