package top

import (
	"github.com/gdamore/tcell/v3"

	"mglru_exporter/internal/api"
)

// A grid is where on the screen the heatmap is, in cells.
type grid struct {
	x, y, w, h int
	perLine    int
}

// lines is how many spots there are from top to bottom.
func (g grid) lines() int { return g.h * g.perLine }

// Lines of the heatmap's screen above and below the grid.
const heatHead, heatFoot = 3, 5

func (m *model) grid() grid {
	g := grid{x: min(max(m.w/5, 12), 32), y: heatHead, perLine: m.palette.perLine()}
	g.w = max(m.w-g.x-1, 1)
	g.h = max(m.h-heatHead-heatFoot, 1)
	return g
}

// cellsPerColumn widens columns while there are few.
func (m *model) cellsPerColumn() int {
	if m.heat.answer == nil {
		return 1
	}
	k := 8
	for k > 1 && k*len(m.heat.answer.Columns) > m.grid().w {
		k /= 2
	}
	return k
}

// columnsShown is how many windows there are on the screen.
func (m *model) columnsShown() int {
	return min(len(m.shown()), m.grid().w/m.cellsPerColumn())
}

// A drawing is what was last folded, so that an unchanged one need not be.
type drawing struct {
	of    *api.Heatmap
	from  int // the first column
	n     int
	lines int
	spots []spot // column after column, each from the top down
}

// fold returns the columns shown, and their spots.
func (m *model) fold() ([]api.Column, *drawing) {
	h, d := &m.heat, &m.heat.drawn
	lines, n := m.grid().lines(), m.columnsShown()
	from := len(m.shown()) - n
	columns := h.answer.Columns[from : from+n]
	if d.of == h.answer && d.from == from && d.n == n && d.lines == lines {
		return columns, d
	}
	*d = drawing{of: h.answer, from: from, n: n, lines: lines, spots: d.spots[:0]}
	rows := len(h.answer.Rows)
	for i := range columns {
		for line := range lines {
			if rows == 0 {
				d.spots = append(d.spots, spot{})
				continue
			}
			a, b := m.rowsAt(line)
			d.spots = append(d.spots, fold(&columns[i], a, b))
		}
	}
	return columns, d
}

// rowsAt are the rows that a line of spots shows: high addresses are at the top,
// as on the page. There has to be a row.
func (m *model) rowsAt(line int) (from, to int) {
	lines := m.grid().lines()
	return span(lines-1-line, lines, len(m.heat.answer.Rows))
}

// drawGrid draws the spots, the newest window at the right.
func (m *model) drawGrid(f *frame) {
	g, k := m.grid(), m.cellsPerColumn()
	columns, d := m.fold()
	var paints [2]paint
	for i := range columns {
		spots := d.spots[i*d.lines : (i+1)*d.lines]
		x := g.x + g.w - (len(columns)-i)*k
		for y := range g.h {
			cursor := -1
			for half := range g.perLine {
				paints[half] = m.heat.overlay.paint(&spots[y*g.perLine+half], m.palette)
				if c := m.heat.cursor; c.on && c.back == len(columns)-1-i && c.line == y*g.perLine+half {
					cursor = half
				}
			}
			for j := range k {
				drawSpots(f, x+j, g.y+y, paints[:g.perLine], m.palette, cursor)
			}
		}
	}
}

// drawSpots draws one spot, or two that share a cell; cursor is which of them is
// under the cursor, or -1.
func drawSpots(f *frame, x, y int, paints []paint, p Palette, cursor int) {
	plain := tcell.StyleDefault
	if p.Colors == noColors {
		sign := paints[0].sign
		if sign == "" {
			sign = " "
		}
		f.set(x, y, sign, plain.Reverse(cursor == 0))
		return
	}
	if cursor >= 0 {
		paints[cursor].color, paints[cursor].sign = white(p.Colors), ""
	}
	upper, lower := paints[0], paints[len(paints)-1]
	switch none := tcell.StyleDefault.GetBackground(); {
	case upper == lower && upper.sign == p.hatch():
		f.set(x, y, upper.sign, plain.Foreground(upper.color))
	case upper.color == lower.color:
		f.set(x, y, " ", plain.Background(upper.color))
	case lower.color == none:
		f.set(x, y, "▀", plain.Foreground(upper.color))
	case upper.color == none:
		f.set(x, y, "▄", plain.Foreground(lower.color))
	default:
		f.set(x, y, "▀", plain.Foreground(upper.color).Background(lower.color))
	}
}
