package ui_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

var desktop = size{1440, 900, 1}

// TestPage tests the page in a real browser, one for all of the tests.
func TestPage(t *testing.T) {
	b := start(t)
	for _, c := range []struct {
		name string
		test func(*testing.T, browser)
	}{
		{"Pick", testPick},
		{"Overlays", testOverlays},
		{"Live", testLive},
		{"Pause", testPause},
		{"Reconnect", testReconnect},
		{"Hidden", testHidden},
		{"Crosshair", testCrosshair},
		{"Keys", testKeys},
		{"Tab", testTab},
		{"Zoom", testZoom},
		{"Links", testLinks},
		{"HostileNames", testHostileNames},
		{"EmptyStates", testEmptyStates},
		{"Search", testSearch},
		{"UnobservedIsNotCold", testUnobservedIsNotCold},
		{"Contrast", testContrast},
		{"Scales", testScales},
		{"Narrow", testNarrow},
		{"Screenshots", testScreenshots},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, b) })
	}
}

func testPick(t *testing.T, b browser) {
	tb := open(t, b, newFake(t, append(others(), memcached())...), desktop, "")
	tb.wait(`document.querySelectorAll("#processes button").length === 8`)
	if got := tb.text("#empty-title"); got != "Pick a process" {
		t.Errorf("before: %q", got)
	}
	tb.click(`#processes button[data-pid="4211"]`)
	tb.drawn()
	if got := tb.text("#comm"); got != "memcached" {
		t.Errorf("picked %q, want memcached", got)
	}
	if got := eval[string](tb, `location.hash`); !strings.Contains(got, "pid=4211") {
		t.Errorf("the link is %q, want one with pid=4211", got)
	}
	if got := eval[string](tb, `document.querySelector("[aria-current=true]").dataset.pid`); got != "4211" {
		t.Errorf("marked in the list: %s", got)
	}
	if n := len(tb.colours(box{0, 0, 1, 1})); n < 20 {
		t.Errorf("the map has %d colours", n)
	}
	for _, name := range []string{"[heap]", "[anon:values]", "…/libc.so.6"} {
		if !strings.Contains(tb.text("#gutter"), name) {
			t.Errorf("%s is not named beside the map: %q", name, tb.text("#gutter"))
		}
	}
	tb.click(`#processes button[data-pid="812"]`)
	tb.wait(`document.getElementById("comm").textContent === "postgres"`)
	tb.run(chromedp.NavigateBack())
	tb.wait(`document.getElementById("comm").textContent === "memcached"`)
}

func testOverlays(t *testing.T, b browser) {
	tb := open(t, b, newFake(t, memcached()), desktop, "#pid=4211")
	tb.drawn()
	seen := map[string]string{}
	for i, name := range []string{"heat", "node", "type", "idle"} {
		key := fmt.Sprint(i + 1)
		tb.keys(key)
		tb.wait(`location.hash.includes("overlay=` + name + `")`)
		p := tb.picture()
		if other, ok := seen[p]; ok {
			t.Errorf("%s is drawn as %s is", name, other)
		}
		seen[p] = name
		if got := eval[string](tb, `document.querySelector("#overlays :checked").value`); got != name {
			t.Errorf("key %s: %s is checked", key, got)
		}
	}
	tb.click(`#overlays input[value="heat"]`)
	if got := seen[tb.picture()]; got != "heat" {
		t.Errorf("a click on heat draws %q", got)
	}
	if legend := tb.text("#legend"); !strings.Contains(legend, "100 %") || !strings.Contains(legend, "Unobserved96 MiB") {
		t.Errorf("legend: %q, want numbers", legend)
	}
}

func testLive(t *testing.T, b browser) {
	f := newFake(t, memcached(), plain(7, "other", "[heap]"))
	tb := open(t, b, f, desktop, "#pid=4211")
	tb.drawn()
	before := tb.picture()
	f.endWindow()
	tb.drawn()
	if tb.picture() == before {
		t.Error("a window has ended, and the picture is the same")
	}
	tb.wait(`/^data \d+ s old$/.test(document.getElementById("age").textContent)`)
	if got := tb.text("#status-text"); got != "Live" {
		t.Errorf("status %q, want Live", got)
	}
}

