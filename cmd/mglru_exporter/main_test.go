package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// asCommand makes the test binary the exporter itself, for tests that need a
// process.
const asCommand = "MGLRU_EXPORTER_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	goleak.VerifyTestMain(m)
}

func TestServe(t *testing.T) {
	m := newMonitor()
	url, stop := start(t, fakeSystem(m))
	status, body := get(t, url+"/metrics")
	if status != 200 {
		t.Errorf("status %d", status)
	}
	for _, want := range []string{
		`mglru_hot_bytes{comm="x",memcg="/a",node="0",pid="42",type="anon"} 4096`,
		`mglru_source_info{granularity="page",source="fake"} 1`,
		"mglru_config_last_reload_successful 1", "mglru_config_last_reload_success_timestamp_seconds ",
		"mglru_build_info{", "go_goroutines ", "process_cpu_seconds_total ", "promhttp_metric_handler_requests_total{",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in /metrics", want)
		}
	}
	if status, _ := get(t, url+"/-/ready"); status != 200 {
		t.Errorf("ready: %d", status)
	}
	code, stderr := stop()
	if code != exitOK || strings.Contains(stderr, "error") {
		t.Errorf("exit code %d, stderr:\n%s", code, stderr)
	}
	select {
	case <-m.ended:
	default:
		t.Error("the monitor was not ended")
	}
}

func TestServeWithoutExporterMetrics(t *testing.T) {
	m := newMonitor()
	m.ready = errors.New("no pass has ended yet")
	url, stop := start(t, fakeSystem(m), "serve", "--web.disable-exporter-metrics", "--web.telemetry-path=/heat", "--log.format=logfmt")
	if _, body := get(t, url+"/heat"); strings.Contains(body, "go_") || strings.Contains(body, "promhttp_") || !strings.Contains(body, "mglru_hot_bytes") {
		t.Errorf("metrics:\n%s", body)
	}
	if status, body := get(t, url+"/-/ready"); status != 503 || !strings.Contains(body, "no pass has ended yet") {
		t.Errorf("ready: %d %q", status, body)
	}
	if code, stderr := stop(); code != exitOK {
		t.Errorf("exit code %d, stderr:\n%s", code, stderr)
	}
}

// complaints returns the lines of stderr that are not log records.
func complaints(stderr string) []string {
	var out []string
	for l := range strings.SplitSeq(strings.TrimSpace(stderr), "\n") {
		if !strings.HasPrefix(l, "time=") {
			out = append(out, l)
		}
	}
	return out
}

