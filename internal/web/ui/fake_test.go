package ui_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"mglru_exporter/internal/api"
	"mglru_exporter/internal/web/ui"
)

// passes and window are those of every process of the fake.
const passes, window = 4, 40 * time.Second

// A cell is one region in one window.
type cell struct {
	accesses               uint64
	pages, hot, warm, cold uint32
	anon                   uint32
	node                   int
	idle                   float64
}

// A mapping is some regions of the same name.
type mapping struct {
	name    string
	regions int
}

// A proc is a process of the fake: what it has in window w, counted from the
// first there ever was, is made by cell when it is asked for.
type proc struct {
	api.Process
	mappings []mapping
	cell     func(region, w int) cell
}

func (p *proc) regions() (n int) {
	for _, m := range p.mappings {
		n += m.regions
	}
	return n
}

// A fake is an exporter: the page, and an API that answers from procs.
type fake struct {
	*httptest.Server
	mu          sync.Mutex
	granularity string
	procs       map[int]*proc
	ended       int    // windows
	broken      string // what is answered instead, with status 500
	start       time.Time
	events      map[chan api.Event]bool
	asked       []string // the heatmaps, as path and query
}

func newFake(t *testing.T, procs ...*proc) *fake {
	t.Helper()
	f := &fake{granularity: "page", procs: map[int]*proc{}, ended: 60, events: map[chan api.Event]bool{}}
	f.start = time.Now().Add(-time.Duration(f.ended)*window - 7*time.Second).Truncate(time.Second)
	for _, p := range procs {
		f.procs[p.PID] = p
	}
	mux := http.NewServeMux()
	page := ui.Handler()
	mux.Handle("GET "+ui.Path, page)
	mux.Handle("GET "+ui.Path+"/", page)
	mux.HandleFunc("GET "+api.ProcessesPath, f.serveProcesses)
	mux.HandleFunc("GET "+api.HeatmapPath, f.serveHeatmap)
	mux.HandleFunc("GET "+api.EventsPath, f.serveEvents)
	f.Server = httptest.NewServer(mux)
	t.Cleanup(func() {
		f.CloseClientConnections()
		f.Close()
	})
	return f
}

// endWindow ends a window of every process and tells the pages.
func (f *fake) endWindow() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended++
	memcgs := map[string]bool{}
	for _, p := range f.procs {
		memcgs[p.Memcg] = true
	}
	for events := range f.events {
		for memcg := range memcgs {
			events <- f.event(memcg)
		}
	}
}

func (f *fake) event(memcg string) api.Event {
	return api.Event{Memcg: memcg, WindowEnd: f.end(f.ended - 1)}
}

// change changes the fake between two answers.
func (f *fake) change(how func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	how()
}

// heatmaps returns what was asked for since it was last called.
func (f *fake) heatmaps() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	asked := f.asked
	f.asked = nil
	return asked
}

func (f *fake) end(w int) time.Time { return f.start.Add(time.Duration(w+1) * window) }

// process fills in the figures of the last window.
func (f *fake) process(p *proc) api.Process {
	out := p.Process
	out.WindowEnd, out.WindowPasses = f.end(f.ended-1), passes
	if out.Resident != 0 {
		return out
	}
	out.Windows = min(f.ended, api.MaxWindows)
	for r := range p.regions() {
		c := p.cell(r, f.ended-1)
		out.Resident += 4096 * uint64(c.pages)
		out.Hot += 4096 * uint64(c.hot)
		out.Warm += 4096 * uint64(c.warm)
		out.Cold += 4096 * uint64(c.cold)
		out.Unobserved += 4096 * uint64(c.pages-c.hot-c.warm-c.cold)
	}
	return out
}

// valid refuses parameters that the API does not have, as the API does.
func valid(w http.ResponseWriter, r *http.Request, known ...string) bool {
	for name, values := range r.URL.Query() {
		if !slices.Contains(known, name) || len(values) != 1 {
			answer(w, http.StatusBadRequest, api.Error{Error: "there is no parameter " + name})
			return false
		}
	}
	return true
}

func (f *fake) serveProcesses(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !valid(w, r, "memcg", "search", "sort", "limit") {
		return
	}
	if f.broken != "" {
		answer(w, http.StatusInternalServerError, api.Error{Error: f.broken})
		return
	}
	q := r.URL.Query()
	out := api.Processes{Source: "hooks", Granularity: f.granularity}
	if f.granularity == "mapping" {
		out.Source = "referenced"
	}
	if f.granularity == "none" {
		out.Source = "none"
	}
	for _, p := range f.procs {
		s := q.Get("search")
		if strings.Contains(p.Comm, s) || strings.Contains(strconv.Itoa(p.PID), s) || strings.Contains(p.Memcg, s) {
			out.Processes = append(out.Processes, f.process(p))
		}
	}
	slices.SortFunc(out.Processes, func(a, b api.Process) int {
		if q.Get("sort") == "pid" {
			return a.PID - b.PID
		}
		return int(int64(b.Cold) - int64(a.Cold)) //nolint:gosec // bytes of a test
	})
	out.Total = len(out.Processes)
	answer(w, http.StatusOK, out)
}

