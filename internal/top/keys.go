package top

import (
	"time"
	"unicode/utf8"

	"github.com/gdamore/tcell/v3"

	"mglru_exporter/internal/api"
)

// maxSearch bounds what can be searched for, in bytes.
const maxSearch = 200

// A command is what a key asks of those who do I/O.
type command int

const (
	nothing command = iota
	quit
	refresh
	redraw
)

// key does what a key is for.
func (m *model) key(ev *tcell.EventKey) command {
	m.notice = ""
	switch ev.Key() {
	case tcell.KeyCtrlC:
		return quit
	case tcell.KeyCtrlL:
		return redraw
	}
	switch {
	case m.help:
		m.help = false // whichever it was
		return nothing
	case m.heat.pid == 0 && m.list.typing:
		m.typeSearch(ev)
		return nothing
	}
	switch ev.Str() {
	case "q":
		return quit
	case "?":
		m.help = true
		return nothing
	case "r":
		return refresh
	case " ", "p":
		m.pause()
		return nothing
	}
	if m.heat.pid == 0 {
		return m.listKey(ev)
	}
	return m.heatKey(ev)
}

func (m *model) pause() {
	m.paused = !m.paused
	if m.heat.pid == 0 {
		return
	}
	m.heat.upTo = time.Time{}
	if m.paused {
		m.hold()
	}
}

func (m *model) typeSearch(ev *tcell.EventKey) {
	l := &m.list
	switch ev.Key() {
	case tcell.KeyEnter:
		l.typing = false
	case tcell.KeyEscape:
		l.typing, l.search = false, ""
	case tcell.KeyBackspace:
		_, n := utf8.DecodeLastRuneInString(l.search)
		l.search = l.search[:len(l.search)-n]
	case tcell.KeyCtrlU:
		l.search = ""
	case tcell.KeyUp, tcell.KeyDown, tcell.KeyPgUp, tcell.KeyPgDn:
		m.listKey(ev)
	case tcell.KeyRune:
		if s := ev.Str(); len(l.search)+len(s) <= maxSearch {
			l.search += s
		}
	}
}

func (m *model) listKey(ev *tcell.EventKey) command {
	l := &m.list
	page := max(m.listLines()-1, 1)
	switch {
	case ev.Key() == tcell.KeyUp || ev.Str() == "k":
		m.choose(l.index - 1)
	case ev.Key() == tcell.KeyDown || ev.Str() == "j":
		m.choose(l.index + 1)
	case ev.Key() == tcell.KeyPgUp:
		m.choose(l.index - page)
	case ev.Key() == tcell.KeyPgDn:
		m.choose(l.index + page)
	case ev.Key() == tcell.KeyHome || ev.Str() == "g":
		m.choose(0)
	case ev.Key() == tcell.KeyEnd || ev.Str() == "G":
		m.choose(api.MaxLimit)
	case ev.Str() == "s":
		l.sort = (l.sort + 1) % len(sorts)
	case ev.Str() == "S":
		l.sort = (l.sort + len(sorts) - 1) % len(sorts)
	case ev.Str() == "/":
		l.typing = true
	case ev.Key() == tcell.KeyEscape:
		l.search = ""
	case ev.Key() == tcell.KeyEnter:
		switch p := m.current(); {
		case p == nil:
		case p.Windows == 0 && l.answer.Granularity != "page":
			m.notice = m.noHeatmap()
		case p.Windows == 0:
			m.notice = "no heatmap of this process yet"
		default:
			m.open(p.PID)
		}
	}
	return nothing
}

func (m *model) noHeatmap() string {
	return "no heatmap: the source " + Clean(m.source) + " sees mappings, not pages"
}

func (m *model) heatKey(ev *tcell.EventKey) command {
	h := &m.heat
	half := max(m.columnsShown()/2, 1)
	switch {
	case ev.Key() == tcell.KeyEscape && h.cursor.on:
		h.cursor.on = false
	case ev.Key() == tcell.KeyEscape || ev.Key() == tcell.KeyBackspace:
		m.open(0)
	case ev.Key() == tcell.KeyUp || ev.Str() == "k":
		m.arrow(-1, 0)
	case ev.Key() == tcell.KeyDown || ev.Str() == "j":
		m.arrow(1, 0)
	case ev.Key() == tcell.KeyLeft || ev.Str() == "h":
		m.arrow(0, -1)
	case ev.Key() == tcell.KeyRight || ev.Str() == "l":
		m.arrow(0, 1)
	case ev.Str() == "<" || ev.Str() == "[":
		m.scroll(-half)
	case ev.Str() == ">" || ev.Str() == "]":
		m.scroll(half)
	case ev.Key() == tcell.KeyHome:
		m.scroll(-api.MaxWindows)
	case ev.Key() == tcell.KeyEnd:
		m.scroll(api.MaxWindows)
	case ev.Key() == tcell.KeyPgUp && h.to > 0:
		m.pan(h.from-max((h.to-h.from)/2, 1), h.to-h.from)
	case ev.Key() == tcell.KeyPgDn && h.to > 0:
		m.pan(h.from+max((h.to-h.from)/2, 1), h.to-h.from)
	case ev.Str() == "+" || ev.Str() == "=":
		m.zoom(true)
	case ev.Str() == "-":
		m.zoom(false)
	case ev.Str() == "0":
		h.from, h.to = 0, 0
	case ev.Str() == "o":
		m.nextOverlay()
	case len(ev.Str()) == 1 && ev.Str() >= "1" && ev.Str() <= "4":
		h.overlay = Overlay(Overlays()[ev.Str()[0]-'1'])
	}
	return nothing
}

// arrow shows the cursor, in the middle of the newest window, or moves it.
func (m *model) arrow(lines, windows int) {
	c := &m.heat.cursor
	if !c.on {
		*c = cursor{on: true, line: m.grid().lines() / 2}
		return
	}
	m.moveCursor(lines, windows)
}

func (m *model) nextOverlay() {
	all := Overlays()
	for i, o := range all {
		if o == string(m.heat.overlay) {
			m.heat.overlay = Overlay(all[(i+1)%len(all)])
			return
		}
	}
}
