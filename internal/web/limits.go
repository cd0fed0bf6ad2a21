package web

import (
	"cmp"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	// headerTimeout is how long a client may take to send a request, body and all.
	headerTimeout = 10 * time.Second
	// answerTimeout is how long a client may take to read an answer, else those who
	// never do could keep all others from scraping. It is longer than scrapes take.
	answerTimeout = 2 * time.Minute
	// idleTimeout is how long a connection is kept between two requests, longer than
	// Prometheus keeps its own.
	idleTimeout = 6 * time.Minute
	// maxHeaderBytes is more than browsers and proxies send.
	maxHeaderBytes = 16 << 10
)

// Reasons of Options.Rejected.
const (
	rejectedAPI         = "api"
	rejectedBody        = "body"
	rejectedConnections = "connections"
	rejectedEvents      = "events"
	rejectedReloads     = "reloads"
	rejectedScrapes     = "scrapes"
)

// RejectionReasons returns the reasons that Options.Rejected is told.
func RejectionReasons() []string {
	return []string{rejectedAPI, rejectedBody, rejectedConnections, rejectedEvents, rejectedReloads, rejectedScrapes}
}

// bounded bounds how long the answer to each request may take to be read; handlers may
// set another time. No request needs a body: one is never read, and the connection
// ends with the answer.
func bounded(h http.Handler, rejected func(reason string)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Not all that serves can do this; what can is the server that runs.
		rc := http.NewResponseController(w)
		_ = rc.SetWriteDeadline(time.Now().Add(answerTimeout))
		if r.ContentLength != 0 {
			rejected(rejectedBody)
			w.Header().Set("Connection", "close")
		} else {
			_ = rc.SetReadDeadline(time.Time{}) // the request is read
		}
		h.ServeHTTP(w, r)
	})
}

// connections bounds how many connections are open. Beyond that the least busy one makes
// room for a new one: else whoever opens enough of them would lock all others out.
type connections struct {
	most     int // 0 is no bound
	rejected func(reason string)

	mu   sync.Mutex // guards open
	open map[net.Conn]*connection
}

type connection struct {
	net.Conn
	host  string
	since time.Time // when it was opened, or last had nothing to do
	busy  bool
}

// state is for http.Server.ConnState.
func (c *connections) state(conn net.Conn, s http.ConnState) {
	if c.most <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch s {
	case http.StateClosed, http.StateHijacked:
		delete(c.open, conn)
		return
	case http.StateActive:
		if o := c.open[conn]; o != nil {
			o.busy = true
		}
		return
	case http.StateIdle:
		if o := c.open[conn]; o != nil {
			o.busy, o.since = false, time.Now()
		}
		return
	}
	host, _, err := net.SplitHostPort(conn.RemoteAddr().String())
	if err != nil {
		host = conn.RemoteAddr().String()
	}
	added := &connection{Conn: conn, host: host, since: time.Now()}
	if c.open == nil {
		c.open = map[net.Conn]*connection{}
	}
	c.open[conn] = added
	if len(c.open) <= c.most {
		return
	}
	victim := c.victim(added)
	c.rejected(rejectedConnections)
	delete(c.open, victim.Conn)
	// Closing TLS properly would wait for the client.
	under := victim.Conn
	if t, ok := under.(interface{ NetConn() net.Conn }); ok {
		under = t.NetConn()
	}
	_ = under.Close() // its server finds out
}

// victim returns who is to go for another: one of the host that has the most, an idle
// one if it has any, the oldest. A host has no busy one closed for another of its own, or
// for a host that has as many: then the new one goes.
func (c *connections) victim(added *connection) *connection {
	counts := map[string]int{}
	var others []*connection
	for _, o := range c.open {
		counts[o.host]++
		if o != added {
			others = append(others, o)
		}
	}
	if len(others) == 0 {
		return added
	}
	worst := slices.MinFunc(others, func(a, b *connection) int {
		idle := 0
		if a.busy != b.busy {
			idle = -1
			if a.busy {
				idle = 1
			}
		}
		return cmp.Or(cmp.Compare(counts[b.host], counts[a.host]), idle, a.since.Compare(b.since))
	})
	if worst.busy && counts[worst.host] <= counts[added.host] {
		return added
	}
	return worst
}
