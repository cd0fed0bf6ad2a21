package top

import (
	"fmt"
	"time"

	"github.com/gdamore/tcell/v3"
)

func bold() tcell.Style { return tcell.StyleDefault.Bold(true) }

func dim() tcell.Style { return tcell.StyleDefault.Dim(true) }

// The smallest terminal that is drawn on.
const minWidth, minHeight = 40, 12

// draw makes the frame of what the model has.
func (m *model) draw(f *frame) {
	f.unicode = m.palette.Unicode
	f.resize(m.w, m.h)
	switch {
	case m.w < minWidth || m.h < minHeight:
		f.put(0, 0, fmt.Sprintf("needs %d×%d", minWidth, minHeight), tcell.StyleDefault)
	case m.help:
		m.drawHelp(f)
	case m.heat.pid != 0:
		m.drawHeat(f)
	default:
		m.drawList(f)
	}
}

// state says how new what is shown is. End and length are those of the last
// window shown.
func (m *model) state(end time.Time, length time.Duration) (string, tcell.Style) {
	switch {
	case m.err != nil && m.heard.IsZero():
		return "no answer yet", bold()
	case m.err != nil:
		return "no answer for " + formatAge(m.now.Sub(m.heard)), bold()
	case m.paused:
		return "paused", bold()
	case m.heat.pid != 0 && !m.heat.upTo.IsZero():
		return "history", bold()
	case m.stale(end, length):
		return "stale", bold()
	case m.source == "replay":
		return "replay", dim()
	default:
		return "live", dim()
	}
}

// ended says when a window did.
func (m *model) ended(end time.Time) string {
	if m.source == "replay" {
		return end.In(m.zone).Format(time.DateTime)
	}
	return end.In(m.zone).Format(time.TimeOnly) + ", " + formatAge(m.there().Sub(end)) + " ago"
}

// drawKeys fills the last line with what can be done, or what went wrong.
func (m *model) drawKeys(f *frame) {
	y := m.h - 1
	switch {
	case m.err != nil:
		f.put(1, y, head(m.err.Error(), m.w-2), bold())
	case m.notice != "":
		f.put(1, y, head(m.notice, m.w-2), bold())
	case m.once:
	case m.heat.pid != 0:
		m.putKeys(f, y, "↑↓←→", "cursor", "+ -", "zoom", "< >", "history", "o", "overlay", "Space", "pause", "Esc", "back", "?", "help")
	default:
		m.putKeys(f, y, "Enter", "heatmap", "/", "search", "s", "sort", "Space", "pause", "?", "help", "q", "quit")
	}
}

func (m *model) putKeys(f *frame, y int, keys ...string) {
	x := 1
	for i := 0; i < len(keys); i += 2 {
		x = f.put(x, y, keys[i], bold())
		x = f.put(x+1, y, keys[i+1], dim()) + 2
	}
}

// drawHelp explains what is seen and what can be done.
func (m *model) drawHelp(f *frame) {
	f.put(1, 0, "Which memory is hot, and which is cold", bold())
	y := 2
	for _, l := range [][2]string{
		{"hot, warm, cold", "pages accessed in most passes of the window, in some, in none"},
		{"unobserved", "resident, but this window cannot say: never shown as cold"},
		{"heatmap", "a column a window, newest right; high addresses at the top;"},
		{"", "holes in the address space are left out; blank is not resident"},
		{"", "spots unobserved by a sixteenth show as cold only if accessed"},
		{"", ""},
		{"Enter  Esc", "open the heatmap of a process; back (first hides the cursor)"},
		{"arrows  hjkl", "choose a process, or move the cursor that tells details"},
		{"/  s  S", "search in comm, pid and memcg; sort by the next, previous key"},
		{"o  1 2 3 4", "overlay: next; heat, NUMA node, type, idle age"},
		{"+  -  0", "zoom in and out about the cursor; all. PgUp, PgDn: move"},
		{"<  >  Home End", "back and forward in time; oldest; newest, live again"},
		{"Space  r", fmt.Sprintf("pause; ask now (else every %s, and draw new windows only)", m.interval)},
		{"q  Ctrl-C", "quit. Ctrl-L: draw the screen anew"},
	} {
		f.put(1, y, l[0], bold())
		f.put(17, y, l[1], tcell.StyleDefault)
		y++
	}
	f.put(1, m.h-1, "any key: back", dim())
}
