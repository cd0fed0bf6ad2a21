package top

import (
	"bytes"
	"fmt"
	"io"

	"github.com/gdamore/tcell/v3"
	"github.com/gdamore/tcell/v3/color"
)

// A cell is one place of a terminal: a rune with its marks, or "" for the right
// half of a wide one.
type cell struct {
	text  string
	style tcell.Style
}

// A frame is what a terminal is to show, whether by tcell or on a pipe.
type frame struct {
	w, h    int
	cells   []cell
	unicode bool
}

// resize makes the frame blank, of at least one cell.
func (f *frame) resize(w, h int) {
	f.w, f.h = max(w, 1), max(h, 1)
	if n := f.w * f.h; cap(f.cells) < n {
		f.cells = make([]cell, n)
	} else {
		f.cells = f.cells[:n]
	}
	for i := range f.cells {
		f.cells[i] = cell{text: " "}
	}
}

// set fills one cell with text that is known to be one cell wide.
func (f *frame) set(x, y int, text string, style tcell.Style) {
	if x >= 0 && x < f.w && y >= 0 && y < f.h {
		f.cells[y*f.w+x] = cell{text, style}
	}
}

// put writes text of any origin, without what does not fit, and returns where
// it ended.
func (f *frame) put(x, y int, s string, style tcell.Style) int {
	return f.putWithin(x, y, f.w, s, style)
}

// putRight writes text that ends before x.
func (f *frame) putRight(x, y int, s string, style tcell.Style) {
	f.put(x-width(s), y, s, style)
}

func (f *frame) putWithin(x, y, end int, s string, style tcell.Style) int {
	if x < 0 || y < 0 || y >= f.h {
		return x
	}
	glyphs(s, f.unicode, func(text string, w int) bool {
		if x+w > min(end, f.w) {
			return false
		}
		f.set(x, y, text, style)
		if w == 2 {
			f.set(x+1, y, "", style)
		}
		x += w
		return true
	})
	return x
}

// show hands what differs from the frame before to a screen.
func (f *frame) show(s tcell.Screen, before *frame) {
	same := before.w == f.w && before.h == f.h && len(before.cells) == len(f.cells)
	for i, c := range f.cells {
		if c.text != "" && (!same || before.cells[i] != c) {
			s.Put(i%f.w, i/f.w, c.text, c.style)
		}
	}
	s.Show()
}

// writeTo prints the frame as lines of text, without what is blank at its and
// their ends, and if styled, with escape sequences where a style is not the
// terminal's own.
func (f *frame) writeTo(w io.Writer, styled bool) error {
	var b bytes.Buffer
	cells := withoutBlanks(f.cells)
	for y := 0; y*f.w < len(cells); y++ {
		line := withoutBlanks(cells[y*f.w : min((y+1)*f.w, len(cells))])
		var style tcell.Style
		for _, c := range line {
			if styled && c.style != style {
				style = c.style
				writeStyle(&b, style)
			}
			b.WriteString(c.text)
		}
		if style != (tcell.Style{}) {
			b.WriteString("\x1b[0m")
		}
		b.WriteByte('\n')
	}
	_, err := w.Write(b.Bytes())
	return err
}

func withoutBlanks(cells []cell) []cell {
	for len(cells) > 0 && cells[len(cells)-1] == (cell{text: " "}) {
		cells = cells[:len(cells)-1]
	}
	return cells
}

// writeStyle writes the escape sequence of a style (ECMA-48 SGR, and the
// extensions 38 and 48 for 256 and 2²⁴ colours).
func writeStyle(b *bytes.Buffer, s tcell.Style) {
	b.WriteString("\x1b[0")
	for _, a := range []struct {
		on   bool
		code int
	}{{s.HasBold(), 1}, {s.HasDim(), 2}, {s.HasUnderline(), 4}, {s.HasReverse(), 7}} {
		if a.on {
			fmt.Fprintf(b, ";%d", a.code)
		}
	}
	writeColor(b, 38, s.GetForeground())
	writeColor(b, 48, s.GetBackground())
	b.WriteByte('m')
}

func writeColor(b *bytes.Buffer, code int, c color.Color) {
	switch {
	case c.IsRGB():
		r, g, bl := c.RGB()
		fmt.Fprintf(b, ";%d;2;%d;%d;%d", code, r, g, bl)
	case c.Valid():
		fmt.Fprintf(b, ";%d;5;%d", code, c&0xff)
	}
}
