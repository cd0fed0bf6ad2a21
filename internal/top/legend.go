package top

import (
	"fmt"
	"time"

	"github.com/gdamore/tcell/v3"
)

// legend draws what the colours of an overlay mean.
func (o Overlay) legend(f *frame, y int, p Palette, nodes []int) {
	l := legend{f: f, palette: p, y: y}
	l.x = f.put(1, y, string(o), tcell.StyleDefault.Bold(true)) + 2
	switch o {
	case Node:
		for _, n := range nodes {
			l.key(p.node(n), fmt.Sprintf("node %d", n))
		}
		l.unobserved("not known")
	case Type:
		for i, name := range types {
			l.key(p.pageType(i), name)
		}
	case Idle:
		last := len(idleSteps) - 1
		for i := range last {
			l.key(p.idle(i), "<"+formatSeconds(idleSteps[i+1]))
		}
		l.key(p.idle(last), "≥"+formatSeconds(idleSteps[last]))
		l.unobserved("unobserved")
	default:
		l.key(p.heat(0), "not accessed")
		for i := 1; i < shades; i++ {
			l.paint(p.heat(i))
		}
		l.x = f.put(l.x+1, y, "100% of pages, each pass", tcell.StyleDefault) + 2
		l.unobserved("unobserved")
	}
}

// A legend goes along a line.
type legend struct {
	f       *frame
	palette Palette
	x, y    int
}

func (l *legend) paint(pt paint) {
	drawSpots(l.f, l.x, l.y, []paint{pt, pt}[:l.palette.perLine()], l.palette, -1)
	l.x++
}

func (l *legend) key(pt paint, text string) {
	l.paint(pt)
	l.x = l.f.put(l.x+1, l.y, text, tcell.StyleDefault) + 2
}

// unobserved is hatched; where it shares a cell it cannot be, and is plain gray.
func (l *legend) unobserved(text string) {
	pt := l.palette.unobserved()
	l.paint(pt)
	if l.palette.perLine() == 2 {
		l.f.set(l.x, l.y, " ", tcell.StyleDefault.Background(pt.color))
		l.x++
	}
	l.x = l.f.put(l.x+1, l.y, text, tcell.StyleDefault) + 2
}

func formatSeconds(s float64) string { return formatAge(time.Duration(s) * time.Second) }
