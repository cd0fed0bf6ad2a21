package top

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/gdamore/tcell/v3"

	"mglru_exporter/internal/api"
)

// drawHeat draws the heatmap of one process.
func (m *model) drawHeat(f *frame) {
	defer m.drawKeys(f)
	columns := m.shown()
	var end time.Time
	length := windowLength(columns)
	if n := len(columns); n > 0 {
		end = columns[n-1].End
	}
	state, style := m.state(end, length)
	f.putRight(m.w-1, 0, state, style)
	room := m.w - 2 - width(state)
	h := m.heat.answer
	if h == nil {
		f.putWithin(1, 0, room, fmt.Sprintf("process %d", m.heat.pid), bold())
		return
	}
	p := &h.Process
	x := f.putWithin(1, 0, room, head(p.Comm, 20), bold())
	x = f.putWithin(x, 0, room, fmt.Sprintf("  pid %d  ", p.PID), tcell.StyleDefault)
	f.putWithin(x, 0, room, tail(p.Memcg, room-x), dim())
	f.put(1, 1, fmt.Sprintf("%s resident · hot %s · warm %s · cold %s · unobserved %s", formatBytes(p.Resident, m.narrow()),
		formatBytes(p.Hot, m.narrow()), formatBytes(p.Warm, m.narrow()), formatBytes(p.Cold, m.narrow()), formatBytes(p.Unobserved, m.narrow())), tcell.StyleDefault)
	if len(h.Rows) == 0 || len(columns) == 0 {
		f.put(1, heatHead+1, "Nothing was resident in any window that is kept.", tcell.StyleDefault)
		return
	}
	window := fmt.Sprintf("%d passes, ended %s", columns[len(columns)-1].Passes, m.ended(end))
	if length > 0 {
		window = formatAge(length) + ", " + window
	}
	window = "window: " + window
	if m.w < 140 {
		f.put(1, 2, window, dim())
	} else {
		f.putRight(m.w-1, 1, window, dim())
	}
	m.drawNames(f)
	m.drawGrid(f)
	m.drawAxis(f)
	y := m.h - heatFoot + 1
	m.heat.overlay.legend(f, y, m.palette, h.Nodes)
	if m.heat.cursor.on {
		m.drawCursor(f, y+1)
	} else {
		m.drawExtent(f, y+1)
	}
}

// drawNames writes where each mapping begins, from the top.
func (m *model) drawNames(f *frame) {
	g, before := m.grid(), ""
	for y := range g.h {
		_, to := m.rowsAt(y * g.perLine)
		from, _ := m.rowsAt((y+1)*g.perLine - 1)
		rows := m.heat.answer.Rows[from:to]
		name, edge := "", "│"
		for i := range slices.Backward(rows) {
			if n := rows[i].Mapping; n != before || y == 0 {
				name, before, edge = mappingName(n), n, "├"
			}
		}
		if strings.HasPrefix(name, "/") {
			name = path.Base(name)
		}
		if c := m.heat.cursor; c.on && c.line/g.perLine == y {
			edge = "▸"
		}
		f.put(1, g.y+y, tail(name, g.x-3), tcell.StyleDefault)
		f.put(g.x-1, g.y+y, edge, dim())
	}
}

func mappingName(s string) string {
	if s == "" {
		return "[no name]"
	}
	return s
}

// drawAxis writes the times of some of the windows, or of the cursor's.
func (m *model) drawAxis(f *frame) {
	g, k := m.grid(), m.cellsPerColumn()
	columns, _ := m.fold()
	layout := clockLayout(columns)
	clock := func(i int) string { return columns[i].End.In(m.zone).Format(layout) }
	y, end, last := g.y+g.h, g.x+g.w, len(columns)-1
	if c := m.heat.cursor; c.on {
		x := end - (c.back+1)*k
		f.put(x, y, "▴", tcell.StyleDefault)
		f.putRight(x-1, y, clock(last-c.back), tcell.StyleDefault)
		return
	}
	f.putRight(end, y, clock(last)+"┘", dim())
	size := width(layout) + 1
	free := end - size - 3
	for i := last - 1; i >= 0; i-- {
		if x := end - (len(columns)-i)*k; x+size+2 <= free {
			f.put(x, y, "└"+clock(i), dim())
			free = x - size/2
		}
	}
}

