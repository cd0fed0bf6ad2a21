package top

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"mglru_exporter/internal/api"
)

func TestClientAsksForWhatIsWanted(t *testing.T) {
	e := &fakeExporter{processes: shop(), heatmap: memcached(60)}
	c := e.client(t)
	c.base.Path = "/behind/a/proxy/"
	c.http.Transport = direct{http.StripPrefix("/behind/a/proxy", e)}
	a := c.ask(t.Context(), query{search: "a&b", sort: "hot", limit: 7}, nil)
	if a.err != nil || len(a.processes.Processes) != 6 || !a.at.Equal(noon().Add(10*time.Second)) {
		t.Errorf("processes: %+v", a)
	}
	a = c.ask(t.Context(), query{pid: 1234, rows: 32, windows: 9, from: 64, to: 128}, nil)
	if a.err != nil || len(a.heatmap.Columns) != 9 || a.heatmap.From != 64 {
		t.Errorf("heatmap: %+v", a)
	}
	want := []string{
		"/api/v1/processes?limit=7&search=a%26b&sort=hot",
		"/api/v1/processes/1234/heatmap?from=64&rows=32&to=128&windows=9",
	}
	for i, got := range e.questions() {
		if got != want[i] {
			t.Errorf("asked %s, want %s", got, want[i])
		}
	}
}

func TestHeatmapIsAskedForAgainOnlyAfterANewWindow(t *testing.T) {
	e := &fakeExporter{processes: shop(), heatmap: memcached(60)}
	c := e.client(t)
	q := query{pid: 1234, rows: 32, windows: 60}
	first := c.ask(t.Context(), q, nil)
	second := c.ask(t.Context(), q, first.heatmap)
	if second.err != nil || second.heatmap != first.heatmap {
		t.Errorf("asked for the same window again: %v", e.questions())
	}
	e.heatmap = later(time.Minute)
	third := c.ask(t.Context(), q, first.heatmap)
	if third.err != nil || third.heatmap == first.heatmap || len(third.heatmap.Rows) != 32 {
		t.Errorf("did not ask for the new window: %v", e.questions())
	}
	e.heatmap = nil
	if a := c.ask(t.Context(), q, first.heatmap); a.err == nil {
		t.Error("no error of a process that is gone")
	}
}

func TestURLs(t *testing.T) {
	for _, bad := range []string{"", "127.0.0.1:9934", "localhost:9934", "ftp://host", "http://", "http://%zz", "unix:///run/x\x1b"} {
		if _, err := NewClient(bad, http.DefaultClient); err == nil || !strings.Contains(err.Error(), "http://127.0.0.1:9934") || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	c, err := NewClient("https://user:secret@host:1/prefix/?x#y", http.DefaultClient)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.URL(), "https://user:xxxxx@host:1/prefix"; got != want {
		t.Errorf("URL %s, want %s", got, want)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	none, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + none.Addr().String()
	none.Close()
	serve := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	// raw answers with bytes that are no server's of ours.
	raw := func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 401 \x1b]0;evil\x07\r\nContent-Length: 0\r\n\r\n")
		_ = conn.Close()
	}
	// over lists processes, and has something else under them.
	over := func(body string) http.Handler {
		mux := http.NewServeMux()
		mux.Handle(api.ProcessesPath, &fakeExporter{processes: shop()})
		mux.HandleFunc("/", serve(200, body))
		return mux
	}
	plain := func(h http.Handler) string {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		return s.URL
	}
	tls := httptest.NewUnstartedServer(serve(200, "{}"))
	tls.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that do not trust it
	tls.StartTLS()
	t.Cleanup(tls.Close)
	uneven := gaussian(4, 2)
	uneven.Columns[1].Idle = uneven.Columns[1].Idle[:3]
	unevenJSON, err := json.Marshal(uneven)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, url string
		pid       int
		want      []string
	}{
		{"nobody there", nobody, 0, []string{nobody + ": ", "connection refused", "is an mglru_exporter running there?", "--url"}},
		{"needs authentication", plain(serve(401, "Unauthorized")), 0, []string{"401 Unauthorized", "--http.config.file", "basic_auth"}},
		{"needs more than text", plain(http.HandlerFunc(raw)), 0, []string{"401 \ufffd]0;evil\ufffd; say who you are"}},
		{"no certificate that is trusted", tls.URL, 0, []string{"x509", "tls_config of --http.config.file"}},
		{"TLS is not spoken", strings.Replace(plain(serve(200, "")), "http:", "https:", 1), 0, []string{"begin --url with http://"}},
		{"TLS is spoken", strings.Replace(tls.URL, "https:", "http:", 1), 0, []string{"begin --url with https://"}},
		{"something else", plain(serve(200, "<html>\x1b")), 0, []string{"no JSON of the API", "--url"}},
		{"another exporter", plain(serve(404, "404 page not found")), 0, []string{"404 Not Found", "does --url name an mglru_exporter"}},
		{"says why", plain(serve(404, `{"error":"no process 7:\u001b[2J\n another"}`)), 7, []string{": no process 7:�[2J� another"}},
		{"lists of several lengths", plain(over(string(unevenJSON))), 1234, []string{"has 4 rows, and a window with 3 values"}},
		{"ends too early", plain(over(`{"rows":[`)), 7, []string{"no JSON of the API: unexpected EOF"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, err := NewClient(c.url, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}})
			if err != nil {
				t.Fatal(err)
			}
			o := options(client, Palette{})
			o.PID = c.pid
			for name, err := range map[string]error{"once": Once(t.Context(), io.Discard, o, 80, 24), "run": Run(t.Context(), o)} {
				if err == nil {
					t.Fatalf("%s: no error", name)
				}
				for _, want := range append(c.want, c.url) {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("%s: %q, want %q in it", name, err, want)
					}
				}
				if strings.ContainsAny(err.Error(), "\x1b\n") {
					t.Errorf("%s: %q", name, err)
				}
			}
		})
	}
}

func TestTrustedTLSWorks(t *testing.T) {
	e := &fakeExporter{processes: shop()}
	s := httptest.NewTLSServer(e)
	t.Cleanup(s.Close)
	c, err := NewClient(s.URL, s.Client())
	if err != nil {
		t.Fatal(err)
	}
	if a := c.ask(t.Context(), query{limit: 9}, nil); a.err != nil {
		t.Error(a.err)
	}
}

func TestSlowAnswerIsGivenUp(t *testing.T) {
	c, err := NewClient("http://slow", &http.Client{Transport: late{}})
	if err != nil {
		t.Fatal(err)
	}
	if a := c.ask(t.Context(), query{}, nil); a.err == nil || !strings.Contains(a.err.Error(), "http://slow: no answer within 10s") {
		t.Errorf("error %v", a.err)
	}
}

// late is a server that is too slow for any client.
type late struct{}

func (late) RoundTrip(r *http.Request) (*http.Response, error) {
	return nil, &url.Error{Op: "Get", URL: r.URL.String(), Err: context.DeadlineExceeded}
}
