package web

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"mglru_exporter/internal/api"
)

const (
	// maxFollowers is how many clients may follow events at the same time.
	maxFollowers = 32
	// eventsBehind is how many events a client may be behind before it is cut
	// off.
	eventsBehind = 256
	// heartbeat is how often something is sent at least, so that proxies keep the
	// connection and a client that has gone is noticed.
	heartbeat = 15 * time.Second
	// eventTimeout is how long a client may take to let an event through.
	eventTimeout = 10 * time.Second
)

// events tells clients that windows have ended. It never waits for one.
type events struct {
	mu        sync.Mutex // guards what follows
	followers map[chan api.Event]follower
	n         uint64 // of followers so far
	closed    bool
}

// A follower is one client.
type follower struct {
	host string
	n    uint64 // the older, the less
}

// tell tells all clients, and cuts off those that are too slow.
func (e *events) tell(ev api.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for f := range e.followers {
		select {
		case f <- ev:
		default:
			e.drop(f)
		}
	}
}

// follow returns a channel of what happens from now on. It is closed when the
// client is to be cut off. Where there are too many clients, the oldest of the host that
// has the most makes room: else few could lock all others out.
func (e *events) follow(host string) (f chan api.Event, cut bool, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, false, errors.New("the exporter is stopping")
	}
	if e.followers == nil {
		e.followers = map[chan api.Event]follower{}
	}
	f = make(chan api.Event, eventsBehind)
	e.n++
	e.followers[f] = follower{host, e.n}
	if len(e.followers) > maxFollowers {
		e.drop(e.heaviest())
		return f, true, nil
	}
	return f, false, nil
}

// heaviest returns the oldest client of the host that has the most.
func (e *events) heaviest() chan api.Event {
	counts := map[string]int{}
	for _, f := range e.followers {
		counts[f.host]++
	}
	return slices.MinFunc(slices.Collect(maps.Keys(e.followers)), func(a, b chan api.Event) int {
		x, y := e.followers[a], e.followers[b]
		return cmp.Or(cmp.Compare(counts[y.host], counts[x.host]), cmp.Compare(x.n, y.n))
	})
}

func (e *events) leave(f chan api.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.drop(f)
}

func (e *events) drop(f chan api.Event) {
	if _, ok := e.followers[f]; ok {
		delete(e.followers, f)
		close(f)
	}
}

func (e *events) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	for f := range e.followers {
		e.drop(f)
	}
}

// serveEvents sends events until the client or the exporter ends it.
func (a *API) serveEvents(w http.ResponseWriter, r *http.Request) {
	if p := newParams(r); p.err != nil {
		fail(w, http.StatusBadRequest, errors.New("events have no parameters"))
		return
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	f, cut, err := a.events.follow(host)
	if cut {
		a.rejected(rejectedEvents)
	}
	if err != nil {
		w.Header().Set("Retry-After", "10")
		fail(w, http.StatusServiceUnavailable, err)
		return
	}
	defer a.events.leave(f)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // for a proxy that is nginx
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return
	}
	rc := http.NewResponseController(w)
	send := func(format string, args ...any) bool {
		// Not all that serves can do this; what can is the server that runs.
		_ = rc.SetWriteDeadline(time.Now().Add(eventTimeout))
		if _, err := fmt.Fprintf(w, format, args...); err != nil {
			return false
		}
		return rc.Flush() == nil
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	// A client that was cut off is to come back soon.
	for ok := send("retry: 2000\n\n"); ok; {
		select {
		case <-r.Context().Done():
			return
		case ev, open := <-f:
			if !open {
				return
			}
			data, err := json.Marshal(ev)
			ok = err == nil && send("event: window\ndata: %s\n\n", data)
		case <-beat.C:
			ok = send(":\n\n")
		}
	}
}
