package web_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// TestReloadIsNotForOtherSites: a page that somebody visits cannot have his browser
// reload the exporter that it reaches.
func TestReloadIsNotForOtherSites(t *testing.T) {
	o := options()
	reloads := 0
	o.Reload = func() error { reloads++; return nil }
	h := server(t, o).Handler()
	for _, c := range []struct {
		header, value string
		status        int
	}{
		{"Sec-Fetch-Site", "cross-site", 403},
		{"Sec-Fetch-Site", "same-site", 403}, // another port of this machine
		{"Origin", "https://evil.example", 403},
		{"Origin", "null", 403},
		{"Sec-Fetch-Site", "same-origin", 200},
		{"Origin", "http://127.0.0.1:9934", 200},
		{"User-Agent", "curl", 200},
	} {
		reloads = 0
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "http://127.0.0.1:9934/-/reload", nil)
		r.Header.Set(c.header, c.value)
		h.ServeHTTP(w, r)
		if w.Code != c.status || (reloads == 1) != (c.status == 200) {
			t.Errorf("%s: %s: %d %q, %d reloads, want %d", c.header, c.value, w.Code, w.Body, reloads, c.status)
		}
	}
}

// pipes are connections without a network, so that their time is that of synctest.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if c, ok := <-p; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}
func (p pipes) Close() error   { close(p); return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// TestWhoDoesNotReadIsCutOff: or he would keep everybody else from scraping.
func TestWhoDoesNotReadIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options()
		o.MaxRequests = 1
		for i := range 1000 { // more than is buffered on the way
			o.Registry.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: fmt.Sprintf("mglru_test_%d", i), Help: "Test."}))
		}
		h := server(t, o).Handler()
		listener, s := make(pipes), &http.Server{Handler: h}
		var served sync.WaitGroup
		served.Go(func() { _ = s.Serve(listener) })
		client, conn := net.Pipe()
		listener <- conn
		if _, err := io.WriteString(client, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if status, _ := get(h, "/metrics"); status != 503 {
			t.Errorf("while a client does not read: %d, want 503", status)
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if status, _ := get(h, "/metrics"); status != 200 {
			t.Errorf("minutes later: %d, want 200", status)
		}
		if err := errors.Join(s.Close(), client.Close()); err != nil {
			t.Error(err)
		}
		served.Wait()
	})
}
