package ui_test

import (
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/systeminfo"
	"github.com/chromedp/chromedp"

	"mglru_exporter/internal/api"
)

func testUnobservedIsNotCold(t *testing.T, b browser) {
	p := plain(7, "p", "hot", "cold", "unobserved", "absent")
	whole := p.cell
	half := func(r, w int) cell { // the upper fifty of what is cold
		c := whole(r, w)
		if r >= 150 && r < 200 {
			return unseen(c, 256)
		}
		return c
	}
	p.cell = half
	tb := open(t, b, newFake(t, p), desktop, "#pid=7")
	tb.drawn()
	band := func(k float64) map[string]int { // from 0, the lowest, and with no border
		return tb.colours(box{0.01, 1 - (k+0.48)/4, 0.99, 1 - (k+0.02)/4})
	}
	for _, scheme := range []string{"light", "dark"} {
		tb.scheme(scheme)
		for _, overlay := range []string{"1", "4"} {
			tb.keys(overlay)
			hot, cold, unobserved, absent := band(0), band(1), band(2), band(3)
			if len(hot) != 1 || len(cold) != 1 || len(unobserved) != 2 || len(absent) != 1 || absent[""] == 0 {
				t.Errorf("%s, overlay %s: hot %v, cold %v, unobserved %v, absent %v: want one colour, one, two, and none",
					scheme, overlay, hot, cold, unobserved, absent)
			}
			for c := range unobserved {
				if hot[c] > 0 || cold[c] > 0 {
					t.Errorf("%s, overlay %s: unobserved has the colour %s, which is that of something measured", scheme, overlay, c)
				}
				if s := saturation(t, c); s > 0.15 {
					t.Errorf("%s: unobserved is %s, which is no grey", scheme, c)
				}
			}
			mixed := band(1.5)
			grey, all := 0, 0
			for c, n := range mixed {
				all += n
				if unobserved[c] > 0 {
					grey += n
				}
			}
			if share := float64(grey) / float64(all); math.Abs(share-0.5) > 0.02 {
				t.Errorf("%s, overlay %s: half is unobserved, and %.2f are hatched: %v", scheme, overlay, share, mixed)
			}
		}
	}
}

// testContrast takes WCAG's ratio of each visible text to what is behind it.
func testContrast(t *testing.T, b browser) {
	f := newFake(t, append(others(), memcached())...)
	tb := open(t, b, f, desktop, "#pid=4211")
	tb.drawn()
	tb.keys("m", arrows["up"])
	f.change(func() { f.broken = "for the notice" })
	tb.expect("status of 500")
	f.endWindow()
	tb.wait(`!document.getElementById("notice").hidden`)
	for _, scheme := range []string{"light", "dark"} {
		tb.scheme(scheme)
		bad := eval[[]string](tb, `(() => {
			const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
			const rgba = s => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = s; canvas.fillRect(0, 0, 1, 1); return canvas.getImageData(0, 0, 1, 1).data; };
			const light = c => [0.2126, 0.7152, 0.0722].reduce((sum, w, i) => { const v = c[i] / 255; return sum + w * (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); }, 0);
			const behind = e => { for (; e; e = e.parentElement) { const b = rgba(getComputedStyle(e).backgroundColor); if (b[3] === 255) return b; } };
			const out = [];
			for (const e of document.querySelectorAll("body *")) {
				if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || !e.checkVisibility() || e.closest("script, select, :disabled")) continue;
				const a = light(rgba(getComputedStyle(e).color)), b = light(behind(e));
				const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
				if (ratio < 4.5) out.push(ratio.toFixed(2) + " " + e.outerHTML.slice(0, 100));
			}
			return out;
		})()`)
		for _, b := range bad {
			t.Errorf("%s: contrast %s", scheme, b)
		}
	}
}

// testScales holds the scales to what colour-blind people need: that lightness
// alone, which they see, tells more from less. Nodes and types must differ under
// each kind of colour blindness, after Machado and others, 2009.
func testScales(t *testing.T, b browser) {
	tb := open(t, b, newFake(t), desktop, "")
	scales := eval[map[string][]string](tb, `import("/heatmap/colours.js").then(c => ({
		heat: Array.from(c.heatScale, c.css), idle: Array.from(c.idleScale, c.css),
		nodes: c.nodeColours.map(c.css), types: Object.values(c.typeColours).map(c.css)}))`)
	kinds := map[string][3][3]float64{
		"none":          {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}},
		"protanopia":    {{0.152286, 1.052583, -0.204868}, {0.114503, 0.786281, 0.099216}, {-0.003882, -0.048116, 1.051998}},
		"deuteranopia":  {{0.367322, 0.860646, -0.227968}, {0.280085, 0.672501, 0.047413}, {-0.011820, 0.042940, 0.968881}},
		"tritanopia":    {{1.255528, -0.076749, -0.178779}, {-0.078411, 0.930809, 0.147602}, {0.004733, 0.691367, 0.303900}},
		"achromatopsia": {{0.2126, 0.7152, 0.0722}, {0.2126, 0.7152, 0.0722}, {0.2126, 0.7152, 0.0722}},
	}
	for kind, matrix := range kinds {
		for name, sign := range map[string]float64{"heat": 1, "idle": -1} {
			last := math.Inf(-1)
			for i, c := range scales[name] {
				l := sign * lab(t, c, matrix)[0]
				if l <= last-0.15 {
					t.Errorf("%s: %s is not in order of lightness at %d, %s", kind, name, i, c)
				}
				last = max(last, l)
			}
		}
		if kind == "achromatopsia" {
			continue // seven lightnesses cannot be told apart; the readout says which it is
		}
		for _, name := range []string{"nodes", "types"} {
			for i, a := range scales[name] {
				for _, b := range scales[name][:i] {
					x, y := lab(t, a, matrix), lab(t, b, matrix)
					if d := math.Hypot(math.Hypot(x[0]-y[0], x[1]-y[1]), x[2]-y[2]); d < 10 {
						t.Errorf("%s: %s %s and %s differ by %.1f, want 10 at least", kind, name, a, b, d)
					}
				}
			}
		}
	}
}

