package web

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"mglru_exporter/internal/api"
	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/heatmap"
	"mglru_exporter/internal/name"
)

const (
	apiPrefix = "/api/"
	// apiRequests is how many requests may be answered at the same time, events
	// not counted. They are computed one at a time. Most of what one needs is one
	// column of a heatmap.
	apiRequests = 8
	// apiTimeout is how long it may take a client to read an answer.
	apiTimeout = 30 * time.Second
)

// APIOptions says what an API tells of.
type APIOptions struct {
	// Snapshot returns the last snapshot, which is never nil.
	Snapshot func() *heat.Snapshot
	// History has the windows that heatmaps are made of.
	History *heatmap.History
	// ExposeAddresses gives the rows of heatmaps their virtual addresses.
	ExposeAddresses bool
}

// An API answers requests under /api/ as package api describes.
type API struct {
	APIOptions
	events events
	slots  chan struct{}
	// cpu is held by whoever computes an answer, but not while its client reads.
	cpu      chan struct{}
	rejected func(reason string)
	mux      *http.ServeMux

	mu   sync.Mutex           // guards ends
	ends map[string]time.Time // when the last window of each memcg ended
}

// NewAPI returns an API. Its streams last until Close.
func NewAPI(o APIOptions) *API {
	a := &API{APIOptions: o, slots: make(chan struct{}, apiRequests), cpu: make(chan struct{}, 1), rejected: func(string) {}, mux: http.NewServeMux(), ends: map[string]time.Time{}}
	a.mux.HandleFunc(api.ProcessesPath, a.answer(a.processes))
	a.mux.HandleFunc(api.HeatmapPath, a.answer(a.heatmap))
	a.mux.HandleFunc(api.EventsPath, a.serveEvents)
	a.mux.HandleFunc(apiPrefix, func(w http.ResponseWriter, _ *http.Request) {
		fail(w, http.StatusNotFound, fmt.Errorf("there is no such path, there are %s, %s and %s", api.ProcessesPath, api.HeatmapPath, api.EventsPath))
	})
	return a
}

// ServeHTTP answers a request. It only reads: any method but GET and HEAD is
// refused.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		fail(w, http.StatusMethodNotAllowed, fmt.Errorf("method %s is not allowed, use GET", r.Method))
		return
	}
	a.mux.ServeHTTP(w, r)
}

// Ended is to be called after each pass of a memcg. If that has ended a window,
// it commits it to the history and tells those who follow events.
func (a *API) Ended(memcg string) {
	snap := a.Snapshot()
	m := snap.Memcg(memcg)
	if m == nil {
		return
	}
	end := m.WindowEnd
	a.mu.Lock()
	same := end.Equal(a.ends[memcg])
	a.ends[memcg] = end
	if len(a.ends) > len(snap.Memcgs) { // some have gone
		maps.DeleteFunc(a.ends, func(path string, _ time.Time) bool { return snap.Memcg(path) == nil })
	}
	a.mu.Unlock()
	if !same {
		a.History.Commit(snap, memcg)
		a.events.tell(api.Event{Memcg: name.Escape(memcg), WindowEnd: end})
	}
}

// Close ends the streams of events, now and for good.
func (a *API) Close() { a.events.close() }

// A statusError is an answer with a status that is not 200.
type statusError struct {
	status int
	error
}

// answer makes a handler of a function that either writes or returns an error.
func (a *API) answer(f func(w io.Writer, r *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case a.slots <- struct{}{}:
			defer func() { <-a.slots }()
		default:
			a.rejected(rejectedAPI)
			w.Header().Set("Retry-After", "1")
			fail(w, http.StatusServiceUnavailable, fmt.Errorf("%d requests are being answered already, try again in a second", apiRequests))
			return
		}
		// Not all that serves can do this; what can is the server that runs.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(apiTimeout))

		// However many ask, they have one CPU together.
		a.cpu <- struct{}{}
		defer func() { <-a.cpu }()
		out := &lazy{w: yielding{w, a.cpu}, zip: acceptsGzip(r)}
		if err := f(out, r); err != nil {
			status := http.StatusBadRequest
			if s := (statusError{}); errors.As(err, &s) {
				status = s.status
			}
			fail(w, status, err)
			return
		}
		out.close()
	}
}

// A yielding lets others compute while a client reads.
type yielding struct {
	http.ResponseWriter
	cpu chan struct{}
}

// Write implements io.Writer.
func (y yielding) Write(p []byte) (int, error) {
	<-y.cpu
	defer func() { y.cpu <- struct{}{} }()
	return y.ResponseWriter.Write(p)
}

// A lazy writes JSON, compressed if it may be; it sets headers only when there is
// something to write.
type lazy struct {
	w   http.ResponseWriter
	zip bool
	out io.Writer
}

// Write implements io.Writer.
func (l *lazy) Write(p []byte) (int, error) {
	if l.out == nil {
		h := l.w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Vary", "Accept-Encoding")
		l.out = l.w
		if l.zip {
			h.Set("Content-Encoding", "gzip")
			// The error is that of a level that there is not.
			l.out, _ = gzip.NewWriterLevel(l.w, gzip.BestSpeed)
		}
	}
	return l.out.Write(p)
}

func (l *lazy) close() {
	if z, ok := l.out.(*gzip.Writer); ok {
		_ = z.Close() // the client is gone
	}
}

