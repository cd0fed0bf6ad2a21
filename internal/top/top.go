// Package top is the terminal heatmap: processes sorted by how much of them is
// cold, and one process's memory by address and time. It is a client of the
// exporter's API.
package top

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/gdamore/tcell/v3"

	"mglru_exporter/internal/api"
)

// Options say what is shown first, and how.
type Options struct {
	Client *Client
	// Interval is how often the exporter is asked for a new window, at least
	// MinInterval.
	Interval time.Duration
	// PID is the process whose heatmap is shown; 0 is for the list.
	PID int
	// Overlay, Sort and Search are those to begin with.
	Overlay Overlay
	Sort    string
	Search  string
	Palette Palette
	// Zone is where times are told.
	Zone *time.Location
}

// MinInterval is the shortest Interval: nobody sees more.
const MinInterval = 50 * time.Millisecond

func newModel(o Options, width, height int) *model {
	m := &model{
		palette: o.Palette, url: o.Client.URL(), interval: o.Interval, w: width, h: height, zone: o.Zone, now: o.Client.now(),
		list: listState{search: o.Search},
		heat: heatState{pid: o.PID, overlay: o.Overlay},
	}
	for i, s := range sorts {
		if s == o.Sort {
			m.list.sort = i
		}
	}
	return m
}

// begin returns a model with a first answer. The list comes first even if a
// heatmap is asked for, because it says what the source is.
func begin(ctx context.Context, o Options, width, height int) (*model, error) {
	list := o
	list.PID = 0
	m := newModel(list, width, height)
	for {
		a := o.Client.ask(ctx, m.want(), nil)
		if a.err != nil {
			return nil, a.err
		}
		m.take(a)
		if o.PID == 0 || m.heat.pid == o.PID {
			return m, nil
		}
		if p := a.processes; p.Granularity != "page" {
			return nil, errors.New(m.noHeatmap())
		}
		m.open(o.PID)
	}
}

// Once writes one frame of so many cells; without colours, it is plain text.
func Once(ctx context.Context, w io.Writer, o Options, width, height int) error {
	m, err := begin(ctx, o, width, height)
	if err != nil {
		return err
	}
	m.once = true
	if m.heat.pid == 0 {
		m.h = min(height, max(listHead+listFoot+len(m.list.answer.Processes), minHeight))
	}
	var f frame
	m.draw(&f)
	return f.writeTo(w, o.Palette.Colors != noColors)
}

// Run shows the exporter's memory heat on the terminal until the user has
// enough, or the context ends. It returns an error if the exporter does not
// answer to begin with, or if there is no terminal.
func Run(ctx context.Context, o Options) error {
	m, err := begin(ctx, o, 80, 24)
	if err != nil {
		return err
	}
	// What a locale cannot show, tcell replaces; it has no other tables.
	tcell.SetEncodingFallback(tcell.EncodingFallbackASCII)
	screen, err := tcell.NewTerminfoScreen(tcell.OptColors(o.Palette.Colors))
	if err == nil {
		err = screen.Init()
	}
	if err != nil {
		return fmt.Errorf("no terminal to draw on: %w; --once prints a frame to anything", err)
	}
	defer screen.Fini()
	return show(ctx, m, o.Client, screen)
}

// show draws, and does what keys ask for, until one asks to quit or the context
// ends.
func show(ctx context.Context, m *model, c *Client, screen tcell.Screen) error {
	a := newAsker(ctx, c)
	defer a.stop()
	tick := time.NewTicker(m.interval)
	defer tick.Stop()
	var f, before frame
	for {
		m.now = c.now()
		// An event of another size is not to be believed: tmux 3.3 answers the
		// question for it with width and height reversed (tmux pull request 3319).
		if w, h := screen.Size(); w != m.w || h != m.h {
			m.w, m.h = w, h
			before.resize(1, 1)
		}
		a.ask(m.want(), m.before())
		m.draw(&f)
		f.show(screen, &before)
		f, before = before, f
		select {
		case ev, ok := <-screen.EventQ():
			if !ok {
				return errors.New("the terminal is gone")
			}
			switch ev := ev.(type) {
			case *tcell.EventError:
				return fmt.Errorf("read the terminal: %w", ev)
			case *tcell.EventKey:
				switch m.key(ev) {
				case quit:
					return nil
				case refresh:
					a.again = true
				case redraw:
					screen.Sync()
				}
			}
		case answer := <-a.answers:
			if a.done(answer) {
				m.take(answer)
			}
		case <-tick.C:
			a.again = a.again || !m.paused
		case <-ctx.Done():
			return nil
		}
	}
}

// An asker asks one query at a time, and drops the answer to one that is no
// longer of interest.
type asker struct {
	ctx     context.Context
	client  *Client
	answers chan answer

	// again is to ask even if the query is as before.
	again  bool
	last   query
	asked  bool
	busy   bool
	cancel context.CancelFunc
}

func newAsker(ctx context.Context, c *Client) *asker {
	return &asker{ctx: ctx, client: c, answers: make(chan answer), cancel: func() {}}
}

// ask starts to ask a query that is new, or once more the one before. Before is
// what answered the same query, or nil.
func (a *asker) ask(q query, before *api.Heatmap) {
	same := a.asked && q == a.last
	if same && (!a.again || a.busy) {
		return
	}
	if a.busy {
		a.stop()
	}
	ctx, cancel := context.WithCancel(a.ctx)
	a.last, a.asked, a.again, a.busy, a.cancel = q, true, false, true, cancel
	go func() { a.answers <- a.client.ask(ctx, q, before) }()
}

// done tells whether an answer is to what was asked last.
func (a *asker) done(got answer) bool {
	a.busy = false
	a.cancel()
	return got.query == a.last
}

// stop waits for what is under way, and throws it away.
func (a *asker) stop() {
	a.cancel()
	if a.busy {
		<-a.answers
		a.busy = false
	}
}
