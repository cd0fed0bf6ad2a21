package web_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"mglru_exporter/internal/api"
	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/heatmap"
	"mglru_exporter/internal/web"
)

// A clockwork is an API whose memcg /a ends a window each tick.
type clockwork struct {
	*web.API
	mu  sync.Mutex
	end time.Time
}

func newClockwork() *clockwork {
	c := &clockwork{end: noon}
	c.API = web.NewAPI(web.APIOptions{History: heatmap.New(0), Snapshot: func() *heat.Snapshot {
		c.mu.Lock()
		defer c.mu.Unlock()
		return &heat.Snapshot{Memcgs: []*heat.MemcgSnapshot{{Path: "/a", WindowEnd: c.end}, {Path: "/new"}}}
	}})
	c.Ended("/a") // nobody listens yet
	return c
}

// tick ends a window, and two passes that do not.
func (c *clockwork) tick() time.Time {
	c.mu.Lock()
	c.end = c.end.Add(time.Minute)
	end := c.end
	c.mu.Unlock()
	for range 2 {
		c.Ended("/a")
	}
	c.Ended("/new")
	c.Ended("/gone")
	return end
}

// A stream is what a client of events sees.
type stream struct {
	resp *http.Response
	text *bufio.Scanner
}

func follow(t *testing.T, address string) stream { return followFrom(t, address, "127.0.0.1") }

// followFrom follows from another loopback address.
func followFrom(t *testing.T, address, from string) stream {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: d.DialContext}, Timeout: 10 * time.Second}
	resp, err := c.Get("http://" + address + "/api/v1/events")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" || resp.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("status %d, header %v", resp.StatusCode, resp.Header)
	}
	s := stream{resp, bufio.NewScanner(resp.Body)}
	if got := s.block(); got != "retry: 2000\n" {
		t.Fatalf("begins with %q", got)
	}
	return s
}

// block reads up to an empty line, "" at the end.
func (s stream) block() string {
	var b strings.Builder
	for s.text.Scan() && s.text.Text() != "" {
		b.WriteString(s.text.Text() + "\n")
	}
	return b.String()
}

func TestEachWindowIsOneEvent(t *testing.T) {
	o, c := options(), newClockwork()
	o.API = c.API
	address, stop := run(t, o)
	one, two := follow(t, address), follow(t, address)
	for range 3 {
		want := api.Event{Memcg: "/a", WindowEnd: c.tick()}
		for _, s := range []stream{one, two} {
			got := s.block()
			data, ok := strings.CutPrefix(got, "event: window\ndata: ")
			var ev api.Event
			if err := json.Unmarshal([]byte(data), &ev); !ok || err != nil {
				t.Fatalf("%q: %v", got, err)
			}
			if diff := cmp.Diff(want, ev); diff != "" {
				t.Errorf("event (-want +got):\n%s", diff)
			}
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	// Had the stop waited for the streams, it would have cut them off, and their
	// ends would be errors.
	for _, s := range []stream{one, two} {
		if got := s.block(); got != "" || s.text.Err() != nil {
			t.Errorf("ends with %q and %v", got, s.text.Err())
		}
	}
	if status := ask(c.API, http.MethodGet, "/api/v1/events").Code; status != http.StatusServiceUnavailable {
		t.Errorf("after the stop: %d, want 503", status)
	}
}

// TestOneHostCannotKeepTheOthersFromEvents: beyond the limit the oldest stream of the host
// that has the most makes room.
func TestOneHostCannotKeepTheOthersFromEvents(t *testing.T) {
	o, c := options(), newClockwork()
	o.API = c.API
	var rejected atomic.Int32
	o.Rejected = func(reason string) {
		if reason == "events" {
			rejected.Add(1)
		}
	}
	address, stop := run(t, o)
	other := followFrom(t, address, "127.0.0.2")
	var streams []stream
	for range 40 {
		streams = append(streams, follow(t, address))
	}
	last := followFrom(t, address, "127.0.0.3")
	c.tick()
	for i, s := range append(streams, other, last) {
		got := s.block()
		if cut := i < 10; cut != (got == "") || !cut && !strings.HasPrefix(got, "event: window\n") {
			t.Errorf("stream %d got %q, want it cut off: %v", i, got, cut)
		}
	}
	if rejected.Load() != 10 {
		t.Errorf("%d streams were counted as cut off, want 10", rejected.Load())
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// stuck is a client that reads nothing until it is released.
type stuck struct {
	http.ResponseWriter
	begun   chan struct{}
	once    sync.Once
	release chan struct{}
}

func (s *stuck) Write(p []byte) (int, error) {
	s.once.Do(func() { close(s.begun) })
	<-s.release
	return s.ResponseWriter.Write(p)
}

func (s *stuck) Flush() {}

func TestASlowFollowerIsCutOffAndHoldsNobodyUp(t *testing.T) {
	c := newClockwork()
	s := &stuck{ResponseWriter: httptest.NewRecorder(), begun: make(chan struct{}), release: make(chan struct{})}
	done := make(chan struct{})
	go func() {
		c.ServeHTTP(s, httptest.NewRequest(http.MethodGet, "/api/v1/events", nil))
		close(done)
	}()
	<-s.begun
	for range 1000 { // returns, though the client takes none
		c.tick()
	}
	close(s.release)
	<-done // although the client has not left
	if n := strings.Count(s.ResponseWriter.(*httptest.ResponseRecorder).Body.String(), "event: window"); n == 0 || n >= 1000 {
		t.Errorf("it got %d of 1000 events, want those before it was cut off", n)
	}
}

func TestHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClockwork()
		ctx, cancel := context.WithCancel(t.Context())
		w := httptest.NewRecorder()
		done := make(chan struct{})
		go func() {
			c.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/api/v1/events", nil).WithContext(ctx))
			close(done)
		}()
		time.Sleep(46 * time.Second) // of the test's own time
		cancel()
		<-done
		if got := w.Body.String(); got != "retry: 2000\n\n:\n\n:\n\n:\n\n" {
			t.Errorf("in 46 seconds: %q, want three heartbeats", got)
		}
	})
}
