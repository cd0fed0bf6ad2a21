package top

import (
	"math"
	"strings"

	"github.com/gdamore/tcell/v3/color"
)

// A Palette is what a terminal can show: how many colours (0, 256 or 2²⁴), and
// whether more than ASCII.
type Palette struct {
	Colors  int
	Unicode bool
}

// Counts of colours. A terminal of fewer than 256 is used without colours.
const (
	noColors   = 0
	someColors = 256
	allColors  = 1 << 24
)

// DetectPalette tells by the environment what a terminal can show. Mode is auto,
// always or never; auto is as always for a terminal, unless NO_COLOR
// (no-color.org) or its type speaks against it, and as never for anything else.
func DetectPalette(getenv func(string) string, mode string, terminal bool) Palette {
	p := Palette{Unicode: unicodeLocale(getenv)}
	term, colorterm := getenv("TERM"), getenv("COLORTERM")
	rich := colorterm == "truecolor" || colorterm == "24bit" || strings.HasSuffix(term, "-direct")
	poor := false
	for _, t := range []string{"", "dumb", "linux", "ansi", "xterm", "screen", "sun", "rxvt"} {
		poor = poor || term == t
	}
	poor = poor || strings.HasPrefix(term, "vt") || strings.HasSuffix(term, "-16color") || strings.HasSuffix(term, "-mono")
	switch {
	case mode == "never", mode != "always" && (!terminal || getenv("NO_COLOR") != ""):
	case rich:
		p.Colors = allColors
	case mode == "always" || !poor || strings.Contains(colorterm, "256"):
		p.Colors = someColors
	}
	return p
}

// unicodeLocale reads the locale as POSIX has it. One that names no character
// set, or none at all, is taken for UTF-8, as systems without others do.
func unicodeLocale(getenv func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if l := getenv(name); l != "" {
			l, _, _ = strings.Cut(l, "@")
			_, set, named := strings.Cut(strings.ToLower(l), ".")
			return l != "C" && l != "POSIX" && (!named || set == "utf-8" || set == "utf8")
		}
	}
	return true
}

// shades is how many steps the scale of heat has. The first is for exactly
// nothing, and the colours of both scales grow lighter step by step, so that any
// eye can order them; they are those of the heatmap page.
const shades = 16

func heatColor(shade, colors int) color.Color {
	if colors == allColors {
		return color.NewHexColor([shades]int32{
			0x27448f, 0x3f4498, 0x5843a2, 0x7041a0, 0x88409c, 0xa04193, 0xb84387, 0xcb4b77,
			0xda5863, 0xe76852, 0xef7c45, 0xf6903d, 0xfaa441, 0xfdb847, 0xfdce59, 0xfde36a,
		}[shade])
	}
	return color.PaletteColor([shades]int{25, 61, 62, 97, 98, 132, 133, 168, 203, 173, 209, 214, 215, 221, 222, 228}[shade])
}

// idleSteps are where the steps of idle ages begin, in seconds.
var idleSteps = [...]float64{0, 60, 5 * 60, 10 * 60, 30 * 60, 3600, 6 * 3600, 24 * 3600}

// idleColor is the darker the longer the idle.
func idleColor(step, colors int) color.Color {
	if colors == allColors {
		return color.NewHexColor([len(idleSteps)]int32{0xf4e34a, 0x9dd54d, 0x4abd6f, 0x27a085, 0x27818d, 0x34618d, 0x424286, 0x46236b}[step])
	}
	return color.PaletteColor([len(idleSteps)]int{227, 149, 43, 37, 31, 25, 55, 53}[step])
}

// nodeColor and typeColor are categories of Okabe and Ito's, which colour-blind
// people tell apart (jfly.uni-koeln.de/color), again as on the page.
func nodeColor(node, colors int) color.Color {
	if colors == allColors {
		hex := [...]int32{0x56b4e9, 0xe69f00, 0x009e73, 0xcc79a7, 0xf0e442, 0xd55e00, 0x0072b2}
		return color.NewHexColor(hex[node%len(hex)])
	}
	index := [...]int{74, 214, 36, 175, 227, 166, 25}
	return color.PaletteColor(index[node%len(index)])
}

func typeColor(i, colors int) color.Color {
	return nodeColor([len(types)]int{3, 2, 0}[i], colors)
}

// gray is for what is there but not known, white for the cursor.
func gray(colors int) color.Color {
	if colors == allColors {
		return color.NewHexColor(0x7a7a7a)
	}
	return color.PaletteColor(243)
}

func white(colors int) color.Color {
	if colors == allColors {
		return color.NewHexColor(0xffffff)
	}
	return color.PaletteColor(231)
}

// perLine is how many spots a line of the terminal has, one above the other.
func (p Palette) perLine() int {
	if p.Colors > 0 && p.Unicode {
		return 2
	}
	return 1
}

// A paint is how a spot of the heatmap looks: a colour, or a sign where there
// are none. Absent ones have neither.
type paint struct {
	color color.Color
	sign  string
}

func (p Palette) unobserved() paint { return paint{gray(p.Colors), p.hatch()} }

func (p Palette) hatch() string {
	if p.Unicode {
		return "╱"
	}
	return "/"
}

// heat paints a step of heat, and idle one of idle ages.
func (p Palette) heat(shade int) paint {
	signs := [shades]string{"·", "░", "░", "░", "░", "▒", "▒", "▒", "▒", "▓", "▓", "▓", "▓", "█", "█", "█"}
	if !p.Unicode {
		signs = [shades]string{".", "-", "-", "-", "=", "=", "=", "+", "+", "+", "*", "*", "*", "#", "#", "#"}
	}
	return paint{heatColor(shade, p.Colors), signs[shade]}
}

func (p Palette) idle(step int) paint {
	return paint{idleColor(step, p.Colors), string(rune('0' + step))}
}

func (p Palette) node(n int) paint {
	if n < 0 {
		return p.unobserved()
	}
	return paint{nodeColor(n, p.Colors), string(rune('0' + n%10))}
}

func (p Palette) pageType(i int) paint { return paint{typeColor(i, p.Colors), types[i][:1]} }

// An Overlay is what the colours of a heatmap stand for.
type Overlay string

// The overlays.
const (
	Heat Overlay = "heat" // accesses
	Node Overlay = "node" // the NUMA node that most pages are on
	Type Overlay = "type" // whether most pages are anon, file or shmem
	Idle Overlay = "idle" // for how long all pages have been idle
)

// Overlays are all of them, in the order in which they are offered.
func Overlays() []string {
	return []string{string(Heat), string(Node), string(Type), string(Idle)}
}

// paint says how a spot looks under an overlay.
func (o Overlay) paint(s *spot, p Palette) paint {
	switch {
	case s.pages == 0:
		return paint{}
	case o == Node:
		return p.node(s.node)
	case o == Type:
		return p.pageType(s.mainType())
	case !s.observed():
		return p.unobserved()
	case o == Idle:
		return p.idle(idleStep(s.idle))
	default:
		return p.heat(shade(s.heat()))
	}
}

// shade is the step of a share of pages: the root makes room for the small
// ones, and none that is more than nothing has the step of nothing.
func shade(h float64) int {
	if h <= 0 {
		return 0
	}
	return min(1+int(math.Sqrt(h)*(shades-1)), shades-1)
}

func idleStep(seconds float64) int {
	i := 0
	for i+1 < len(idleSteps) && seconds >= idleSteps[i+1] {
		i++
	}
	return i
}
