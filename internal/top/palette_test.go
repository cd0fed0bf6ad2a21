package top

import (
	"math"
	"testing"

	"github.com/gdamore/tcell/v3/color"
)

// luminance is that of WCAG 2, from sRGB.
func luminance(c color.Color) float64 {
	linear := func(v int32) float64 {
		s := float64(v) / 255
		if s <= 0.04045 {
			return s / 12.92
		}
		return math.Pow((s+0.055)/1.055, 2.4)
	}
	r, g, b := c.TrueColor().RGB()
	return 0.2126*linear(r) + 0.7152*linear(g) + 0.0722*linear(b)
}

func TestScalesGrowLighterWhateverTheEye(t *testing.T) {
	for _, colors := range []int{someColors, allColors} {
		for i := 1; i < shades; i++ {
			if a, b := luminance(heatColor(i-1, colors)), luminance(heatColor(i, colors)); a >= b {
				t.Errorf("%d colours: heat %d is as light as %d: %.3f, %.3f", colors, i-1, i, a, b)
			}
		}
		for i := 1; i < len(idleSteps); i++ {
			if a, b := luminance(idleColor(i, colors)), luminance(idleColor(i-1, colors)); a >= b {
				t.Errorf("%d colours: idle %d is as light as %d: %.3f, %.3f", colors, i, i-1, a, b)
			}
		}
	}
}

func TestDetectPalette(t *testing.T) {
	for _, c := range []struct {
		name     string
		env      map[string]string
		mode     string
		terminal bool
		want     Palette
	}{
		{"ssh", map[string]string{"TERM": "xterm-256color", "LANG": "de_DE.UTF-8"}, "auto", true, Palette{someColors, true}},
		{"true colour", map[string]string{"TERM": "xterm-256color", "COLORTERM": "truecolor"}, "auto", true, Palette{allColors, true}},
		{"true colour by its type", map[string]string{"TERM": "xterm-direct"}, "auto", true, Palette{allColors, true}},
		{"pipe", map[string]string{"TERM": "xterm-256color"}, "auto", false, Palette{0, true}},
		{"pipe with colours", map[string]string{"TERM": "xterm-256color"}, "always", false, Palette{someColors, true}},
		{"NO_COLOR", map[string]string{"TERM": "xterm-256color", "NO_COLOR": "1"}, "auto", true, Palette{0, true}},
		{"NO_COLOR is empty", map[string]string{"TERM": "xterm-256color", "NO_COLOR": ""}, "auto", true, Palette{someColors, true}},
		{"flag before NO_COLOR", map[string]string{"TERM": "xterm-256color", "NO_COLOR": "1"}, "always", true, Palette{someColors, true}},
		{"never", map[string]string{"COLORTERM": "truecolor"}, "never", true, Palette{0, true}},
		{"few colours", map[string]string{"TERM": "xterm"}, "auto", true, Palette{0, true}},
		{"console", map[string]string{"TERM": "linux"}, "auto", true, Palette{0, true}},
		{"dumb", map[string]string{"TERM": "dumb"}, "auto", true, Palette{0, true}},
		{"vt220", map[string]string{"TERM": "vt220"}, "auto", true, Palette{0, true}},
		{"a new one", map[string]string{"TERM": "foot"}, "auto", true, Palette{someColors, true}},
		{"C", map[string]string{"TERM": "foot", "LC_ALL": "C"}, "auto", true, Palette{someColors, false}},
		{"C.UTF-8", map[string]string{"TERM": "foot", "LC_ALL": "C.UTF-8"}, "auto", true, Palette{someColors, true}},
		{"Latin 1", map[string]string{"TERM": "foot", "LC_CTYPE": "de_DE.ISO-8859-1@euro", "LANG": "C.UTF-8"}, "auto", true, Palette{someColors, false}},
		{"no character set", map[string]string{"TERM": "foot", "LANG": "de_DE"}, "auto", true, Palette{someColors, true}},
	} {
		get := func(name string) string { return c.env[name] }
		if got := DetectPalette(get, c.mode, c.terminal); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestWhatIsMissedIsNeverDrawnAsCold(t *testing.T) {
	p := Palette{allColors, true}
	for _, c := range []struct {
		name string
		spot spot
		want paint
	}{
		{"nothing resident", spot{}, paint{}},
		{"all cold", spot{pages: 512, watched: 512, cold: 512, passes: 4}, p.heat(0)},
		{"all but a few cold", spot{pages: 512, watched: 490, cold: 490, passes: 4}, p.heat(0)},
		{"a sixteenth unobserved, the rest cold", spot{pages: 512, watched: 480, cold: 480, passes: 4}, p.unobserved()},
		{"nothing observed", spot{pages: 512, passes: 4}, p.unobserved()},
		{"accessed, but not observed", spot{pages: 512, accesses: 9, passes: 4}, p.unobserved()},
		{"half observed and hot", spot{pages: 512, watched: 256, hot: 256, accesses: 1024, passes: 4}, p.heat(shades - 1)},
		{"less than half observed", spot{pages: 512, watched: 255, hot: 255, accesses: 1020, passes: 4}, p.unobserved()},
		{"one access", spot{pages: 1 << 20, watched: 1 << 20, accesses: 1, passes: 100}, p.heat(1)},
		{"more than can be", spot{pages: 1, watched: 1, accesses: 1 << 40, passes: 1}, p.heat(shades - 1)},
	} {
		if got := Heat.paint(&c.spot, p); got != c.want {
			t.Errorf("%s: heat %+v, want %+v", c.name, got, c.want)
		}
		wantIdle := c.want != (paint{}) && c.want != p.unobserved()
		if got := Idle.paint(&c.spot, p); (got != (paint{}) && got != p.unobserved()) != wantIdle {
			t.Errorf("%s: idle %+v", c.name, got)
		}
	}
}

func TestNodeAndTypeAreThoseOfMostPages(t *testing.T) {
	c := gaussian(16, 1).Columns[0]
	c.Pages, c.Node = []uint32{10, 6, 0, 6}, []int{0, 1, 2, 1}
	c.Anon, c.Shmem = []uint32{4, 1, 99, 0}, []uint32{4, 5, 99, 3}
	s := fold(&c, 0, 4)
	if s.node != 1 || types[s.mainType()] != "shmem" || s.pages != 22 {
		t.Errorf("node %d, %s, %d pages; want 1, shmem, 22", s.node, types[s.mainType()], s.pages)
	}
	if s = fold(&c, 2, 3); s.node != -1 || s.pages != 0 {
		t.Errorf("nothing resident: node %d, %d pages", s.node, s.pages)
	}
	many := gaussian(16, 1).Columns[0]
	for i := range many.Node {
		many.Node[i] = i
	}
	if s = fold(&many, 0, 16); s.node < 0 || s.node > 7 {
		t.Errorf("sixteen nodes: %d", s.node)
	}
}

func TestSpanCoversEachRowOnce(t *testing.T) {
	for _, c := range []struct{ lines, rows int }{{34, 34}, {34, 4096}, {34, 35}, {7, 100}} {
		next := 0
		for i := range c.lines {
			from, to := span(i, c.lines, c.rows)
			if from != next || to <= from {
				t.Fatalf("%d lines of %d rows: line %d has %d to %d", c.lines, c.rows, i, from, to)
			}
			next = to
		}
		if next != c.rows {
			t.Errorf("%d lines of %d rows: %d covered", c.lines, c.rows, next)
		}
	}
	for i := range 34 {
		if from, to := span(i, 34, 5); to != from+1 || to > 5 {
			t.Errorf("34 lines of 5 rows: line %d has %d to %d", i, from, to)
		}
	}
}
