package main

import (
	"cmp"
	"fmt"
	"html"
	"strings"
)

// terminalPage is a page that looks as a terminal does: dark, and without seams
// between the cells.
const terminalPage = `<!doctype html><meta charset="utf-8"><style>
body { margin: 0; padding: 12px; background: #16181d; color: #d7dae0; font: 14px/18px "DejaVu Sans Mono", monospace; width: max-content }
div { height: 18px; white-space: pre }
span { display: inline-block; height: 18px; vertical-align: top }
</style>%s`

// upperHalf fills the upper half of a cell.
const upperHalf = '▀'

// terminalHTML returns a page that shows a frame of mglru_exporter top in 2²⁴
// colours. Half blocks it draws itself, as those of fonts leave gaps. It is an error
// if the frame has an escape sequence other than those.
func terminalHTML(frame string) (string, error) {
	var b strings.Builder
	for line := range strings.Lines(frame) {
		b.WriteString("<div>")
		for i, part := range strings.Split(strings.TrimRight(line, "\n"), "\x1b[") {
			style, text := style{}, part
			if i > 0 {
				codes, rest, ok := strings.Cut(part, "m")
				if !ok {
					return "", fmt.Errorf("unknown escape sequence %q", part)
				}
				var err error
				if style, err = parseStyle(codes); err != nil {
					return "", fmt.Errorf("escape sequence %q: %w", codes, err)
				}
				text = rest
			}
			if strings.Contains(text, "\x1b") {
				return "", fmt.Errorf("unknown escape sequence in %q", text)
			}
			style.write(&b, text)
		}
		b.WriteString("</div>\n")
	}
	return fmt.Sprintf(terminalPage, b.String()), nil
}

// A style is what a cell's escape sequence says; colours are of CSS.
type style struct {
	bold, dim, reverse     bool
	foreground, background string
}

// parseStyle reads what internal/top writes: everything anew, from 0 on.
func parseStyle(codes string) (style, error) {
	var s style
	for codes != "" {
		var code string
		code, codes, _ = strings.Cut(codes, ";")
		switch code {
		case "0":
			s = style{}
		case "1":
			s.bold = true
		case "2":
			s.dim = true
		case "7":
			s.reverse = true
		case "38", "48":
			var r, g, b int
			if _, err := fmt.Sscanf(codes, "2;%d;%d;%d", &r, &g, &b); err != nil {
				return s, fmt.Errorf("no colour of 24 bits: %w", err)
			}
			colour := fmt.Sprintf("#%02x%02x%02x", r, g, b)
			if code == "38" {
				s.foreground = colour
			} else {
				s.background = colour
			}
			rest := strings.SplitN(codes, ";", 5)
			codes = strings.Join(rest[4:], "")
		default:
			return s, fmt.Errorf("unknown code %q", code)
		}
	}
	return s, nil
}

// write writes text in the style, with a span for each stretch of half blocks.
func (s style) write(b *strings.Builder, text string) {
	foreground, background := cmp.Or(s.foreground, "#d7dae0"), cmp.Or(s.background, "#16181d")
	if s.reverse {
		foreground, background = background, foreground
	}
	css := fmt.Sprintf("color:%s;background:%s", foreground, background)
	if s.bold {
		css += ";font-weight:bold"
	}
	if s.dim {
		css += ";opacity:.65"
	}
	for text != "" {
		rest := strings.TrimLeft(text, string(upperHalf))
		if n := strings.Count(text[:len(text)-len(rest)], string(upperHalf)); n > 0 {
			fmt.Fprintf(b, `<span style="background:linear-gradient(%s 50%%,%s 50%%)">%s</span>`, foreground, background, strings.Repeat(" ", n))
		}
		text = rest
		end := strings.IndexRune(text, upperHalf)
		if end < 0 {
			end = len(text)
		}
		if end > 0 {
			fmt.Fprintf(b, `<span style="%s">%s</span>`, css, html.EscapeString(text[:end]))
		}
		text = text[end:]
	}
}