// clockLayout is as exact as the windows need it; all layouts are as wide as
// what they make.
func clockLayout(columns []api.Column) string {
	switch all := columns[len(columns)-1].End.Sub(columns[0].End); {
	case all > 20*time.Hour:
		return "01-02 15:04"
	case windowLength(columns) < time.Minute:
		return "15:04:05"
	default:
		return "15:04"
	}
}

// drawExtent says what part of the process is shown.
func (m *model) drawExtent(f *frame, y int) {
	h := m.heat.answer
	text := fmt.Sprintf("%d regions of 2 MiB", h.Regions)
	if n := h.To - h.From; n < h.Regions {
		text = fmt.Sprintf("regions %d–%d of %d", h.From, h.To-1, h.Regions)
	}
	if n := h.Rows[0].Regions; n > 1 {
		text += fmt.Sprintf(", %d a row", n)
	}
	windows := fmt.Sprintf(" · %d windows", m.columnsShown())
	if kept := max(h.Process.Windows, len(h.Columns)); m.columnsShown() < kept {
		windows = fmt.Sprintf(" · %d of %d windows", m.columnsShown(), kept)
	}
	f.put(1, y, text+windows, dim())
}

// drawCursor says what is under the cursor.
func (m *model) drawCursor(f *frame, y int) {
	h, c := &m.heat, m.heat.cursor
	columns, d := m.fold()
	i := len(columns) - 1 - c.back
	if i < 0 || c.line >= d.lines {
		return
	}
	s := &d.spots[i*d.lines+c.line]
	from, to := m.rowsAt(c.line)
	row := h.answer.Rows[from]
	regions, mappings := 0, 0
	for _, r := range h.answer.Rows[from:to] {
		regions += r.Regions
		mappings = max(mappings, r.Mappings)
	}
	where := fmt.Sprintf("+%#x", row.Offset)
	if row.Address != "" {
		where += " (" + row.Address + ")"
	}
	if regions > 1 {
		where += fmt.Sprintf(" · %d regions", regions)
	}
	if mappings > 1 {
		where += fmt.Sprintf(", %d mappings", mappings)
	}
	end := columns[i].End
	where += " · " + m.ended(end)
	x := f.put(1, y, tail(mappingName(row.Mapping), max(m.w-3-width(where), 10)), bold())
	f.put(x+1, y, where, tcell.StyleDefault)
	f.put(1, y+1, s.describe(m.narrow()), tcell.StyleDefault)
}

// describe says what a spot's colour is made of.
func (s *spot) describe(short bool) string {
	if s.pages == 0 {
		return "absent: no page was resident in this window"
	}
	const page = 4096
	parts := []string{formatBytes(s.pages*page, short) + " " + types[s.mainType()]}
	if s.node >= 0 {
		parts = append(parts, fmt.Sprintf("node %d", s.node))
	}
	if s.watched == 0 {
		return strings.Join(append(parts, "unobserved: this window cannot say"), " · ")
	}
	if s.accesses == 0 {
		parts = append(parts, "no access")
		if s.idle >= 1 {
			parts[len(parts)-1] += ", idle ≥ " + formatSeconds(s.idle)
		}
	} else {
		parts = append(parts, fmt.Sprintf("%d accesses (%.3g%%)", s.accesses, 100*s.heat()))
	}
	var classes []string
	for _, class := range []struct {
		name  string
		pages uint64
	}{{"hot", s.hot}, {"warm", s.warm}, {"cold", s.cold}, {"unobs", s.unobserved()}} {
		if class.pages > 0 {
			classes = append(classes, class.name+" "+formatShare(class.pages, s.pages))
		}
	}
	return strings.Join(append(parts, strings.Join(classes, " ")), " · ")
}
