package web_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
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

var update = flag.Bool("update", false, "rewrite the golden answers under testdata")

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

const regionBytes = heat.RegionSize

func series(pid int, comm string, hot, cold, unobserved uint64) heat.Series {
	// On two nodes, as a sum is to be had.
	return heat.Series{PID: pid, Comm: comm, SwappedBytes: 8192, Areas: []heat.Area{
		{Node: 0, Type: heat.Anon, Hot: hot, Cold: cold, Resident: hot + cold},
		{Node: 1, Type: heat.File, Unobserved: unobserved, Resident: unobserved},
	}}
}

// town has processes in two memcgs, of which one has had two windows.
func town() *heat.Snapshot {
	return &heat.Snapshot{
		Source: heat.SourceInfo{Name: "hooks", Granularity: "page"},
		Memcgs: []*heat.MemcgSnapshot{
			{Path: "/bakery", WindowEnd: noon, WindowPasses: 4, Series: []heat.Series{
				series(heat.PIDOther, "", 1<<30, 1<<30, 1<<30),
				series(7, "oven", 10<<20, 30<<20, 0),
				series(8, "b\xffker<\n>", 20<<20, 10<<20, 50<<20),
			}},
			{Path: "/missing"},
			{Path: "/smithy", WindowEnd: noon.Add(-time.Second), WindowPasses: 2, Series: []heat.Series{
				series(42, "anvil", 1<<20, 20<<20, 1<<20),
			}},
		},
	}
}

// oven is a window of process 7.
func oven(end time.Time) *heat.ProcessWindow {
	return &heat.ProcessWindow{
		Process: heat.Process{ProcessID: heat.ProcessID{TGID: 7, Start: 1, Image: 2}, Comm: "oven"},
		End:     end, Passes: 4,
		Regions: []heat.RegionHeat{
			{Region: 0x55d, Resident: 512, Anon: 512, Hot: 100, Warm: 12, Cold: 400, Accesses: 412, Node: 1},
			{Region: 0x55e, Resident: 300, Anon: 200, Shmem: 50, Cold: 250, Node: 0, Idle: 90 * time.Second},
			{Region: 0x7f3, Resident: 10, Node: -1},
		},
		Mappings: []heat.Mapping{
			{Start: 0x55d * regionBytes, End: 0x560 * regionBytes, Name: "[heap]"},
			{Start: 0x7f3*regionBytes + 4096, End: 0x7f4 * regionBytes, Name: "/srv/dough\xff"},
		},
	}
}

// serving is an API of town, in which process 7 has had two windows.
func serving(t testing.TB, expose bool) (*web.API, *heatmap.History) {
	t.Helper()
	snap, h := town(), heatmap.New(1<<20)
	a := web.NewAPI(web.APIOptions{Snapshot: func() *heat.Snapshot { return snap }, History: h, ExposeAddresses: expose})
	first := oven(noon.Add(-time.Minute))
	first.Regions = first.Regions[1:]
	snap.Memcgs[0].WindowEnd = first.End
	h.Add("/bakery", first)
	a.Ended("/bakery")
	snap.Memcgs[0].WindowEnd = noon
	h.Add("/bakery", oven(noon))
	a.Ended("/bakery")
	return a, h
}

func ask(h http.Handler, method, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w
}

func body(t testing.TB, resp *http.Response) []byte {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// decode decodes all of an answer, in which nothing may be unknown.
func decode[T any](t testing.TB, data []byte) (v T) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	if d.More() {
		t.Fatalf("more than one value in %s", data)
	}
	return v
}

func TestAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		path   string
		expose bool
	}{
		"processes": {"/api/v1/processes", false},
		"heatmap":   {"/api/v1/processes/7/heatmap", false},
		"folded":    {"/api/v1/processes/7/heatmap?rows=1&windows=1&from=1&to=99", false},
		"addresses": {"/api/v1/processes/7/heatmap?rows=2&windows=1", true},
	} {
		t.Run(name, func(t *testing.T) {
			a, _ := serving(t, c.expose)
			resp := ask(a, http.MethodGet, c.path)
			if resp.Code != http.StatusOK || resp.Header().Get("Content-Type") != "application/json" || resp.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("status %d, header %v", resp.Code, resp.Header())
			}
			got := resp.Body.Bytes()
			if strings.HasPrefix(name, "processes") {
				decode[api.Processes](t, got)
			} else {
				decode[api.Heatmap](t, got)
			}
			var b bytes.Buffer
			if err := json.Indent(&b, got, "", "  "); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), b.String()); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}

