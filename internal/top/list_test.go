package top

import (
	"strings"
	"testing"

	"mglru_exporter/internal/api"
)

// TestListWithoutASource says why there is no process, and where to look.
func TestListWithoutASource(t *testing.T) {
	s := newSession(t, mono())
	s.exporter.processes, s.exporter.source = nil, "none"
	s.answer()
	s.wantText("No usable source on that machine: its /-/ready says why.")
}

func TestListKeys(t *testing.T) {
	s := newSession(t, mono())
	for _, c := range []struct {
		keys     []string
		selected int
	}{
		{[]string{"Down"}, 2210}, {[]string{"j", "j"}, 4021}, {[]string{"Up"}, 31337}, {[]string{"k"}, 2210},
		{[]string{"End"}, 1}, {[]string{"Down"}, 1}, {[]string{"Home"}, 1234}, {[]string{"Up"}, 1234},
		{[]string{"PgDn"}, 1}, {[]string{"PgUp"}, 1234}, {[]string{"G"}, 1}, {[]string{"g"}, 1234},
	} {
		if s.press(c.keys...); s.list.selected != c.selected {
			t.Errorf("%v: %d, want %d", c.keys, s.list.selected, c.selected)
		}
	}
	if s.press("s"); s.want().sort != "hot" {
		t.Errorf("sorted by %s", s.want().sort)
	}
	if s.press("S", "S"); s.want().sort != "comm" {
		t.Errorf("sorted by %s", s.want().sort)
	}
	s.wantText("▾COMM")
	if got := s.press("r"); got != refresh {
		t.Errorf("r: %v", got)
	}
	if got := s.press("^L"); got != redraw {
		t.Errorf("^L: %v", got)
	}
	for _, k := range []string{"q", "^C"} {
		if got := s.press(k); got != quit {
			t.Errorf("%s: %v", k, got)
		}
	}
}

func TestSelectedProcessStaysSelectedWhereverItIsSortedTo(t *testing.T) {
	s := newSession(t, mono())
	s.press("Down")
	p := shop()
	p[0], p[1], p[4] = p[4], p[0], p[1]
	s.exporter.processes = p
	s.answer()
	if s.list.selected != 2210 || s.list.index != 4 {
		t.Errorf("selected %d at %d", s.list.selected, s.list.index)
	}
	s.exporter.processes = p[:2] // it has gone
	s.answer()
	if s.list.selected != p[1].PID {
		t.Errorf("selected %d", s.list.selected)
	}
	s.exporter.processes = nil
	s.answer()
	s.press("Down", "Up", "Enter", "End")
	s.wantText("No process has been seen")
}

func TestSearch(t *testing.T) {
	s := newSession(t, mono())
	s.press("/", "q", "?", " ", "é", "x")
	if s.want().search != "q? éx" || s.help || s.paused {
		t.Errorf("searches %q", s.want().search)
	}
	s.wantText("search: q? éx_")
	s.press("Backspace", "Backspace", "Down")
	if s.want().search != "q? " || s.list.selected != 2210 {
		t.Errorf("searches %q, selected %d", s.want().search, s.list.selected)
	}
	s.press("Enter")
	if s.wantText("search: q?"); strings.Contains(s.text(), "_ ") || s.list.typing {
		t.Error("still typing")
	}
	s.press("/", "^U", "a", "Backspace", "Backspace", "b")
	if s.want().search != "b" {
		t.Errorf("searches %q", s.want().search)
	}
	s.press("Esc")
	if s.want().search != "" || s.list.typing {
		t.Errorf("searches %q", s.want().search)
	}
	s.press("/")
	for range 2 * maxSearch {
		s.press("日")
	}
	if n := len(s.want().search); n > maxSearch {
		t.Errorf("%d bytes", n)
	}
	s.press("Enter", "Esc")
	if s.want().search != "" {
		t.Errorf("searches %q", s.want().search)
	}
}

func TestListAsksForMoreWhenItsEndIsNear(t *testing.T) {
	s := newSession(t, mono())
	if got := s.want().limit; got != api.DefaultLimit {
		t.Errorf("limit %d", got)
	}
	s.exporter.processes = make([]api.Process, api.MaxLimit)
	for i := range s.exporter.processes {
		s.exporter.processes[i].PID = i + 1
	}
	s.answer()
	for range 11 {
		s.press("PgDn")
	}
	if got := s.want().limit; got != 2*api.DefaultLimit {
		t.Errorf("limit %d at %d", got, s.list.index)
	}
	for range api.MaxLimit/api.DefaultLimit + 2 {
		s.press("End")
	}
	if got := s.want().limit; got != api.MaxLimit || s.list.index != api.MaxLimit-1 {
		t.Errorf("limit %d at %d", got, s.list.index)
	}
}