func (f *fake) serveHeatmap(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !valid(w, r, "rows", "windows", "from", "to") {
		return
	}
	f.asked = append(f.asked, r.URL.String())
	pid, _ := strconv.Atoi(r.PathValue("pid"))
	p := f.procs[pid]
	if f.broken != "" {
		answer(w, http.StatusInternalServerError, api.Error{Error: f.broken})
		return
	}
	if p == nil {
		answer(w, http.StatusNotFound, api.Error{Error: fmt.Sprintf("no process %d has series of its own", pid)})
		return
	}
	q := r.URL.Query()
	number := func(key string, or, most int) int {
		if !q.Has(key) {
			return or
		}
		n, err := strconv.Atoi(q.Get(key))
		if err != nil || n < 0 {
			panic("the page asks for " + r.URL.String())
		}
		return min(n, most)
	}
	h := api.Heatmap{Process: f.process(p), Regions: p.regions()}
	h.From, h.To = number("from", 0, h.Regions), number("to", h.Regions, h.Regions)
	windows := min(number("windows", api.DefaultWindows, api.MaxWindows), f.ended, h.Process.Windows)
	if windows == 0 {
		answer(w, http.StatusNotFound, api.Error{Error: fmt.Sprintf("no window of process %d is kept", pid)})
		return
	}
	fold := max(1, int(math.Ceil(float64(h.To-h.From)/float64(number("rows", api.DefaultRows, api.MaxRows)))))
	h.Rows = p.rows(h.From, h.To, fold)
	nodes := map[int]bool{}
	for w := f.ended - windows; w < f.ended; w++ {
		h.Columns = append(h.Columns, p.column(h.Rows, w, f.end(w), nodes))
	}
	h.Nodes = slices.Sorted(maps.Keys(nodes))
	answer(w, http.StatusOK, h)
}

func (p *proc) rows(from, to, fold int) []api.Row {
	var names []string
	var offsets []uint64
	for _, m := range p.mappings {
		for r := range m.regions {
			names = append(names, m.name)
			offsets = append(offsets, uint64(r)<<21) //nolint:gosec // small
		}
	}
	var rows []api.Row
	for at := from; at < to; at += fold {
		n := min(fold, to-at)
		rows = append(rows, api.Row{
			Position: at, Regions: n, Mapping: names[at], Offset: offsets[at],
			Mappings: len(slices.Compact(slices.Clone(names[at : at+n]))),
		})
	}
	return rows
}

func (p *proc) column(rows []api.Row, w int, end time.Time, nodes map[int]bool) api.Column {
	c := api.Column{End: end, Passes: passes}
	for _, row := range rows {
		sum := cell{idle: math.Inf(1), node: -1}
		var shmem uint32
		for r := row.Position; r < row.Position+row.Regions; r++ {
			one := p.cell(r, w)
			sum.accesses += one.accesses
			sum.pages += one.pages
			sum.hot += one.hot
			sum.warm += one.warm
			sum.cold += one.cold
			sum.anon += one.anon
			if one.pages > 0 {
				sum.node, sum.idle = one.node, min(sum.idle, one.idle)
				nodes[one.node] = true
			}
		}
		if sum.pages == 0 {
			sum.idle = 0
		}
		if strings.HasPrefix(row.Mapping, "/dev/shm/") {
			shmem = sum.pages
		}
		c.Accesses = append(c.Accesses, sum.accesses)
		c.Pages = append(c.Pages, sum.pages)
		c.Anon = append(c.Anon, sum.anon)
		c.Shmem = append(c.Shmem, shmem)
		c.Hot = append(c.Hot, sum.hot)
		c.Warm = append(c.Warm, sum.warm)
		c.Cold = append(c.Cold, sum.cold)
		c.Node = append(c.Node, sum.node)
		c.Idle = append(c.Idle, sum.idle)
	}
	return c
}

func (f *fake) serveEvents(w http.ResponseWriter, r *http.Request) {
	events := make(chan api.Event, 100)
	f.mu.Lock()
	f.events[events] = true
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.events, events)
		f.mu.Unlock()
	}()
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	_ = out.Flush()
	for {
		select {
		case <-r.Context().Done():
			return
		case e := <-events:
			data, _ := json.Marshal(e) // an Event can be marshalled
			fmt.Fprintf(w, "event: window\ndata: %s\n\n", data)
			_ = out.Flush()
		}
	}
}

func answer(w http.ResponseWriter, status int, what any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(what) // the browser is gone
}
