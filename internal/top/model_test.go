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
