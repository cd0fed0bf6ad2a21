package top

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gdamore/tcell/v3"
	"github.com/google/go-cmp/cmp"

	"mglru_exporter/internal/api"
)

// A session is a model with an exporter that it is given the answers of.
type session struct {
	*model
	t        testing.TB
	exporter *fakeExporter
	client   *Client
}

func newSession(t testing.TB, o Options) *session {
	t.Helper()
	e := &fakeExporter{processes: shop(), heatmap: memcached(200)}
	o.Client = e.client(t)
	s := &session{model: newModel(o, 80, 24), t: t, exporter: e, client: o.Client}
	s.answer()
	return s
}

// answer gives the model what it wants.
func (s *session) answer() {
	s.now = s.client.now()
	s.take(s.client.ask(s.t.Context(), s.want(), s.before()))
}

// press sends keys, and answers what they made the model want. Names are those
// of special keys.
func (s *session) press(names ...string) command {
	s.t.Helper()
	special := map[string]tcell.Key{
		"Up": tcell.KeyUp, "Down": tcell.KeyDown, "Left": tcell.KeyLeft, "Right": tcell.KeyRight,
		"PgUp": tcell.KeyPgUp, "PgDn": tcell.KeyPgDn, "Home": tcell.KeyHome, "End": tcell.KeyEnd,
		"Enter": tcell.KeyEnter, "Esc": tcell.KeyEscape, "Backspace": tcell.KeyBackspace,
		"^C": tcell.KeyCtrlC, "^L": tcell.KeyCtrlL, "^U": tcell.KeyCtrlU,
	}
	c := nothing
	for _, n := range names {
		before := s.want()
		if k, ok := special[n]; ok {
			c = s.key(tcell.NewEventKey(k, "", tcell.ModNone))
		} else {
			c = s.key(tcell.NewEventKey(tcell.KeyRune, n, tcell.ModNone))
		}
		if s.want() != before {
			s.answer()
		}
	}
	return c
}

// text is the frame without styles.
func (s *session) text() string {
	var f frame
	var b bytes.Buffer
	s.draw(&f)
	if err := f.writeTo(&b, false); err != nil {
		s.t.Fatal(err)
	}
	return b.String()
}

func (s *session) wantText(want ...string) {
	s.t.Helper()
	got := s.text()
	for _, w := range want {
		if !strings.Contains(got, w) {
			s.t.Errorf("no %q in\n%s", w, got)
		}
	}
}