func testPause(t *testing.T, b browser) {
	f := newFake(t, memcached())
	tb := open(t, b, f, desktop, "#pid=4211")
	tb.drawn()
	label := eval[string](tb, `document.getElementById("map").ariaLabel`)
	before := tb.picture()
	tb.keys("p")
	tb.wait(`document.getElementById("status").dataset.state === "paused"`)
	f.heatmaps()
	f.endWindow()
	tb.wait(`document.getElementById("status-text").textContent === "Paused, 1 new window"`)
	if asked := f.heatmaps(); len(asked) > 0 || tb.picture() != before {
		t.Errorf("paused, and yet asked for %v, or drew another picture", asked)
	}
	// Zoom shows finer rows of the windows that were there.
	tb.keys("+")
	tb.wait(`performance.getEntriesByName("heatmap").length >= 2`)
	tb.keys(kb.Escape)
	tb.wait(`performance.getEntriesByName("heatmap").length >= 3`)
	_, until, _ := strings.Cut(label, "until ")
	if got := eval[string](tb, `document.getElementById("map").ariaLabel`); !strings.Contains(got, until) {
		t.Errorf("paused and zoomed: %q, was %q", got, label)
	}
	tb.keys("p")
	tb.drawn()
	if tb.picture() == before {
		t.Error("resumed, and the picture is the same")
	}
}

func testReconnect(t *testing.T, b browser) {
	f := newFake(t, memcached())
	tb := open(t, b, f, desktop, "#pid=4211")
	tb.expect("net::ERR")
	tb.drawn()
	// The page must notice before the window it missed ends.
	eval[bool](tb, `(window.seen = [], new MutationObserver(() => seen.push(document.getElementById("status").dataset.state)).observe(document.getElementById("status"), {attributes: true}), true)`)
	f.CloseClientConnections()
	tb.wait(`seen.includes("disconnected")`)
	f.change(func() { f.ended++ })
	tb.wait(`seen.at(-1) === "live"`)
	tb.drawn()
}

func testHidden(t *testing.T, b browser) {
	f := newFake(t, memcached())
	tb := open(t, b, f, desktop, "#pid=4211")
	tb.drawn()
	hide := func(hidden bool) {
		eval[bool](tb, fmt.Sprintf(`(Object.defineProperty(document, "hidden", {value: %t, configurable: true}), document.dispatchEvent(new Event("visibilitychange")))`, hidden))
	}
	hide(true)
	tb.wait(`document.getElementById("status").dataset.state === "disconnected"`)
	f.endWindow()
	hide(false)
	tb.wait(`document.getElementById("status").dataset.state === "live"`)
	tb.drawn()
}

func testCrosshair(t *testing.T, b browser) {
	tb := open(t, b, newFake(t, plain(7, "p", "[heap]", "/lib/cold.so", "/lib/unseen.so", "/lib/gone.so")), desktop, "#pid=7")
	tb.drawn()
	for _, c := range []struct {
		y    float64
		want []string
	}{
		{0.875, []string{"[heap]", "Heat100 %", "Accesses2,048 of 2,048", "hot2 MiB", "unobserved0 B", "Node0", "Idle0 s"}},
		{0.625, []string{"/lib/cold.so", "Heat0 %", "cold2 MiB", "Idle≥ 10 min", "Node1", "file2 MiB"}},
		{0.375, []string{"/lib/unseen.so", "Heatunobserved", "Idleunobserved", "cold0 B", "unobserved2 MiB"}},
		{0.125, []string{"/lib/gone.so", "Residentnothing"}},
	} {
		tb.point(0.9, c.y)
		got := tb.text("#readout")
		for _, want := range c.want {
			if !strings.Contains(got, want) {
				t.Errorf("at %.3f: %q, want %q in it", c.y, got, want)
			}
		}
	}
	// It stays where it is in time as windows come.
	tb.keys("m")
	window := eval[string](tb, `document.querySelector("#readout dd").textContent`)
	tb.endWindow()
	tb.drawn()
	if got := eval[string](tb, `document.querySelector("#readout dd").textContent`); got != window {
		t.Errorf("the crosshair was at window %q and is at %q", window, got)
	}
}

