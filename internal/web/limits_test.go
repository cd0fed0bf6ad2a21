package web_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"mglru_exporter/internal/heat"
)

// cuts counts what limits cut.
type cuts struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *cuts) add(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]int{}
	}
	c.n[reason]++
}

func (c *cuts) of(reason string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n[reason]
}

// dial opens a connection from a loopback address, and writes to it.
func dial(t *testing.T, address, from, text string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 10 * time.Second}
	c, err := d.DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(8 * time.Second))
	return c
}

// hangUp closes connections, for which a stop would wait.
func hangUp(conns ...net.Conn) {
	for _, c := range conns {
		_ = c.Close()
	}
}

// status reads the status of an answer, 0 if the connection was closed before, -1 if
// nothing came.
func status(c net.Conn) int {
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if n, ok := errors.AsType[net.Error](err); ok && n.Timeout() {
		return -1
	}
	if err != nil {
		return 0
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return resp.StatusCode
}

// TestUnfinishedBodiesHoldNothing: an answer that does not fit the server's buffer would
// have it wait for the body first, with the scrape's slot in its hand.
func TestUnfinishedBodiesHoldNothing(t *testing.T) {
	for _, header := range []string{"Content-Length: 100000", "Transfer-Encoding: chunked"} {
		var cut cuts
		o := options()
		o.MaxRequests, o.Rejected = 40, cut.add
		snap := manyProcesses(300)
		o.Series = seriesOf(func() *heat.Snapshot { return snap })
		address, stop := run(t, o)
		var conns []net.Conn
		for range 40 {
			conns = append(conns, dial(t, address, "127.0.0.1", "GET /metrics HTTP/1.1\r\nHost: a\r\n"+header+"\r\n\r\n"))
		}
		for i, c := range conns {
			if got := status(c); got != http.StatusOK {
				t.Errorf("%s: request %d: status %d, want 200 before its body has come", header, i, got)
			}
		}
		resp, err := client().Get("http://" + address + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK || cut.of("body") != 40 {
			t.Errorf("%s: status %d, %d bodies counted, want 200 and 40", header, resp.StatusCode, cut.of("body"))
		}
		hangUp(conns...)
		if err := stop(); err != nil {
			t.Error(err)
		}
	}
}

// TestHeadersAreBounded before anything else is asked of a client.
func TestHeadersAreBounded(t *testing.T) {
	address, stop := run(t, options())
	small := dial(t, address, "127.0.0.1", "GET /-/healthy HTTP/1.1\r\nHost: a\r\nX: "+strings.Repeat("x", 15<<10)+"\r\n\r\n")
	if got := status(small); got != http.StatusOK {
		t.Errorf("15 KiB: status %d, want 200", got)
	}
	large := dial(t, address, "127.0.0.1", "GET /-/healthy HTTP/1.1\r\nHost: a\r\nX: ")
	go func() { _, _ = io.WriteString(large, strings.Repeat("x", 900<<10)) }() // until it is closed
	if got := status(large); got != http.StatusRequestHeaderFieldsTooLarge && got != 0 {
		t.Errorf("unfinished headers of 900 KiB: status %d, want 431", got)
	}
	hangUp(small, large)
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// TestConnectionsAreBounded, and one host that has them all, idle or busy, does not keep
// another from scraping.
func TestConnectionsAreBounded(t *testing.T) {
	for name, text := range map[string]string{
		"silent": "", "idle": "GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n", "unfinished headers": "GET /metrics HTTP/1.1\r\nHost: a\r\nX: ",
	} {
		t.Run(name, func(t *testing.T) {
			var cut cuts
			o := options()
			o.MaxConnections, o.Rejected = 10, cut.add
			address, stop := run(t, o)
			kept := dial(t, address, "127.0.0.2", "GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n")
			if got := status(kept); got != http.StatusOK {
				t.Fatalf("status %d", got)
			}
			all := []net.Conn{kept}
			for i := range 30 {
				c := dial(t, address, "127.0.0.1", text)
				all = append(all, c)
				if name == "idle" && status(c) != http.StatusOK {
					t.Fatalf("connection %d was refused", i)
				}
			}
			for range 3 {
				c := dial(t, address, "127.0.0.3", "GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n")
				if got := status(c); got != http.StatusOK {
					t.Errorf("another host: status %d, want 200", got)
				}
				all = append(all, c)
			}
			if n := cut.of("connections"); n < 20 {
				t.Errorf("%d connections were counted as closed, want 24 or so", n)
			}
			if _, err := fmt.Fprint(kept, "GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil || status(kept) != http.StatusOK {
				t.Errorf("the first connection of another host was closed: %v", err)
			}
			hangUp(all...)
			if err := stop(); err != nil {
				t.Error(err)
			}
		})
	}
}
