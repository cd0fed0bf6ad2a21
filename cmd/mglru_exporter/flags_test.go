package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestBadFlagsAreNamed: whoever mistypes a value is told of which flag.
func TestBadFlagsAreNamed(t *testing.T) {
	config := "--config.file=" + write(t, "config.yaml", goodConfig)
	file := filepath.Join(t.TempDir(), "out.mglru")
	for _, tc := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"top", "--sort=x"}, exitUsage, "--sort: enum value must be one of cold,hot,resident,unobserved,pid,comm, got 'x', try --help"},
		{[]string{"check", "--output=xml"}, exitUsage, "--output: enum value must be one of text,json, got 'xml', try --help"},
		{[]string{"--log.level=foo"}, exitUsage, "--log.level: unrecognized log level foo, try --help"},
		{[]string{"--web.max-requests=many"}, exitUsage, `--web.max-requests: strconv.ParseFloat: parsing "many": invalid syntax, try --help`},
		{[]string{"check", "--output=json", "--output=json"}, exitUsage, "flag 'output' cannot be repeated, try --help"},
		{[]string{config, "--web.max-requests=-3"}, exitFailure, "--web.max-requests: -3 is below 0, write 0 for any number"},
		{[]string{config, "--web.listen-address=foo:99999"}, exitFailure, "--web.listen-address: listen tcp: address 99999: invalid port"},
		{[]string{config, "--web.max-connections=-1"}, exitFailure, "--web.max-connections: -1 is below 0, write 0 for any number"},
		{[]string{config, "--web.listen-address="}, exitFailure, `--web.listen-address: "" has no port, write for example :9934 or 127.0.0.1:9934`},
		{[]string{config, "--web.listen-address=127.0.0.1:"}, exitFailure, `--web.listen-address: "127.0.0.1:" has no port, write for example :9934 or 127.0.0.1:9934`},
		{[]string{"record", config, "--windows=-1", file}, exitFailure, "--windows: -1 is below 0, write 0 to record until told to stop"},
		{[]string{"record", config, "--duration=-1s", file}, exitFailure, "--duration: -1s is below 0, write 0 to record until told to stop"},
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), tc.args, &stdout, &stderr, fakeSystem(newMonitor()))
		if diff := cmp.Diff([]string{program + ": error: " + tc.want}, complaints(stderr.String())); diff != "" || code != tc.code || stdout.Len() > 0 {
			t.Errorf("%q: exit code %d, want %d, stdout %q, stderr (-want +got):\n%s", tc.args, code, tc.code, stdout.String(), diff)
		}
	}
}

// TestHelpOfServeHasItsFlags, which that of the program leaves out.
func TestHelpOfServeHasItsFlags(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"serve", "--help"}, &stdout, &stderr, fakeSystem(nil)); code != exitOK {
		t.Errorf("exit code %d, stderr %q", code, stderr.String())
	}
	for _, flag := range []string{
		"--config.file", "--log.level", "--log.format", "--web.listen-address", "--web.config.file", "--web.telemetry-path",
		"--[no-]web.disable-exporter-metrics", "--web.max-requests", "--[no-]web.expose-addresses", "--[no-]web.enable-lifecycle", "--web.max-connections",
	} {
		if !strings.Contains(stdout.String(), flag) {
			t.Errorf("no %s in\n%s", flag, stdout.String())
		}
	}
}

// TestRangesOfAddressesAreAllNamed: serve refuses them without its flag, and check,
// which has no such flag, says so.
func TestRangesOfAddressesAreAllNamed(t *testing.T) {
	file := write(t, "config.yaml", "memcgs: [{path: /a, regions: [0x1000-0x2000]}, {path: /b}, {path: /c, regions: [\"[heap]\", 0x3000-0x4000]}]\n")
	ranges := []string{
		"memcgs[0].regions: 0x1000-0x2000 (of /a) is a range of addresses, start with --web.expose-addresses to allow that or write the mapping's name",
		"memcgs[2].regions: 0x3000-0x4000 (of /c) is a range of addresses, start with --web.expose-addresses to allow that or write the mapping's name",
	}
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{"--config.file=" + file}, &stdout, &stderr, fakeSystem(newMonitor()))
	var refused []string
	for _, r := range ranges {
		refused = append(refused, program+": error: "+file+": "+r)
	}
	if diff := cmp.Diff(refused, complaints(stderr.String())); diff != "" || code != exitFailure {
		t.Errorf("serve: exit code %d, stderr (-want +got):\n%s", code, diff)
	}

	code = run(t.Context(), []string{"check", "--config.file=" + file}, &stdout, &stderr, fakeSystem(nil, works()))
	want := "would use hooks (page-exact)\n\nconfig " + file + ": valid, entries for memcgs: 3\n  note: " + ranges[0] + "\n  note: " + ranges[1] + "\n\nsource hooks: works here\n"
	if code != exitOK || !strings.HasPrefix(stdout.String(), want) {
		t.Errorf("check: exit code %d, stdout\n%s\nwant it to begin with\n%s", code, stdout.String(), want)
	}
	stdout.Reset()
	run(t.Context(), []string{"check", "--config.file=" + file, "--output=json"}, &stdout, &stderr, fakeSystem(nil, works()))
	var rep checkReport
	if err := json.Unmarshal(stdout.Bytes(), &rep); err != nil {
		t.Fatal(err)
	}
	if !rep.OK || rep.Config == nil || !slices.Equal(rep.Config.Notes, ranges) {
		t.Errorf("check as JSON: %s", stdout.String())
	}
}
