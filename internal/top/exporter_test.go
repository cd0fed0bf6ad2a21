package top

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"mglru_exporter/internal/api"
)

// noon is when the newest window of the fake exporter ended.
func noon() time.Time { return time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC) }

// A fakeExporter has the answers of an exporter, and counts the questions.
type fakeExporter struct {
	mu        sync.Mutex
	processes []api.Process
	heatmap   func(r *http.Request) (*api.Heatmap, *api.Error)
	asked     []string
	source    string // "hooks" if empty
}

func (e *fakeExporter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asked = append(e.asked, r.URL.Path+"?"+r.URL.RawQuery)
	w.Header().Set("Date", noon().Add(10*time.Second).Format(http.TimeFormat))
	switch {
	case r.URL.Path == api.ProcessesPath:
		limit, err := strconv.Atoi(r.URL.Query().Get("limit"))
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			_ = json.NewEncoder(w).Encode(api.Error{Error: err.Error()})
			return
		}
		_ = json.NewEncoder(w).Encode(api.Processes{
			Source: cmp.Or(e.source, "hooks"), Granularity: "page", Total: len(e.processes), Processes: e.processes[:min(limit, len(e.processes))],
		})
	case e.heatmap != nil:
		h, fail := e.heatmap(r)
		if fail != nil {
			w.WriteHeader(http.StatusNotFound)
			_ = json.NewEncoder(w).Encode(fail)
			return
		}
		_ = json.NewEncoder(w).Encode(h)
	default:
		http.NotFound(w, r)
	}
}

func (e *fakeExporter) questions() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]string(nil), e.asked...)
}

// client asks it, by a clock that does not move.
func (e *fakeExporter) client(t testing.TB) *Client {
	t.Helper()
	c, err := NewClient("http://127.0.0.1:9934", &http.Client{Transport: direct{e}})
	if err != nil {
		t.Fatal(err)
	}
	c.now = func() time.Time { return noon().Add(10 * time.Second) }
	return c
}

const mib = 1 << 20

// shop is what a machine with a few services may have.
func shop() []api.Process {
	p := func(memcg string, pid int, comm string, hot, warm, cold, unobserved uint64) api.Process {
		return api.Process{
			Memcg: memcg, PID: pid, Comm: comm, WindowEnd: noon(), WindowPasses: 4, Windows: 60,
			Resident: (hot + warm + cold + unobserved) * mib, Hot: hot * mib, Warm: warm * mib, Cold: cold * mib, Unobserved: unobserved * mib,
		}
	}
	return []api.Process{
		p("/system.slice/memcached.service", 1234, "memcached", 96, 160, 744, 24),
		p("/system.slice/postgresql.service", 2210, "postgres", 400, 120, 380, 3),
		p("/user.slice/user-1000.slice/user@1000.service/app.slice/firefox.scope", 31337, "Web Content", 10, 30, 301, 90),
		p("/kubepods.slice/burstable/pod1/api", 4021, "java", 900, 50, 75, 0),
		p("/system.slice/ユーザー.service", 500, "日本語プロセス", 1, 2, 20, 0),
		p("/init.scope", 1, "systemd", 0, 1, 9, 1),
	}
}