// acceptsGzip tells whether a client names gzip without a q of its own: those
// that weigh encodings get none.
func acceptsGzip(r *http.Request) bool {
	for _, v := range r.Header.Values("Accept-Encoding") {
		for e := range strings.SplitSeq(v, ",") {
			if strings.TrimSpace(e) == "gzip" {
				return true
			}
		}
	}
	return false
}

// fail answers with an error.
func fail(w http.ResponseWriter, status int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(api.Error{Error: err.Error()}) // the client is gone
}

// processes lists processes.
func (a *API) processes(w io.Writer, r *http.Request) error {
	q, err := parseProcesses(r)
	if err != nil {
		return err
	}
	snap := a.Snapshot()
	out := api.Processes{Source: snap.Source.Name, Granularity: snap.Source.Granularity, Processes: []api.Process{}}
	var found []listed
	for i := range snap.Memcgs {
		m := snap.Memcgs[i]
		if q.memcg != "" && !q.names(m.Path) {
			continue
		}
		for j := range m.Series {
			if s := &m.Series[j]; s.PID > 0 {
				if p := process(m, s); q.finds(&p) {
					found = append(found, p)
				}
			}
		}
	}
	slices.SortFunc(found, func(a, b listed) int { return q.compare(a.Process, b.Process) })
	out.Total = len(found)
	for _, p := range found[:min(q.limit, out.Total)] {
		p.Windows = a.History.Windows(p.path, p.PID)
		out.Processes = append(out.Processes, p.Process)
	}
	_ = json.NewEncoder(w).Encode(out) // the client is gone
	return nil
}

// listed is a process with the path of its memcg as the kernel has it.
type listed struct {
	api.Process
	path string
}

// process is what a snapshot says of a process.
func process(m *heat.MemcgSnapshot, s *heat.Series) listed {
	p := listed{path: m.Path, Process: api.Process{
		Memcg: name.Escape(m.Path), PID: s.PID, Comm: name.Escape(s.Comm),
		WindowEnd: m.WindowEnd, WindowPasses: m.WindowPasses, Swapped: s.SwappedBytes,
	}}
	for i := range s.Areas {
		area := &s.Areas[i]
		p.Resident += area.Resident
		p.Hot += area.Hot
		p.Warm += area.Warm
		p.Cold += area.Cold
		p.Unobserved += area.Unobserved
	}
	return p
}

// heatmap answers with one process's windows. It writes them one by one, so that
// the largest answer takes no more memory than the smallest.
func (a *API) heatmap(w io.Writer, r *http.Request) error {
	pid, q, err := parseHeatmap(r)
	if err != nil {
		return err
	}
	q.Addresses = a.ExposeAddresses
	snap := a.Snapshot()
	p, found := find(snap, pid)
	if !found {
		return statusError{http.StatusNotFound, noProcess(snap, pid)}
	}
	v, ok := a.History.View(p.path, pid, q)
	if !ok {
		return statusError{http.StatusNotFound, a.noWindow(snap, p.Process)}
	}
	p.Windows = a.History.Windows(p.path, pid)
	head, err := json.Marshal(struct { // api.Heatmap but for the columns
		Process api.Process `json:"process"`
		Regions int         `json:"regions"`
		From    int         `json:"from"`
		To      int         `json:"to"`
		Nodes   []int       `json:"nodes"`
		Rows    []api.Row   `json:"rows"`
	}{p.Process, v.Regions, v.From, v.To, v.Nodes, v.Rows})
	if err != nil {
		return statusError{http.StatusInternalServerError, fmt.Errorf("write heatmap: %w", err)}
	}
	_, _ = w.Write(head[:len(head)-1]) // without the brace at its end
	columns, before := json.NewEncoder(w), `,"columns":[`
	for c := range v.Columns() {
		_, _ = io.WriteString(w, before)
		if columns.Encode(c) != nil { // the client is gone
			return nil
		}
		before = ","
	}
	_, _ = io.WriteString(w, "]}\n")
	return nil
}

// find returns what a snapshot says of a process. One that has moved can be in
// two memcgs for a while: then it is the later window that counts.
func find(snap *heat.Snapshot, pid int) (p listed, found bool) {
	for i := range snap.Memcgs {
		m := snap.Memcgs[i]
		for j := range m.Series {
			if m.Series[j].PID == pid && (!found || m.WindowEnd.After(p.WindowEnd)) {
				p, found = process(m, &m.Series[j]), true
			}
		}
	}
	return p, found
}

// noProcess says why a process is not listed.
func noProcess(snap *heat.Snapshot, pid int) error {
	for i := range snap.Memcgs {
		for j := range snap.Memcgs[i].Series {
			if snap.Memcgs[i].Series[j].PID == heat.PIDOff {
				return fmt.Errorf("process %d is not told apart from others: the configuration has labels.pid off", pid)
			}
		}
	}
	return fmt.Errorf(`process %d has no series of its own: it has exited, is not watched, has had no window yet, or is among those that processes.top and processes.min_resident merge into pid="other"`, pid)
}

// noWindow says why a process has no heatmap.
func (a *API) noWindow(snap *heat.Snapshot, p api.Process) error {
	switch {
	case snap.Source.Granularity != "page":
		return fmt.Errorf("process %d has no heatmap: source %s sees mappings, not pages", p.PID, snap.Source.Name)
	case !a.History.Enabled():
		return fmt.Errorf("process %d has no heatmap: the configuration has limits.max_heatmap_bytes: 0", p.PID)
	}
	return fmt.Errorf("no window of process %d is kept: limits.max_heatmap_bytes has no room for so small a process, or none has ended since that was raised", p.PID)
}
