package top

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"

	"mglru_exporter/internal/api"
)

func TestWithoutHeatmaps(t *testing.T) {
	s := newSession(t, mono())
	s.list.answer.Granularity, s.source = "mapping", "referenced"
	s.list.answer.Processes[0].Windows = 0
	s.press("Enter")
	s.wantText("no heatmap: the source referenced sees mappings")
	s.list.answer.Granularity = "page"
	s.press("Enter")
	s.wantText("no heatmap of this process yet")
	if s.heat.pid != 0 {
		t.Error("opened it")
	}
	for _, h := range []*api.Heatmap{{}, {Rows: []api.Row{}}, {Columns: []api.Column{{End: noon()}}}} {
		s.exporter.heatmap = func(*http.Request) (*api.Heatmap, *api.Error) { return h, nil }
		s.open(1234)
		s.answer()
		s.wantText("Nothing was resident")
		s.press("Up", "Left", "Down", "+", "-", "<", ">", "o", "Home", "End", " ")
		s.wantText("Nothing was resident")
		s.press("Esc", "Esc")
	}
}

func TestHelp(t *testing.T) {
	s := newSession(t, mono())
	s.press("?")
	s.wantText("Which memory is hot", "never shown as cold", "every 1s")
	golden(t, "help.txt", []byte(s.text()))
	if got := s.press("q"); got != nothing || s.help {
		t.Error("a key in the help did more than leave it")
	}
}

func TestAnySizeIsDrawn(t *testing.T) {
	for _, pid := range []int{0, 1234} {
		o := mono()
		o.PID = pid
		for _, p := range []Palette{{0, true}, {someColors, false}, {allColors, true}} {
			o.Palette = p
			s := newSession(t, o)
			for w := 1; w < 300; w += 23 {
				for h := 1; h < 80; h += 11 {
					s.w, s.h = w, h
					var f frame
					s.draw(&f)
					s.press("Up", "Left")
					s.draw(&f)
					if len(f.cells) != w*h {
						t.Fatalf("%d×%d: %d cells", w, h, len(f.cells))
					}
				}
			}
		}
	}
}

func TestHostileNamesStayInTheirPlace(t *testing.T) {
	s := newSession(t, mono())
	evil := "\x1b[2J\n\x07日本\u202e\xff" + strings.Repeat("x", 5000)
	for i := range s.exporter.processes {
		s.exporter.processes[i].Comm, s.exporter.processes[i].Memcg = evil, "/"+evil
	}
	s.answer()
	check := func() {
		t.Helper()
		lines := strings.Split(strings.TrimSuffix(s.text(), "\n"), "\n")
		for _, l := range lines {
			if strings.ContainsAny(l, "\x1b\x07\r\u202e") || width(l) > 80 {
				t.Errorf("line %q", l)
			}
		}
		if len(lines) != 24 {
			t.Errorf("%d lines", len(lines))
		}
	}
	check()
	s.press("Enter")
	h := s.heat.answer
	h.Process.Comm, h.Process.Memcg = evil, evil
	for i := range h.Rows {
		h.Rows[i].Mapping, h.Rows[i].Address = evil, evil
	}
	check()
	s.press("Up")
	check()
}

func TestNoHeatmapOfMappings(t *testing.T) {
	c, err := NewClient("http://there", &http.Client{Transport: direct{http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"source": "referenced", "granularity": "mapping"}`))
	})}})
	if err != nil {
		t.Fatal(err)
	}
	o := options(c, Palette{})
	o.PID = 1234
	if err := Once(t.Context(), &bytes.Buffer{}, o, 80, 24); err == nil || err.Error() != "no heatmap: the source referenced sees mappings, not pages" {
		t.Errorf("error %v", err)
	}
}

func TestReplayedWindowsAreNotStale(t *testing.T) {
	s := newSession(t, mono())
	s.press("Enter")
	s.source = "replay"
	s.now = s.now.Add(24 * time.Hour)
	s.wantText("replay", "ended 2026-03-14 12:00:00")
}