func testKeys(t *testing.T, b browser) {
	tb := open(t, b, newFake(t, append(others(), memcached())...), desktop, "#pid=4211")
	tb.drawn()
	tb.keys("m")
	tb.wait(`document.activeElement.id === "map" && document.getElementById("live").textContent.includes("[anon:values]")`)
	where := func() string { return tb.text("#readout") }
	for _, k := range []string{"left", "up", "down", "right"} {
		before := where()
		tb.keys(arrows[k])
		if where() == before {
			t.Errorf("%s does not move the crosshair", k)
		}
	}
	newest := where()
	tb.keys(kb.Home)
	if where() == newest {
		t.Error("home does not move the crosshair")
	}
	tb.keys(kb.End)
	if got := where(); got != newest {
		t.Errorf("end goes to %q, want %q", got, newest)
	}
	tb.wait(`document.getElementById("live").textContent.match(/heat \d+ %, .* accesses, .* resident, .* hot, .* warm, .* cold, .* unobserved, idle .*, node 0/)`)
	tb.keys("+")
	tb.wait(`location.hash.includes("from=")`)
	tb.keys(kb.PageUp)
	tb.keys(kb.Escape)
	tb.wait(`!location.hash.includes("from=")`)
	tb.keys("?")
	tb.wait(`document.getElementById("help").open`)
	tb.keys("2") // not for the page behind
	tb.keys(kb.Enter)
	tb.wait(`!document.getElementById("help").open && location.hash.includes("overlay=heat")`)
	tb.keys("/")
	tb.wait(`document.activeElement.id === "search"`)
	tb.keys("p", "o", "s", "t")
	tb.wait(`document.querySelectorAll("#processes button").length === 1 && document.getElementById("status").dataset.state === "live"`)
	tb.keys(arrows["down"], kb.Enter)
	tb.wait(`document.getElementById("comm").textContent === "postgres"`)
}

func testTab(t *testing.T, b browser) {
	tb := open(t, b, newFake(t, append(others(), memcached())...), desktop, "#pid=4211&from=10&to=300")
	tb.drawn()
	reached := map[string]bool{}
	for range 30 {
		tb.keys(kb.Tab)
		reached[eval[string](tb, `document.activeElement.id || document.activeElement.name || (document.activeElement.closest("#processes") ? "process" : "")`)] = true
	}
	for _, id := range []string{"pause", "help-open", "search", "sort", "process", "overlay", "windows", "zoom-in", "zoom-out", "zoom-reset", "map"} {
		if !reached[id] {
			t.Errorf("tab does not reach %s, only %v", id, reached)
		}
	}
	unnamed := eval[[]string](tb, `[...document.querySelectorAll("button, input, select, canvas[role]")]
		.filter(e => !(e.ariaLabel || e.textContent.trim() || e.labels?.[0]?.textContent.trim())).map(e => e.outerHTML)`)
	if len(unnamed) > 0 {
		t.Errorf("without a name for screen readers: %v", unnamed)
	}
}

func testZoom(t *testing.T, b browser) {
	f := newFake(t, memcached())
	tb := open(t, b, f, desktop, "#pid=4211")
	tb.drawn()
	whole := tb.picture()
	f.heatmaps()
	tb.drag(0.5, 0.25, 0.75)
	tb.wait(`location.hash.includes("from=186&to=558")`)
	tb.wait(`performance.getEntriesByName("heatmap").length >= 2`)
	if asked := f.heatmaps(); len(asked) != 1 || !strings.Contains(asked[0], "from=186&to=558") {
		t.Errorf("asked for %v", asked)
	}
	if tb.picture() == whole {
		t.Error("zoomed in, and the picture is the same")
	}
	if got := tb.text("#range"); got != "regions 186–558 of 744" {
		t.Errorf("range: %q", got)
	}
	tb.click("#zoom-reset")
	tb.wait(`performance.getEntriesByName("heatmap").length >= 3`)
	if tb.picture() != whole {
		t.Error("reset, and the picture is another than before")
	}
	tb.wheel(0.5, 0.5, -120)
	tb.wait(`location.hash.includes("from=")`)
}

func testNarrow(t *testing.T, b browser) {
	tb := open(t, b, newFake(t, append(others(), memcached())...), size{360, 740, 2}, "#pid=4211")
	tb.drawn()
	if wide := eval[int](tb, `document.documentElement.scrollWidth`); wide > 360 {
		t.Errorf("the page is %d pixels wide on a screen of 360", wide)
	}
	if w := eval[float64](tb, `document.getElementById("map").clientWidth`); w < 200 {
		t.Errorf("the map is %.0f pixels wide on a screen of 360", w)
	}
}

func testScreenshots(t *testing.T, b browser) {
	f := newFake(t, append(others(), memcached())...)
	tb := open(t, b, f, desktop, "#pid=4211")
	tb.drawn()
	tb.keys("m", arrows["up"], arrows["left"])
	for _, scheme := range []string{"light", "dark"} {
		tb.scheme(scheme)
		for i, overlay := range []string{"heat", "node", "type", "idle"} {
			tb.keys(fmt.Sprint(i + 1))
			tb.screenshot(scheme + "-" + overlay)
		}
	}
	for name, s := range map[string]size{"narrow": {390, 844, 2}, "middle": {1024, 768, 1}} {
		other := open(t, b, f, s, "#pid=4211")
		other.drawn()
		other.screenshot(name)
	}
}
