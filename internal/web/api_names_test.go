package web_test

import (
	"cmp"
	"encoding/json"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"mglru_exporter/collector"
	"mglru_exporter/internal/api"
	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/heatmap"
	"mglru_exporter/internal/web"
)

// TestNamesHaveOneSpelling: /metrics, the list of processes, heatmaps and events
// spell names that are not text the same way, and the API finds a memcg by the
// name that it gave.
func TestNamesHaveOneSpelling(t *testing.T) {
	raw := []string{"/a\xff", "/a\uFFFDff", "/a\x1b[31m", "/a\u202eb", "/a\u2028", `/a\x2d`, "/a é"}
	shown := []string{"/a\uFFFDff", "/a\uFFFD\uFFFDff", "/a\uFFFD1b[31m", "/a\uFFFDe2\uFFFD80\uFFFDaeb", "/a\uFFFDe2\uFFFD80\uFFFDa8", `/a\x2d`, "/a é"}
	snap, h := &heat.Snapshot{Source: heat.SourceInfo{Name: "hooks", Granularity: "page"}}, heatmap.New(1<<20)
	for i, path := range raw {
		s := series(i+1, "c"+path[2:], 10<<20, 0, 0)
		snap.Memcgs = append(snap.Memcgs, &heat.MemcgSnapshot{Path: path, WindowEnd: noon, WindowPasses: 4, Series: []heat.Series{s}})
	}
	slices.SortFunc(snap.Memcgs, func(a, b *heat.MemcgSnapshot) int { return cmp.Compare(a.Path, b.Path) })
	for i, path := range raw {
		w := oven(noon)
		w.TGID = i + 1
		h.Add(path, w)
		h.Commit(snap, path)
	}
	a := web.NewAPI(web.APIOptions{Snapshot: func() *heat.Snapshot { return snap }, History: h})
	get := func(target string, into any) {
		t.Helper()
		w := ask(a, "GET", target)
		if err := json.Unmarshal(w.Body.Bytes(), into); w.Code != 200 || err != nil {
			t.Fatalf("%s: %d %v %s", target, w.Code, err, w.Body)
		}
	}
	labels := processLabels(t, snap)
	var all api.Processes
	get(api.ProcessesPath+"?sort=pid", &all)
	if len(all.Processes) != len(raw) {
		t.Fatalf("%d processes, want %d", len(all.Processes), len(raw))
	}
	for i, p := range all.Processes {
		comm := "c" + shown[i][2:]
		if p.Memcg != shown[i] || p.Comm != comm || p.Windows != 1 {
			t.Errorf("%q: the list has %q, %q and %d windows, want %q, %q and 1", raw[i], p.Memcg, p.Comm, p.Windows, shown[i], comm)
		}
		if !labels[[2]string{shown[i], comm}] {
			t.Errorf("%q: no series with memcg %q and comm %q", raw[i], shown[i], comm)
		}
		for _, asked := range []string{p.Memcg, raw[i]} {
			if asked == raw[1] && asked != p.Memcg {
				continue // as it is, this is what another one is called
			}
			var found api.Processes
			get(api.ProcessesPath+"?memcg="+url.QueryEscape(asked), &found)
			if len(found.Processes) != 1 || found.Processes[0].PID != p.PID {
				t.Errorf("memcg=%q finds %+v, want process %d", asked, found.Processes, p.PID)
			}
		}
		var one api.Heatmap
		get("/api/v1/processes/"+string(rune('0'+p.PID))+"/heatmap", &one)
		if one.Process.Memcg != shown[i] || one.Rows[len(one.Rows)-1].Mapping != "/srv/dough\uFFFDff" {
			t.Errorf("%q: its heatmap says %q, and rows %+v", raw[i], one.Process.Memcg, one.Rows)
		}
	}
}

// processLabels returns the labels memcg and comm of all process series.
func processLabels(t *testing.T, snap *heat.Snapshot) map[[2]string]bool {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(collector.New(func() *heat.Snapshot { return snap }, collector.Options{LabelPID: true, LabelComm: true}))
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[[2]string]bool{}
	for _, f := range families {
		if f.GetName() != "mglru_resident_bytes" {
			continue
		}
		for _, m := range f.Metric {
			var key [2]string
			for _, l := range m.Label {
				switch l.GetName() {
				case "memcg":
					key[0] = l.GetValue()
				case "comm":
					key[1] = l.GetValue()
				}
			}
			out[key] = true
		}
	}
	return out
}

// TestEventsSpellNamesAsTheListDoes: a client looks for the memcg of an event in
// its list.
func TestEventsSpellNamesAsTheListDoes(t *testing.T) {
	const path = "/a\xff"
	a := web.NewAPI(web.APIOptions{History: heatmap.New(0), Snapshot: func() *heat.Snapshot {
		return &heat.Snapshot{Memcgs: []*heat.MemcgSnapshot{{Path: path, WindowEnd: noon}}}
	}})
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	t.Cleanup(a.Close)
	s := follow(t, strings.TrimPrefix(server.URL, "http://"))
	a.Ended(path)
	if got, want := s.block(), `"memcg":"/a`+"\uFFFDff"+`"`; !strings.Contains(got, want) {
		t.Errorf("the event is %q, want %q in it", got, want)
	}
}