func mono() Options {
	return Options{Interval: time.Second, Overlay: Heat, Sort: "cold", Palette: Palette{0, true}, Zone: time.UTC}
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

func TestOverlays(t *testing.T) {
	s := newSession(t, mono())
	s.press("Enter")
	s.wantText("heat  · not accessed", "[heap]", "libc.so.6", "slabs")
	for _, want := range []string{"node  0 node 0", "type  a anon", "idle  0 <1m", "heat  · not"} {
		s.press("o")
		s.wantText(want)
	}
	for k, want := range map[string]string{"2": "node  0 node 0", "3": "type  a anon", "4": "idle  0 <1m", "1": "heat  · not"} {
		s.press(k)
		s.wantText(want)
	}
	s.press("4", "Esc", "Enter")
	s.wantText("idle  0 <1m")
}

func TestCursorTellsWhatIsUnderIt(t *testing.T) {
	s := newSession(t, mono())
	s.press("Enter", "Up")
	s.wantText("▸", "▴", "[heap] +0x", "32 regions", "12:00:00, 10s ago", "64.0M anon · node 1 · 52913 accesses (80.7%) · hot 40% warm 50% cold ")
	s.press("Left", "Left")
	s.wantText("11:56:00, 4m10s ago")
	for range 20 {
		s.press("Up")
	}
	s.wantText("/lib/x86_64-linux-gnu/libc.so.6 +0x")
	s.wantText("64.0M file · node 0 · unobserved: this window cannot say")
	for range 55 {
		s.press("Left")
	}
	s.press("Down", "Down", "Down")
	s.wantText("absent: no page was resident in this window")
	for range 40 {
		s.press("Down")
	}
	s.wantText("[heap] +0x0 · 32 regions", "64.0M anon · node 0 · no access, idle ≥ 40m · cold 100%")
	s.press("Esc")
	if s.heat.cursor.on || s.heat.pid == 0 {
		t.Error("the cursor is still there, or the list")
	}
	if s.press("Esc"); s.heat.pid != 0 {
		t.Error("not back in the list")
	}
}

func TestAddressesAreShownIfThereAreAny(t *testing.T) {
	s := newSession(t, mono())
	s.press("Enter", "Up")
	for i := range s.heat.answer.Rows {
		s.heat.answer.Rows[i].Address = "0x7f0000200000"
	}
	s.wantText("(0x7f0000200000)")
}

func TestZoomStaysAtTheCursor(t *testing.T) {
	s := newSession(t, mono())
	s.press("Enter", "Up")
	under := func() int {
		from, _ := s.rowsAt(s.heat.cursor.line)
		return s.heat.answer.Rows[from].Position
	}
	before := under()
	s.press("+")
	if q := s.want(); q.to-q.from != 256 {
		t.Errorf("zoomed to %d–%d", q.from, q.to)
	}
	if after := under(); after < before || after >= before+32 {
		t.Errorf("was at %d, is at %d", before, after)
	}
	s.wantText("regions")
	for range 12 {
		s.press("=")
	}
	if q := s.want(); q.to-q.from != 1 {
		t.Errorf("zoomed to %d–%d", q.from, q.to)
	}
	s.press("PgUp", "PgUp")
	for range 600 {
		s.press("PgDn")
	}
	if q := s.want(); q.from < 0 || q.to != 512 {
		t.Errorf("moved to %d–%d", q.from, q.to)
	}
	s.press("-", "-", "0")
	if q := s.want(); q.to != 0 {
		t.Errorf("zoomed to %d–%d", q.from, q.to)
	}
	s.press("-")
	if q := s.want(); q.to != 0 {
		t.Errorf("zoomed out of all: %d–%d", q.from, q.to)
	}
}

func TestCursorPansWhenZoomed(t *testing.T) {
	s := newSession(t, mono())
	s.press("Enter", "+", "+", "Esc")
	s.press("Enter", "+", "+", "Up")
	from := s.want().from
	for range 30 {
		s.press("Down")
	}
	if got := s.want().from; got == from || got < 0 {
		t.Errorf("from %d to %d", from, got)
	}
}

func TestHistoryHoldsStillWhileWindowsCome(t *testing.T) {
	s := newSession(t, mono())
	s.press("Enter")
	s.wantText("live")
	if got := s.want().windows; got != s.grid().w {
		t.Errorf("asks for %d windows while live", got)
	}
	s.press("<")
	last := func() time.Time { c := s.shown(); return c[len(c)-1].End }
	half := time.Duration(s.grid().w/2) * 2 * time.Minute
	if got := noon().Add(-half); !last().Equal(got) {
		t.Errorf("up to %s, want %s", last(), got)
	}
	s.wantText("history")
	held := last()
	s.exporter.heatmap = later(2 * time.Minute)
	s.press("r")
	s.answer()
	if !last().Equal(held) {
		t.Errorf("moved on to %s from %s", last(), held)
	}
	s.press("Home")
	if got := len(s.shown()); got != s.grid().w {
		t.Errorf("the oldest %d windows", got)
	}
	s.press("<", "[", "]", ">")
	s.press("End")
	s.wantText("live")
	if !last().Equal(noon().Add(2 * time.Minute)) {
		t.Errorf("up to %s", last())
	}
	// The cursor scrolls at both sides.
	s.press("Up")
	for range s.grid().w + 5 {
		s.press("Left")
	}
	s.wantText("history")
	for range s.grid().w + 10 {
		s.press("Right")
	}
	s.wantText("live")
}

func TestPauseStaysAtItsWindow(t *testing.T) {
	s := newSession(t, mono())
	s.press("Enter", " ")
	s.wantText("paused", "ended 12:00:00")
	s.exporter.heatmap = later(4 * time.Minute)
	s.press("+") // asks
	s.wantText("paused", "ended 12:00:00")
	s.press("End", ">")
	s.wantText("paused")
	s.press("p")
	s.wantText("live", "ended 12:04:00")
	s.press("Esc", " ")
	s.wantText("paused")
}

func later(by time.Duration) func(*http.Request) (*api.Heatmap, *api.Error) {
	return func(r *http.Request) (*api.Heatmap, *api.Error) {
		h, err := memcached(200)(r)
		if h != nil {
			h.Process.WindowEnd = h.Process.WindowEnd.Add(by)
			for i := range h.Columns {
				h.Columns[i].End = h.Columns[i].End.Add(by)
			}
		}
		return h, err
	}
}

func TestOldWindowsAreCalledStale(t *testing.T) {
	s := newSession(t, mono())
	s.press("Enter")
	s.now = s.now.Add(5 * time.Minute)
	s.wantText("live")
	s.now = s.now.Add(time.Minute)
	s.wantText("stale")

	s = newSession(t, mono())
	s.now = s.now.Add(time.Hour)
	s.wantText("live") // nobody has told yet how long a window is
	p := shop()
	for i := range p {
		p[i].WindowEnd = p[i].WindowEnd.Add(2 * time.Minute)
	}
	s.exporter.processes = p
	s.answer()
	s.wantText("live")
	s.now = s.now.Add(9 * time.Minute)
	s.wantText("stale", "!memcached")
}

func TestAnswersOfAnotherViewAreDropped(t *testing.T) {
	s := newSession(t, mono())
	s.press("Enter")
	old := s.client.ask(t.Context(), s.want(), nil)
	s.press("Esc")
	s.take(old)
	if s.heat.answer != nil || s.heat.pid != 0 {
		t.Error("took the heatmap of a process that was left")
	}
}

func TestErrorsLeaveWhatWasSeen(t *testing.T) {
	s := newSession(t, mono())
	s.press("Enter")
	before := s.text()
	s.exporter.heatmap = func(*http.Request) (*api.Heatmap, *api.Error) {
		return nil, &api.Error{Error: "process 1234 has \x1b[31mexited"}
	}
	s.answer()
	s.now = s.now.Add(time.Minute)
	s.wantText("no answer for 1m", "http://127.0.0.1:9934: process 1234 has �[31mexited", "[heap]")
	s.exporter.heatmap = memcached(200)
	s.answer()
	if diff := cmp.Diff(before, s.text()); diff != "" {
		t.Errorf("after the error (-before +after):\n%s", diff)
	}
}

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