func TestProcessesAreSelectedAndSorted(t *testing.T) {
	a, _ := serving(t, false)
	for _, c := range []struct {
		query string
		pids  []int
		total int
	}{
		{"", []int{7, 42, 8}, 3},
		{"sort=cold", []int{7, 42, 8}, 3},
		{"sort=hot", []int{8, 7, 42}, 3},
		{"sort=resident", []int{8, 7, 42}, 3},
		{"sort=unobserved", []int{8, 42, 7}, 3},
		{"sort=pid", []int{7, 8, 42}, 3},
		{"sort=comm", []int{42, 8, 7}, 3},
		{"limit=1", []int{7}, 3},
		{"memcg=/smithy", []int{42}, 1},
		{"memcg=/smi", []int{}, 0},
		{"memcg=/missing", []int{}, 0},
		{"search=OVE", []int{7}, 1},
		{"search=42", []int{42}, 1},
		{"search=baker", []int{7, 8}, 2},
		{"search=nobody", []int{}, 0},
		{"search=&limit=5000", []int{7, 42, 8}, 3},
		{"memcg=/bakery&search=8&sort=pid", []int{8}, 1},
	} {
		got := decode[api.Processes](t, ask(a, http.MethodGet, "/api/v1/processes?"+c.query).Body.Bytes())
		pids := []int{}
		for _, p := range got.Processes {
			pids = append(pids, p.PID)
		}
		if diff := cmp.Diff(c.pids, pids); diff != "" || got.Total != c.total {
			t.Errorf("%s: total %d, want %d; pids (-want +got):\n%s", c.query, got.Total, c.total, diff)
		}
	}
}

func TestErrorsSayWhatIsWrongAndWhatIsRight(t *testing.T) {
	a, _ := serving(t, false)
	for _, c := range []struct {
		method, path string
		status       int
		text         string
	}{
		{"GET", "/api/v1/processes?limit=0", 400, `limit: "0" is not a whole number from 1 to 5000`},
		{"GET", "/api/v1/processes?limit=-1", 400, `limit: "-1" is not a whole number from 1 to 5000`},
		{"GET", "/api/v1/processes?limit=", 400, `limit: "" is not a whole number from 1 to 5000`},
		{"GET", "/api/v1/processes?limit=99999999999999999999", 400, `limit: "99999999999999999999" is not a whole number from 1 to 5000`},
		{"GET", "/api/v1/processes?limit=1&limit=2", 400, `limit is given 2 times, give it once`},
		{"GET", "/api/v1/processes?sort=size", 400, `sort: "size" is not one of cold, hot, resident, unobserved, pid, comm`},
		{"GET", "/api/v1/processes?sort=", 400, `sort: "" is not one of cold, hot, resident, unobserved, pid, comm`},
		{"GET", "/api/v1/processes?memcg=a", 400, `memcg: "a" is not a path from the cgroup root, which begins with a slash`},
		{"GET", "/api/v1/processes?search=" + strings.Repeat("x", 5000), 400, `search: "` + strings.Repeat("x", 60) + `"… is longer than 4096 bytes`},
		{"GET", "/api/v1/processes?serach=x", 400, `there is no parameter "serach", there are memcg, search, sort, limit`},
		{"GET", "/api/v1/processes?a=%zz", 400, `the query is not valid: invalid URL escape "%zz"`},
		{"GET", "/api/v1/processes/7/heatmap?rows=4097", 400, `rows: "4097" is not a whole number from 1 to 4096`},
		{"GET", "/api/v1/processes/7/heatmap?windows=241", 400, `windows: "241" is not a whole number from 1 to 240`},
		{"GET", "/api/v1/processes/7/heatmap?from=5&to=5", 400, `to: "5" is not above from, 5`},
		{"GET", "/api/v1/processes/7/heatmap?from=0x1", 400, `from: "0x1" is not a whole number from 0 to 2147483646`},
		{"GET", "/api/v1/processes/x/heatmap", 400, `pid: "x" is not a whole number from 1 to 2147483647`},
		{"GET", "/api/v1/processes/-1/heatmap", 400, `pid: "-1" is not a whole number from 1 to 2147483647`},
		{"GET", "/api/v1/processes/0/heatmap", 400, `pid: "0" is not a whole number from 1 to 2147483647`},
		{"GET", "/api/v1/events?memcg=/a", 400, `events have no parameters`},
		{"GET", "/api/v1/processes/99/heatmap", 404, `process 99 has no series of its own: it has exited, is not watched, has had no window yet, or is among those that processes.top and processes.min_resident merge into pid="other"`},
		{"GET", "/api/v1/processes/42/heatmap", 404, `no window of process 42 is kept: limits.max_heatmap_bytes has no room for so small a process, or none has ended since that was raised`},
		{"GET", "/api/v1/process", 404, `there is no such path, there are /api/v1/processes, /api/v1/processes/{pid}/heatmap and /api/v1/events`},
		{"GET", "/api/", 404, `there is no such path, there are /api/v1/processes, /api/v1/processes/{pid}/heatmap and /api/v1/events`},
		{"POST", "/api/v1/processes", 405, `method POST is not allowed, use GET`},
		{"DELETE", "/api/v1/processes/7/heatmap", 405, `method DELETE is not allowed, use GET`},
		{"OPTIONS", "/api/v1/events", 405, `method OPTIONS is not allowed, use GET`},
	} {
		resp := ask(a, c.method, c.path)
		got := decode[api.Error](t, resp.Body.Bytes())
		if resp.Code != c.status || got.Error != c.text || resp.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s %.80s: %d %q, want %d %q", c.method, c.path, resp.Code, got.Error, c.status, c.text)
		}
		if (resp.Header().Get("Allow") == "GET, HEAD") != (c.status == 405) {
			t.Errorf("%s %.80s: Allow %q", c.method, c.path, resp.Header().Get("Allow"))
		}
	}
}