// TestPageSize takes the figures of the largest pictures, and bounds their
// memory, each in a browser that has drawn nothing else.
func TestPageSize(t *testing.T) {
	const limit = 200e6
	for _, c := range []struct {
		name             string
		regions, windows int
		screen           size
	}{
		{"20,000 regions × 60 windows", 20000, 60, desktop},
		{"20,000 regions × 60 windows, two pixels to one", 20000, 60, size{1440, 900, 2}},
		{"as much as the API gives", 20000, api.MaxWindows, size{1600, 2500, 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := start(t)
			p := plain(7, "large")
			for i := range 20 {
				p.mappings = append(p.mappings, mapping{fmt.Sprintf("/lib/lib%d.so", i), c.regions / 20})
			}
			f := newFake(t, p)
			f.ended = c.windows
			tb := open(t, b, f, c.screen, "")
			tb.wait(`document.querySelector("#processes button")`)
			before := tb.renderer()
			eval[bool](tb, fmt.Sprintf(`(location.hash = "#pid=7&windows=%d", true)`, c.windows))
			tb.drawn()
			tb.wait(`performance.getEntriesByName("heatmap").length > 0`)
			heap := call(tb, runtime.GetHeapUsage, cdp.Empty{})
			total := heap.UsedSize + heap.EmbedderHeapUsedSize + heap.BackingStorageSize
			took := eval[[]float64](tb, `["heatmap", "draw"].map(n => performance.getEntriesByName(n).at(-1).duration)`)
			rows := eval[string](tb, `document.getElementById("map").ariaLabel.match(/[\d,]+ rows/)[0]`)
			t.Logf("%s; %.0f ms from asking to drawn, of which drawing %.0f ms; heap %.1f MB with garbage, renderer %.1f MB of its own, %.1f before",
				rows, took[0], took[1], total/1e6, tb.renderer()/1e6, before/1e6)
			if total > limit {
				t.Errorf("heap of %.1f MB, want %.0f at most", total/1e6, limit/1e6)
			}
		})
	}
}

// renderer is the most memory, not shared with others, that a renderer has.
func (tb *tab) renderer() (most float64) {
	tb.Helper()
	info, err := chromedp.CallBrowser(tb.ctx, systeminfo.GetProcessInfo, cdp.Empty{})
	if err != nil {
		tb.Fatal(err)
	}
	for _, p := range info.ProcessInfo {
		if p.Type != "renderer" {
			continue
		}
		rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.ID))
		if err != nil {
			continue // it has ended
		}
		var own float64
		for line := range strings.Lines(string(rollup)) {
			var kB float64
			if n, _ := fmt.Sscanf(line, "Private_Dirty: %f kB", &kB); n == 1 {
				own += kB * 1024
			}
		}
		most = max(most, own)
	}
	return most
}

// rgb reads #rrggbb into 0 to 1, linear.
func rgb(t *testing.T, hex string) (c [3]float64) {
	t.Helper()
	var r, g, b uint8
	if _, err := fmt.Sscanf(hex, "#%02x%02x%02x", &r, &g, &b); err != nil {
		t.Fatalf("colour %q: %v", hex, err)
	}
	for i, v := range []uint8{r, g, b} {
		c[i] = float64(v) / 255
		if c[i] <= 0.04045 {
			c[i] /= 12.92
		} else {
			c[i] = math.Pow((c[i]+0.055)/1.055, 2.4)
		}
	}
	return c
}

func saturation(t *testing.T, hex string) float64 {
	c := rgb(t, hex)
	most := max(c[0], c[1], c[2])
	return most - min(c[0], c[1], c[2])
}

// lab is a colour, as a matrix lets it be seen, in CIELAB under D65.
func lab(t *testing.T, hex string, m [3][3]float64) [3]float64 {
	t.Helper()
	c := rgb(t, hex)
	var seen [3]float64
	for i, row := range m {
		seen[i] = min(1, max(0, row[0]*c[0]+row[1]*c[1]+row[2]*c[2]))
	}
	f := func(r, g, b, white float64) float64 {
		v := (r*seen[0] + g*seen[1] + b*seen[2]) / white
		if v > 216.0/24389 {
			return math.Cbrt(v)
		}
		return (24389.0/27*v + 16) / 116
	}
	x, y, z := f(0.4124, 0.3576, 0.1805, 0.9505), f(0.2126, 0.7152, 0.0722, 1), f(0.0193, 0.1192, 0.9505, 1.089)
	return [3]float64{116*y - 16, 500 * (x - y), 200 * (y - z)}
}
