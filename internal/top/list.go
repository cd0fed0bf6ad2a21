package top

import (
	"fmt"
	"strconv"
	"time"

	"github.com/gdamore/tcell/v3"

	"mglru_exporter/internal/api"
)

// Lines of the list's screen above and below the processes.
const listHead, listFoot = 3, 3

func (m *model) listLines() int { return max(m.h-listHead-listFoot, 1) }

// A column of the list.
type column struct {
	title, sort string
	width       int
	left        bool
	text        func(*api.Process) string
}

// narrow tells whether there is little room in a line.
func (m *model) narrow() bool { return m.w < 100 }

func (m *model) columns() []column {
	resident, wide := "RESIDENT", 8
	if m.narrow() {
		resident, wide = "RES", 6
	}
	size := func(get func(*api.Process) uint64) func(*api.Process) string {
		return func(p *api.Process) string { return formatBytes(get(p), m.narrow()) }
	}
	cs := []column{
		{"COMM", "comm", 15, true, func(p *api.Process) string { return head(p.Comm, 15) }},
		{"PID", "pid", 7, false, func(p *api.Process) string { return strconv.Itoa(p.PID) }},
		{"MEMCG", "", 0, true, nil},
		{resident, "resident", wide + 1, false, size(func(p *api.Process) uint64 { return p.Resident })},
		{"HOT", "hot", wide, false, size(func(p *api.Process) uint64 { return p.Hot })},
		{"WARM", "", wide, false, size(func(p *api.Process) uint64 { return p.Warm })},
		{"COLD", "cold", wide, false, size(func(p *api.Process) uint64 { return p.Cold })},
		{"UNOBS", "unobserved", 6, false, func(p *api.Process) string { return formatShare(p.Unobserved, p.Resident) }},
	}
	if m.w >= 120 {
		cs = append(cs, column{width: min(m.w/4, 40), left: true}) // the bar
	}
	used := 1
	for _, c := range cs {
		used += c.width + 1
	}
	cs[2].width = max(m.w-used, 1)
	cs[2].text = func(p *api.Process) string { return tail(p.Memcg, cs[2].width) }
	return cs
}

// drawList draws the processes.
func (m *model) drawList(f *frame) {
	l := &m.list
	var end time.Time
	var length time.Duration
	if p := m.current(); p != nil {
		end, length = p.WindowEnd, l.lengths[p.Memcg].length
	}
	state, style := m.state(end, length)
	if !end.IsZero() {
		state += " · " + m.ended(end)
	}
	room := m.w - 1 - width(state)
	f.put(room, 0, state, style)
	room--
	x := f.putWithin(1, 0, room, "mglru_exporter top", bold())
	f.putWithin(x+2, 0, room, head(m.url, room-x-3), dim())
	if l.answer == nil {
		m.drawKeys(f)
		return
	}
	columns := m.columns()
	m.drawTitles(f, columns)
	lines := m.listLines()
	for i := l.top; i < min(l.top+lines, len(l.answer.Processes)); i++ {
		p := &l.answer.Processes[i]
		y := listHead + i - l.top
		style := tcell.StyleDefault
		if m.stale(p.WindowEnd, l.lengths[p.Memcg].length) {
			style = dim()
			f.put(0, y, "!", bold())
		}
		if i == l.index && !m.once {
			style = style.Reverse(true)
		}
		m.drawProcess(f, y, columns, p, style)
	}
	if len(l.answer.Processes) == 0 {
		text := "No process has been seen for a whole window yet."
		switch {
		case l.answer.Source == "none":
			text = "No usable source on that machine: its /-/ready says why."
		case l.search != "":
			text = "No process matches."
		}
		f.put(1, listHead+1, text, tcell.StyleDefault)
	}
	m.drawListFoot(f, m.h-2)
	m.drawKeys(f)
}

func (m *model) drawTitles(f *frame, columns []column) {
	x := 1
	for _, c := range columns {
		style, title := dim(), c.title
		if c.sort != "" && c.sort == sorts[m.list.sort] {
			style, title = bold(), "▾"+c.title
		}
		if c.left {
			f.putWithin(x, listHead-1, x+c.width, title, style)
		} else {
			f.putRight(x+c.width, listHead-1, title, style)
		}
		x += c.width + 1
	}
}

func (m *model) drawProcess(f *frame, y int, columns []column, p *api.Process, style tcell.Style) {
	x := 1
	for _, c := range columns {
		if c.text == nil {
			m.drawBar(f, x, y, c.width, p)
			return
		}
		for i := range c.width + 1 {
			f.set(x+i, y, " ", style)
		}
		if c.left {
			f.putWithin(x, y, x+c.width, c.text(p), style)
		} else {
			f.putRight(x+c.width, y, c.text(p), style)
		}
		x += c.width + 1
	}
}

// drawBar draws the parts of what is resident, hot first.
func (m *model) drawBar(f *frame, x, y, w int, p *api.Process) {
	if p.Resident == 0 {
		return
	}
	parts := [...]struct {
		bytes uint64
		paint paint
	}{
		{p.Hot, m.palette.heat(shades - 1)}, {p.Warm, m.palette.heat(shades / 2)},
		{p.Cold, m.palette.heat(0)}, {p.Unobserved, m.palette.unobserved()},
	}
	var sum uint64
	at := 0
	for _, part := range parts {
		sum += part.bytes
		for end := int(float64(sum) / float64(p.Resident) * float64(w)); at < min(end, w); at++ {
			pair := []paint{part.paint, part.paint}
			drawSpots(f, x+at, y, pair[:m.palette.perLine()], m.palette, -1)
		}
	}
}

func (m *model) drawListFoot(f *frame, y int) {
	l := &m.list
	if l.typing || l.search != "" {
		x := f.put(1, y, "search: ", dim())
		x = f.put(x, y, tail(l.search, m.w/2), bold())
		if l.typing {
			f.put(x, y, "_", bold())
		}
	} else if p := m.current(); p != nil {
		f.put(1, y, tail(p.Memcg, m.w*2/3), dim())
	}
	count := fmt.Sprintf("%d of %d", l.index+1, l.answer.Total)
	if len(l.answer.Processes) == 0 {
		count = "0"
	}
	f.putRight(m.w-1, y, count+" · source "+l.answer.Source, dim())
}