func TestNoHeatmapSaysWhy(t *testing.T) {
	for want, change := range map[string]func(*heat.Snapshot, *heatmap.History){
		"source referenced sees mappings, not pages": func(s *heat.Snapshot, h *heatmap.History) {
			s.Source = heat.SourceInfo{Name: "referenced", Granularity: "mapping"}
			h.SetLimit(0)
		},
		"limits.max_heatmap_bytes: 0": func(_ *heat.Snapshot, h *heatmap.History) { h.SetLimit(0) },
		"labels.pid off": func(s *heat.Snapshot, _ *heatmap.History) {
			s.Memcgs[0].Series = []heat.Series{series(heat.PIDOff, "oven", 1, 1, 1)}
		},
	} {
		snap, h := town(), heatmap.New(1<<20)
		a := web.NewAPI(web.APIOptions{Snapshot: func() *heat.Snapshot { return snap }, History: h})
		change(snap, h)
		resp := ask(a, http.MethodGet, "/api/v1/processes/7/heatmap")
		if got := decode[api.Error](t, resp.Body.Bytes()); resp.Code != http.StatusNotFound || !strings.Contains(got.Error, want) {
			t.Errorf("%d %q, want 404 with %q", resp.Code, got.Error, want)
		}
	}
}

func TestAProcessThatHasMovedIsWhereItWasLast(t *testing.T) {
	a, h := serving(t, false)
	moved := town()
	moved.Memcgs[2].WindowEnd = noon.Add(time.Minute)
	moved.Memcgs[2].Series = append(moved.Memcgs[2].Series, series(7, "oven", 0, 1<<20, 0))
	a.Snapshot = func() *heat.Snapshot { return moved }
	h.Add("/smithy", oven(noon.Add(time.Minute)))
	a.Ended("/smithy")
	got := decode[api.Heatmap](t, ask(a, http.MethodGet, "/api/v1/processes/7/heatmap").Body.Bytes())
	if got.Process.Memcg != "/smithy" || len(got.Columns) != 1 || got.Process.Windows != 1 {
		t.Errorf("process %+v with %d columns, want that of /smithy with one", got.Process, len(got.Columns))
	}
}

func TestHeadHasNoBody(t *testing.T) {
	o := options()
	o.API, _ = serving(t, false)
	address, stop := run(t, o)
	for _, path := range []string{"/api/v1/processes", "/api/v1/processes/7/heatmap", "/api/v1/events"} {
		resp, err := client().Head("http://" + address + path)
		if err != nil {
			t.Fatal(err)
		}
		if b := body(t, resp); resp.StatusCode != http.StatusOK || len(b) > 0 {
			t.Errorf("%s: %d with %q", path, resp.StatusCode, b)
		}
		resp.Body.Close()
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestGzip(t *testing.T) {
	a, _ := serving(t, false)
	plain := ask(a, http.MethodGet, "/api/v1/processes/7/heatmap").Body.Bytes()
	for accept, want := range map[string]bool{"gzip": true, "br, gzip": true, "": false, "br": false, "gzip;q=0": false} {
		r := httptest.NewRequest(http.MethodGet, "/api/v1/processes/7/heatmap", nil)
		r.Header.Set("Accept-Encoding", accept)
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		var in io.Reader = w.Body
		if (w.Header().Get("Content-Encoding") == "gzip") != want {
			t.Errorf("%q: Content-Encoding %q", accept, w.Header().Get("Content-Encoding"))
			continue
		}
		if want {
			z, err := gzip.NewReader(in)
			if err != nil {
				t.Fatal(err)
			}
			in = z
		}
		if got, err := io.ReadAll(in); err != nil || !bytes.Equal(plain, got) {
			t.Errorf("%q: %v, %s", accept, err, got)
		}
	}
}

// TestTooManyAPIRequestsAreTurnedAway, and those that are let in have one CPU together.
func TestTooManyAPIRequestsAreTurnedAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const slots = 8
		var computing, most atomic.Int32
		release := make(chan struct{})
		a := web.NewAPI(web.APIOptions{History: heatmap.New(0), Snapshot: func() *heat.Snapshot {
			most.Store(max(most.Load(), computing.Add(1)))
			<-release
			computing.Add(-1)
			return town()
		}})
		done := make(chan int, slots)
		for range slots {
			go func() { done <- ask(a, http.MethodGet, "/api/v1/processes").Code }()
		}
		synctest.Wait()
		resp := ask(a, http.MethodGet, "/api/v1/processes/7/heatmap")
		if got := decode[api.Error](t, resp.Body.Bytes()); resp.Code != http.StatusServiceUnavailable || resp.Header().Get("Retry-After") == "" || got.Error == "" {
			t.Errorf("%d %q with %v, want 503", resp.Code, got.Error, resp.Header())
		}
		close(release)
		for range slots {
			if status := <-done; status != 200 {
				t.Errorf("one before it: %d", status)
			}
		}
		if most.Load() != 1 {
			t.Errorf("%d were computed at the same time, want 1", most.Load())
		}
	})
}