func TestWhatCannotStartSaysWhyAndEnds(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	busy := l.Addr().String()
	good := write(t, "config.yaml", goodConfig)
	bad := write(t, "config.yaml", "aging: {intervall: 1s}\nmemcgs: []\n")
	badWeb := write(t, "web.yml", "nonsense: 1\n")
	none := filepath.Join(t.TempDir(), "none.yaml")
	ranges := write(t, "config.yaml", "memcgs: [{path: /a, regions: [0x1000-0x2000]}]\n")
	replay := func(recording, regions string) string {
		return write(t, "config.yaml", "source: replay\nreplay: {file: "+recording+"}\nmemcgs: [{path: /**}, {path: /a, regions: ["+regions+"]}]\n")
	}
	const old, guest = "../../internal/recording/testdata/version1.mglru", "../../internal/recording/testdata/version2.mglru"
	free := "--web.listen-address=127.0.0.1:0"

	for _, c := range []struct {
		name string
		args []string
		sys  system
		code int
		want []string
	}{
		{"unknown flag", []string{"--nope"}, fakeSystem(newMonitor()), exitUsage,
			[]string{"error: unknown long flag '--nope', try --help"}},
		{"unknown command", []string{"sevre"}, fakeSystem(newMonitor()), exitUsage,
			[]string{"error: unexpected sevre, try --help"}},
		{"bad log level", []string{"--log.level=loud"}, fakeSystem(newMonitor()), exitUsage,
			[]string{`loud`}},
		{"named config missing", []string{"--config.file=" + none}, fakeSystem(newMonitor()), exitFailure,
			[]string{"error: config file " + none + ": file does not exist"}},
		{"a name that plays tricks", []string{"--config.file=/none\x1b[2J\u202e\xff"}, fakeSystem(newMonitor()), exitFailure,
			[]string{"error: config file /none\uFFFD1b[2J\uFFFDe2\uFFFD80\uFFFDae\uFFFDff: file does not exist"}},
		{"config is a directory", []string{"--config.file=" + filepath.Dir(good)}, fakeSystem(newMonitor()), exitFailure,
			[]string{"error: read config: read " + filepath.Dir(good) + ": is a directory"}},
		{"two mistakes in the config", []string{"--config.file=" + bad}, fakeSystem(newMonitor()), exitFailure,
			[]string{"error: " + bad + ":1: aging.intervall: unknown key, did you mean interval?", "error: " + bad + ":2: memcgs: names no memcg"}},
		{"a range of addresses", []string{"--config.file=" + ranges, free}, fakeSystem(newMonitor()), exitFailure,
			[]string{"error: " + ranges + ": memcgs[0].regions: 0x1000-0x2000 (of /a) is a range of addresses, start with --web.expose-addresses"}},
		{"regions of a recording without mappings", []string{"--config.file=" + replay(old, "/lib/*"), free}, host(), exitFailure,
			[]string{"error: " + old + " has no mappings, so memcgs[1].regions (of /a) can select none"}},
		{"ranges of a recording without addresses", []string{"--config.file=" + replay(guest, "0x1000-0x2000"), "--web.expose-addresses", free}, host(), exitFailure,
			[]string{"error: " + guest + " does not tell addresses, so memcgs[1].regions (of /a) cannot have a range"}},
		{"bad web config", []string{"--config.file=" + good, "--web.config.file=" + badWeb}, fakeSystem(newMonitor()), exitFailure,
			[]string{"error: web config file " + badWeb}},
		{"bad telemetry path", []string{"--config.file=" + good, "--web.telemetry-path=metrics"}, fakeSystem(newMonitor()), exitFailure,
			[]string{`error: telemetry path "metrics" does not begin with a slash`}},
		{"a recording that is not there", []string{"--config.file=" + replay(none, "/lib/*"), free}, host(), exitFailure,
			[]string{"error: open the recording: open " + none + ": no such file or directory"}},
		{"port in use", []string{"--config.file=" + good, "--web.listen-address=" + busy}, fakeSystem(newMonitor()), exitFailure,
			[]string{"error: --web.listen-address: listen tcp " + busy + ": bind: address already in use"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := run(t.Context(), c.args, &stdout, &stderr, c.sys); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			got := complaints(stderr.String())
			// The parser of web config files explains itself on two lines.
			if len(got) != len(c.want) && c.name != "bad web config" {
				t.Fatalf("stderr:\n%s\nwant %d lines", stderr.String(), len(c.want))
			}
			for i, want := range c.want {
				if !strings.HasPrefix(got[i], program+": ") || !strings.Contains(got[i], want) {
					t.Errorf("line %d: %q, want %q in it", i, got[i], want)
				}
			}
			if stdout.Len() > 0 {
				t.Errorf("stdout: %q, want nothing", stdout.String())
			}
		})
	}
}

func TestMissingDefaultConfigSaysHowToMakeOne(t *testing.T) {
	_, err := configFile{name: filepath.Join(t.TempDir(), "config.yaml")}.load()
	if err == nil || !strings.Contains(err.Error(), "copy config.example.yaml there or name another with --config.file") {
		t.Error(err)
	}
}

func TestAPanicOfAServiceEndsTheOthersInOrder(t *testing.T) {
	ended := false
	err := together(t.Context(), slog.New(slog.DiscardHandler),
		func(context.Context) error { panic("oh") },
		func(ctx context.Context) error {
			<-ctx.Done()
			ended = true
			return nil
		})
	if err == nil || !strings.Contains(err.Error(), "internal error: oh") || !ended {
		t.Errorf("error %v, other service ended: %v", err, ended)
	}
}

func TestVersionAndHelp(t *testing.T) {
	for arg, want := range map[string]string{"--version": "mglru_exporter, version", "--help": "--config.file"} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), []string{arg}, &stdout, &stderr, fakeSystem(nil))
		if code != exitOK || !strings.Contains(stdout.String(), want) || stderr.Len() > 0 {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q", arg, code, stdout.String(), stderr.String())
		}
	}
}
