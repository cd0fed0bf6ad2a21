package web_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"mglru_exporter/collector"
	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/web"
)

const openMetrics = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"

// scrape returns what a client that accepts such gets, decompressed.
func scrape(t *testing.T, h http.Handler, path, accept string, zip bool) (header http.Header, body string) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	if zip {
		r.Header.Set("Accept-Encoding", "gzip")
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	var in io.Reader = w.Body
	if zip {
		z, err := gzip.NewReader(in)
		if err != nil {
			t.Fatal(err)
		}
		z.Multistream(false) // some clients read no second stream
		in = z
	}
	b, err := io.ReadAll(in)
	if err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d %v", w.Code, err)
	}
	if w.Body.Len() > 0 {
		t.Errorf("%d bytes after the end", w.Body.Len())
	}
	return w.Header(), string(b)
}

// seriesOf are those of a snapshot.
func seriesOf(snap func() *heat.Snapshot) func() web.Series {
	c := collector.New(snap, collector.Options{LabelPID: true, LabelComm: true})
	return func() web.Series { return c.Page() }
}

// TestFormatsAndEncodings: what is kept of a snapshot and what is gathered each time make
// one answer in each format, compressed or not, and one that a parser takes.
func TestFormatsAndEncodings(t *testing.T) {
	snap := manyProcesses(300)
	o := options()
	o.Series = seriesOf(func() *heat.Snapshot { return snap })
	own := prometheus.NewCounter(prometheus.CounterOpts{Name: "own_total", Help: "Own."})
	o.Registry.MustRegister(own)
	h := server(t, o).Handler()
	for _, c := range []struct{ accept, kind, want, not string }{
		{"", "text/plain; version=0.0.4", "# TYPE mglru_hot_bytes gauge\nmglru_hot_bytes{", "_created"},
		{openMetrics, "application/openmetrics-text; version=1.0.0", "# UNIT mglru_hot_bytes bytes\nmglru_hot_bytes{", "\n# EOF\n\n"},
		{"application/openmetrics-text;version=0.0.1", "application/openmetrics-text; version=0.0.1", "own_created ", ""},
		{"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited", "application/vnd.google.protobuf", "mglru_hot_bytes", ""},
		{"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text", "text/plain; version=0.0.4", "mglru_hot_bytes", ""},
	} {
		own.Inc()
		header, plain := scrape(t, h, "/metrics", c.accept, false)
		_, zipped := scrape(t, h, "/metrics", c.accept, true)
		if plain != zipped {
			t.Errorf("%s: compressed it is another text", c.accept)
		}
		if kind := header.Get("Content-Type"); !strings.HasPrefix(kind, c.kind) {
			t.Errorf("%s: Content-Type %q, want %q", c.accept, kind, c.kind)
		}
		if !strings.Contains(plain, c.want) || c.not != "" && strings.Contains(plain, c.not) || !strings.Contains(plain, "own_total") {
			t.Errorf("%s: want %q and own_total, not %q, in\n%.2000s", c.accept, c.want, c.not, plain)
		}
		if strings.HasPrefix(c.accept, "application/openmetrics") && !strings.HasSuffix(plain, "\n# EOF\n") {
			t.Errorf("%s: ends with %q", c.accept, plain[max(0, len(plain)-20):])
		}
		if strings.HasPrefix(c.kind, "text") {
			parser := expfmt.NewTextParser(model.UTF8Validation)
			if _, err := parser.TextToMetricFamilies(strings.NewReader(plain)); err != nil {
				t.Errorf("%s: %v", c.accept, err)
			}
		}
		if vary := header.Values("Vary"); len(vary) != 2 {
			t.Errorf("%s: Vary %q", c.accept, vary)
		}
	}
	if _, body := scrape(t, h, "/metrics?name[]=own_total&name[]=mglru_source_info", "", true); strings.Count(body, "# TYPE") != 2 || !strings.Contains(body, "own_total 5") {
		t.Errorf("two by name: %q", body)
	}
}

// counted counts how often its text was made.
type counted struct {
	*collector.Page
	texts *int
}

func (c counted) WriteText(w io.Writer, openMetrics bool) error {
	*c.texts++
	return c.Page.WriteText(w, openMetrics)
}

// TestScrapesOfOneSnapshotAreEncodedOnce, and are the same to the byte.
func TestScrapesOfOneSnapshotAreEncodedOnce(t *testing.T) {
	snap, texts := manyProcesses(50), 0
	c := collector.New(func() *heat.Snapshot { return snap }, collector.Options{LabelPID: true})
	o := options()
	o.Series = func() web.Series { return counted{c.Page(), &texts} }
	h := server(t, o).Handler()
	_, first := scrape(t, h, "/metrics", openMetrics, true)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, again := scrape(t, h, "/metrics", openMetrics, true); again != first {
				t.Error("two scrapes of one snapshot differ")
			}
		})
	}
	wg.Wait()
	if texts != 1 {
		t.Errorf("the text was made %d times, want once", texts)
	}
	snap = manyProcesses(51)
	if _, other := scrape(t, h, "/metrics", openMetrics, true); other == first || texts != 2 {
		t.Errorf("another snapshot: the same text: %v, made %d times", other == first, texts)
	}
}

// TestEncodedFormsAreFew: who asks for one form after the other makes the exporter work,
// but not keep them all.
func TestEncodedFormsAreFew(t *testing.T) {
	snap, texts := manyProcesses(10), 0
	c := collector.New(func() *heat.Snapshot { return snap }, collector.Options{LabelPID: true})
	o := options()
	o.Series = func() web.Series { return counted{c.Page(), &texts} }
	h := server(t, o).Handler()
	for range 2 {
		for _, accept := range []string{"", openMetrics} {
			for _, zip := range []bool{false, true} {
				scrape(t, h, "/metrics", accept, zip)
			}
		}
	}
	if texts != 8 { // the oldest of two goes first
		t.Errorf("the text was made %d times, want 8 if two forms are kept", texts)
	}
}

// aborted is a client that has gone.
type aborted struct{ http.ResponseWriter }

func (aborted) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

// TestAnAbortedScrapeLogsOneLine, not one for each family.
func TestAnAbortedScrapeLogsOneLine(t *testing.T) {
	snap := manyProcesses(300)
	for _, own := range []bool{false, true} {
		for _, path := range []string{"/metrics", "/metrics?name[]=mglru_hot_bytes&name[]=mglru_cold_bytes"} {
			var log bytes.Buffer
			o := options()
			o.Log = slog.New(slog.NewTextHandler(&log, nil))
			o.Registry.MustRegister(gauge(1), prometheus.NewGauge(prometheus.GaugeOpts{Name: "other"}))
			if !own {
				o.Series = seriesOf(func() *heat.Snapshot { return snap })
			}
			server(t, o).Handler().ServeHTTP(aborted{httptest.NewRecorder()}, httptest.NewRequest(http.MethodGet, path, nil))
			if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), "broken pipe") {
				t.Errorf("%s: %d lines, want one:\n%s", path, n, log.String())
			}
		}
	}
}

// manyProcesses is a snapshot of so many processes in one memcg each.
func manyProcesses(n int) *heat.Snapshot { return fleet(n, 1) }