// TestLongPathsHaveOneShortFormEverywhere: in the list, in metrics, and to ask for.
func TestLongPathsHaveOneShortFormEverywhere(t *testing.T) {
	snap := town()
	long := "/" + strings.Repeat("smithy/", 500)
	snap.Memcgs[2].Path = long
	a := web.NewAPI(web.APIOptions{History: heatmap.New(0), Snapshot: func() *heat.Snapshot { return snap }})
	list := func(query string) []api.Process {
		t.Helper()
		resp := ask(a, http.MethodGet, "/api/v1/processes?"+query)
		if resp.Code != http.StatusOK {
			t.Fatalf("%d %s", resp.Code, resp.Body)
		}
		return decode[api.Processes](t, resp.Body.Bytes()).Processes
	}
	all := list("search=anvil")
	if len(all) != 1 || len(all[0].Memcg) > 512 || !strings.HasPrefix(all[0].Memcg, "/smithy/") {
		t.Fatalf("%+v, want one with a short path", all)
	}
	for _, path := range []string{all[0].Memcg, long} {
		if got := list("memcg=" + url.QueryEscape(path)); len(got) != 1 || got[0].PID != 42 {
			t.Errorf("memcg of %d bytes: %+v, want process 42", len(path), got)
		}
	}
	o := options()
	o.Series = seriesOf(func() *heat.Snapshot { return snap })
	if _, text := scrape(t, server(t, o).Handler(), "/metrics", "", false); !strings.Contains(text, `memcg="`+all[0].Memcg+`"`) {
		t.Errorf("no %s in /metrics", all[0].Memcg)
	}
}

// FuzzQueries asks with any parameters: what is answered is JSON, within bounds,
// and what is refused says why.
func FuzzQueries(f *testing.F) {
	for _, q := range []string{"", "rows=1&windows=1", "from=1&to=2", "rows=0", "sort=pid&limit=3", "memcg=%2f&search=%ff", "a;b", "rows=1&rows=2", "from=2147483646"} {
		f.Add("7", q)
	}
	f.Add("%2F..", "")
	a, _ := serving(f, true)
	f.Fuzz(func(t *testing.T, pid, query string) {
		for _, path := range []string{"/api/v1/processes", fmt.Sprintf("/api/v1/processes/%s/heatmap", url.PathEscape(pid))} {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			u, err := url.Parse(path)
			if err != nil {
				t.Fatal(err)
			}
			u.RawQuery = query
			r.URL = u
			w := httptest.NewRecorder()
			a.ServeHTTP(w, r)
			switch resp := w.Result(); {
			case resp.StatusCode/100 == 3: // a path that the mux cleans
			case resp.StatusCode != http.StatusOK:
				if e := decode[api.Error](t, w.Body.Bytes()); e.Error == "" || resp.StatusCode >= 500 {
					t.Errorf("%s: %d %q", u, resp.StatusCode, e.Error)
				}
			case path == "/api/v1/processes":
				if p := decode[api.Processes](t, w.Body.Bytes()); len(p.Processes) > p.Total || p.Total > 3 {
					t.Errorf("%s: %d of %d processes", u, len(p.Processes), p.Total)
				}
			default:
				m := decode[api.Heatmap](t, w.Body.Bytes())
				if len(m.Rows) > api.MaxRows || len(m.Columns) > api.MaxWindows || m.From > m.To || m.To > m.Regions {
					t.Errorf("%s: %d rows of %d columns, positions %d to %d of %d", u, len(m.Rows), len(m.Columns), m.From, m.To, m.Regions)
				}
			}
		}
	})
}