// gaussian is memcached as in the 2022 RFC: populated from the lowest address on,
// and then read around a key in the middle. Some of it is unobserved.
func gaussian(rows, windows int) *api.Heatmap {
	const regions = 512
	rows = min(rows, regions)
	per := (regions + rows - 1) / rows
	rows = (regions + per - 1) / per
	h := &api.Heatmap{Process: shop()[0], Regions: regions, To: regions, Nodes: []int{0, 1}}
	for r := range rows {
		row := api.Row{Position: r * per, Regions: min(per, regions-r*per), Mapping: "[heap]", Mappings: 1}
		switch at := r * per; {
		case at >= 500:
			row.Mapping, row.Offset = "[stack]", uint64(at-500)*2*mib
		case at >= 470:
			row.Mapping, row.Offset = "/usr/lib/x86_64-linux-gnu/libc.so.6", uint64(at-470)*2*mib
		case at >= 440:
			row.Mapping, row.Offset = "/dev/shm/slabs", uint64(at-440)*2*mib
		default:
			row.Offset = uint64(at) * 2 * mib
		}
		h.Rows = append(h.Rows, row)
	}
	for w := range windows {
		age := windows - 1 - w
		step := 60 - 1 - age // of 60, as all tests see the same
		c := api.Column{End: noon().Add(-time.Duration(age) * 2 * time.Minute), Passes: 4}
		for r := range rows {
			at := float64(r*per) / regions
			pages := uint32(512 * h.Rows[r].Regions)
			share, present, seen, idle := 0.0, true, 1.0, 0.0
			populated := float64(step) / 20
			switch {
			case at >= 0.86:
				share = 0.02 * float64((r+step)%3)
				if at >= 0.92 && at < 0.95 {
					seen = 0
				}
			case step < 20 && at > populated:
				present = false
			case step < 20 && at > populated-0.06:
				share = 0.9
			case step >= 22:
				share = math.Exp(-math.Pow((at-0.45)/0.08, 2)/2) * (0.9 + 0.1*math.Sin(float64(step*7+r)))
				if share < 0.003 {
					share = 0
				}
			}
			if share == 0 {
				idle = float64(max(step-20, 0)+int((1-at)*20)) * 120
			}
			if !present {
				pages = 0
			}
			watched := uint32(float64(pages) * seen)
			warm := uint32(float64(watched) * min(share*1.5, 1) / 2)
			hot := uint32(float64(watched) * share / 2)
			anon, shmem := pages, uint32(0)
			if m := h.Rows[r].Mapping; m == "/dev/shm/slabs" {
				anon, shmem = 0, pages
			} else if m[0] == '/' {
				anon = 0
			}
			node := 0
			if at > 0.3 && at < 0.7 {
				node = 1
			}
			c.Accesses = append(c.Accesses, uint64(float64(watched)*share*4))
			c.Pages = append(c.Pages, pages)
			c.Anon = append(c.Anon, anon)
			c.Shmem = append(c.Shmem, shmem)
			c.Hot = append(c.Hot, hot)
			c.Warm = append(c.Warm, warm)
			c.Cold = append(c.Cold, watched-hot-warm)
			c.Node = append(c.Node, node)
			c.Idle = append(c.Idle, idle)
		}
		h.Columns = append(h.Columns, c)
	}
	return h
}

// memcached answers as the exporter does: of as many rows and windows as are
// asked for and kept.
func memcached(kept int) func(*http.Request) (*api.Heatmap, *api.Error) {
	return func(r *http.Request) (*api.Heatmap, *api.Error) {
		if want := "/api/v1/processes/1234/heatmap"; r.URL.Path != want {
			return nil, &api.Error{Error: fmt.Sprintf("no process %s", r.URL.Path)}
		}
		number := func(name string) int {
			n, err := strconv.Atoi(r.URL.Query().Get(name))
			if err != nil {
				return 0
			}
			return n
		}
		h := gaussian(number("rows"), min(number("windows"), kept))
		if to := number("to"); to > 0 {
			whole := gaussian(512, min(number("windows"), kept))
			h = cut(whole, number("from"), min(to, whole.Regions))
		}
		return h, nil
	}
}

// cut leaves the rows of some positions of a heatmap that has a row for each.
func cut(h *api.Heatmap, from, to int) *api.Heatmap {
	h.From, h.To, h.Rows = from, to, h.Rows[from:to]
	for i := range h.Columns {
		c := &h.Columns[i]
		c.Accesses, c.Pages, c.Anon, c.Shmem = c.Accesses[from:to], c.Pages[from:to], c.Anon[from:to], c.Shmem[from:to]
		c.Hot, c.Warm, c.Cold, c.Node, c.Idle = c.Hot[from:to], c.Warm[from:to], c.Cold[from:to], c.Node[from:to], c.Idle[from:to]
	}
	return h
}

// direct hands requests to a handler without a connection.
type direct struct{ http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return w.Result(), nil
}
