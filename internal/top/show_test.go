package top

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/gdamore/tcell/v3"
	"github.com/gdamore/tcell/v3/vt"
)

// A watched screen says when it has been drawn on, until nobody listens.
type watched struct {
	tcell.Screen
	drawn chan struct{}
	done  <-chan struct{}
}

func (w watched) Show() {
	w.Screen.Show()
	select {
	case w.drawn <- struct{}{}:
	case <-w.done:
	}
}

// A shown is the program on an emulated terminal.
type shown struct {
	t    *testing.T
	term vt.MockTerm
	watched
	result chan error
	cancel context.CancelFunc
}

func start(t *testing.T, e *fakeExporter, o Options) *shown {
	t.Helper()
	t.Setenv("TERM", "xterm-256color")
	t.Setenv("LC_ALL", "C.UTF-8")
	term := vt.NewMockTerm(vt.MockOptSize{X: 80, Y: 24}, vt.MockOptColors(1<<24))
	screen, err := tcell.NewTerminfoScreenFromTty(term, tcell.OptColors(o.Palette.Colors))
	if err == nil {
		err = screen.Init()
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s := &shown{
		t: t, term: term, result: make(chan error, 1), cancel: cancel,
		watched: watched{screen, make(chan struct{}), ctx.Done()},
	}
	o.Client = e.client(t)
	m := newModel(o, 80, 24)
	m.take(o.Client.ask(ctx, m.want(), nil))
	go func() {
		defer screen.Fini()
		s.result <- show(ctx, m, o.Client, s.watched)
	}()
	t.Cleanup(cancel)
	return s
}

// text is what is on the terminal.
func (s *shown) text() string {
	var b strings.Builder
	size := s.term.Backend().GetSize()
	for y := range size.Y {
		for x := vt.Col(0); x < size.X; x++ {
			switch c := s.term.GetCell(vt.Coord{X: x, Y: y}); {
			case c.C == "":
				b.WriteByte(' ')
			case c.W == 2:
				x++
				fallthrough
			default:
				b.WriteString(c.C)
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// until waits for a text to be shown.
func (s *shown) until(want string) {
	s.t.Helper()
	timeout := time.After(30 * time.Second)
	for {
		select {
		case <-s.drawn:
			if err := s.term.Drain(); err != nil {
				s.t.Fatal(err)
			}
			if strings.Contains(s.text(), want) {
				return
			}
		case err := <-s.result:
			s.t.Fatalf("ended with %v", err)
		case <-timeout:
			s.t.Fatalf("no %q in\n%s", want, s.text())
		}
	}
}

func (s *shown) end() error {
	s.t.Helper()
	for {
		select {
		case <-s.drawn:
		case err := <-s.result:
			return err
		}
	}
}

func live() Options {
	return Options{Interval: MinInterval, Overlay: Heat, Sort: "cold", Palette: Palette{allColors, true}, Zone: time.UTC}
}

func TestRunsOnATerminal(t *testing.T) {
	e := &fakeExporter{processes: shop(), heatmap: memcached(60)}
	s := start(t, e, live())
	s.until("▾COLD")
	s.until("日本語プロセス")
	s.term.SendRaw([]byte("\r"))
	s.until("100% of pages")
	s.until("▀▀▀▀")
	s.term.SendRaw([]byte("o"))
	s.until("node 1")
	s.term.SendRaw([]byte("\x1b[A"))
	s.until("▴")
	s.term.SetSize(vt.Coord{X: 120, Y: 40})
	s.until("1.00 GiB resident")
	e.mu.Lock()
	e.heatmap = later(2 * time.Minute)
	e.mu.Unlock()
	s.until("ended 12:02:00") // by itself
	s.term.SendRaw([]byte("\x0c?"))
	s.until("any key: back")
	s.term.SendRaw([]byte("xq"))
	if err := s.end(); err != nil {
		t.Error(err)
	}
}

func TestPausedAsksNothing(t *testing.T) {
	e := &fakeExporter{processes: shop(), heatmap: memcached(60)}
	s := start(t, e, live())
	s.until("live")
	s.term.SendRaw([]byte(" "))
	s.until("paused")
	for range 3 { // an answer may be under way
		<-s.drawn
	}
	before := len(e.questions())
	for range 5 {
		<-s.drawn
	}
	if after := len(e.questions()); after != before {
		t.Errorf("%d questions while paused", after-before)
	}
	s.term.SendRaw([]byte("r"))
	s.until("paused")
	<-s.drawn
	if after := len(e.questions()); after != before+1 {
		t.Errorf("%d questions on request", after-before)
	}
	s.cancel()
	if err := s.end(); err != nil {
		t.Error(err)
	}
}

func TestSurvivesAnExporterThatRestarts(t *testing.T) {
	e := &fakeExporter{processes: shop(), heatmap: memcached(60)}
	o := live()
	o.PID = 1234
	s := start(t, e, o)
	s.until("live")
	e.mu.Lock()
	e.heatmap = nil
	e.mu.Unlock()
	s.until("404 Not Found")
	e.mu.Lock()
	e.heatmap = memcached(60)
	e.mu.Unlock()
	s.until("live")
	s.term.SendRaw([]byte("\x03"))
	if err := s.end(); err != nil {
		t.Error(err)
	}
}

// nowhere is a screen that shows nothing.
type nowhere struct {
	tcell.Screen
	cells int
}

func (n *nowhere) Put(int, int, string, tcell.Style) (string, int) {
	n.cells++
	return "", 1
}

func (n *nowhere) Show() {}

// BenchmarkFrame draws a terminal of 200 × 60 full of heat from 4096 rows: once
// for each new window, and then again for each repaint.
func BenchmarkFrame(b *testing.B) {
	o := live()
	e := &fakeExporter{processes: shop(), heatmap: memcached(200)}
	o.Client = e.client(b)
	o.PID = 1234
	m := newModel(o, 200, 60)
	h := gaussian(512, 159)
	rows := h.Rows
	for range 7 { // 4096 rows
		h.Rows = append(h.Rows, rows...)
		for i := range h.Columns {
			c, n := &h.Columns[i], len(rows)
			c.Accesses, c.Idle, c.Node = append(c.Accesses, c.Accesses[:n]...), append(c.Idle, c.Idle[:n]...), append(c.Node, c.Node[:n]...)
			for _, l := range []*[]uint32{&c.Pages, &c.Anon, &c.Shmem, &c.Hot, &c.Warm, &c.Cold} {
				*l = append(*l, (*l)[:n]...)
			}
		}
	}
	if len(h.Rows) != 4096 {
		b.Fatalf("%d rows", len(h.Rows))
	}
	var f, before frame
	var screen nowhere
	paint := func() {
		m.draw(&f)
		f.show(&screen, &before)
		f, before = before, f
	}
	b.Run("repaint", func(b *testing.B) {
		m.take(answer{query: m.want(), heatmap: h, at: m.now})
		for b.Loop() {
			paint()
		}
	})
	b.Run("new window", func(b *testing.B) {
		for b.Loop() {
			next := *h
			m.take(answer{query: m.want(), heatmap: &next, at: m.now})
			paint()
		}
	})
}
