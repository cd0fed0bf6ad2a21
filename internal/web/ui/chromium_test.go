package ui_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"mglru_exporter/internal/chromium"
	"mglru_exporter/internal/web/ui"
)

// patience is how long the browser may take for what it does at once.
const patience = 30 * time.Second

// A browser is a Chromium that runs.
type browser struct{ context.Context }

// start starts a browser for the length of a test.
func start(t *testing.T) browser {
	t.Helper()
	ctx, end, err := chromium.Start(t.Context())
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip("SKIPPED, the heatmap page is not tested: there is no chromium; make deps installs it")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(end)
	return browser{ctx}
}

// A tab is the page in a tab of its own, and what went wrong there.
type tab struct {
	*testing.T
	*fake
	ctx context.Context

	mu       sync.Mutex
	problems []string
	expected string
}

// size is that of a window, in CSS pixels, and device pixels to each of them.
type size struct {
	width, height int64
	ratio         float64
}

// open opens the page of a fake. The test fails at its end if there was an error
// in the browser's console, or a request to somebody else.
func open(t *testing.T, b browser, f *fake, s size, hash string) *tab {
	t.Helper()
	ctx, closeTab := chromedp.NewContext(b)
	tb := &tab{T: t, fake: f, ctx: ctx}
	var watching sync.WaitGroup
	t.Cleanup(func() {
		closeTab()
		watching.Wait()
		for _, p := range tb.problems {
			if tb.expected == "" || !strings.Contains(p, tb.expected) {
				t.Error(p)
			}
		}
	})
	tb.run(chromedp.EmulateViewport(s.width, s.height, chromedp.EmulateScale(s.ratio)))
	messages := chromedp.Console(ctx)
	watching.Go(func() {
		for m, err := range messages {
			if err == nil && slices.Contains([]chromedp.ConsoleType{"warning", "error", "assert", "exception"}, m.Type) {
				tb.problem("console: " + m.Text + " " + m.URL)
			}
		}
	})
	call(tb, network.Enable, network.EnableParams{})
	requests := chromedp.Events(ctx, network.RequestWillBeSent)
	watching.Go(func() {
		for r, err := range requests {
			if err == nil && !strings.HasPrefix(r.Request.URL, f.URL+"/") {
				tb.problem("request to another: " + r.Request.URL)
			}
		}
	})
	tb.run(chromedp.Navigate(f.URL + ui.Path + hash))
	tb.wait(`document.getElementById("status").dataset.state === "live"`)
	return tb
}

func (tb *tab) problem(text string) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	tb.problems = append(tb.problems, text)
}

// call runs a command of the debugger's protocol.
func call[P, R any](tb *tab, command cdp.Command[P, R], params P) R {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.ctx, patience)
	defer cancel()
	r, err := chromedp.Call(ctx, command, params)
	if err != nil {
		tb.Fatalf("browser: %s: %v", command.Method, err)
	}
	return r
}

func (tb *tab) run(actions ...chromedp.Action[chromedp.Void]) {
	tb.Helper()
	ctx := tb.ctx
	// The first is what the tab is made by, and its context is the tab's.
	if chromedp.FromContext(ctx).Target != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	if err := chromedp.Do(ctx, actions...); err != nil {
		tb.Fatalf("browser: %v", err)
	}
}

// eval evaluates JavaScript.
func eval[V any](tb *tab, js string) V {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[V](js, chromedp.EvalAwaitPromise))
	if err != nil {
		tb.Fatalf("browser: %v in %s", err, js)
	}
	return v
}

// wait waits for a condition.
func (tb *tab) wait(condition string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.ctx, patience)
	defer cancel()
	ok, err := chromium.Wait(ctx, condition)
	if err != nil {
		tb.Fatalf("browser: %v in %s", err, condition)
	}
	if !ok {
		tb.screenshot("failed")
		tb.Fatalf("did not come true: %s\nthe page says: %s", condition, eval[string](tb, `document.querySelector("main").innerText`))
	}
}

func (tb *tab) text(selector string) string {
	tb.Helper()
	return eval[string](tb, fmt.Sprintf(`document.querySelector(%q).textContent`, selector))
}

// keys presses keys, one after the other, wherever the focus is.
func (tb *tab) keys(keys ...string) {
	tb.Helper()
	for _, k := range keys {
		tb.run(chromedp.KeyEvent(k))
	}
}

// arrows are those that tests use.
var arrows = map[string]string{"left": kb.ArrowLeft, "right": kb.ArrowRight, "up": kb.ArrowUp, "down": kb.ArrowDown}

// click clicks as a pointer does, so that what is covered is not clicked.
func (tb *tab) click(selector string) {
	tb.Helper()
	tb.run(chromedp.Click(chromedp.CSS(selector)))
}

// drawn waits until the map shows the newest window and no request is under way.
func (tb *tab) drawn() {
	tb.Helper()
	f := tb.fake
	f.mu.Lock()
	end := f.end(f.ended - 1).UTC().Format("2006-01-02T15:04:05")
	f.mu.Unlock()
	tb.wait(fmt.Sprintf(`document.getElementById("map").getAttribute("aria-label").includes(%q)`, "until "+end))
}

// pixels reads a part of the map from a copy of it, as the map's own canvas would
// be slower from then on.
const pixels = `(l, t, r, b) => {
	const c = document.getElementById("map"), copy = new OffscreenCanvas(c.width, c.height).getContext("2d", {willReadFrequently: true});
	copy.drawImage(c, 0, 0);
	const x = Math.ceil(l * c.width), y = Math.ceil(t * c.height);
	return copy.getImageData(x, y, Math.floor(r * c.width) - x, Math.floor(b * c.height) - y).data;
}`

// picture is a short of the map's pixels: equal if all of them are.
func (tb *tab) picture() string {
	tb.Helper()
	return eval[string](tb, `(async () => {
		const d = (`+pixels+`)(0, 0, 1, 1);
		return btoa(String.fromCharCode(...new Uint8Array(await crypto.subtle.digest("SHA-256", d))));
	})()`)
}

// A box is a part of the map; its sides are fractions of the map's.
type box struct{ left, top, right, bottom float64 }

// colours are those of the pixels in a box of the map, as #rrggbb or "" where
// nothing is drawn, with how many pixels have them.
func (tb *tab) colours(b box) map[string]int {
	tb.Helper()
	return eval[map[string]int](tb, fmt.Sprintf(`(() => {
		const d = (`+pixels+`)(%f, %f, %f, %f);
		const out = {};
		for (let i = 0; i < d.length; i += 4) {
			const k = d[i + 3] ? "#" + [0, 1, 2].map(j => d[i + j].toString(16).padStart(2, "0")).join("") : "";
			out[k] = (out[k] ?? 0) + 1;
		}
		return out;
	})()`, b.left, b.top, b.right, b.bottom))
}

// expect names what problems may have in them.
func (tb *tab) expect(text string) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	tb.expected = text
}

// at returns where a fraction of the map's width and height is on the screen.
func (tb *tab) at(x, y float64) (left, top float64) {
	tb.Helper()
	r := eval[[]float64](tb, `(r => [r.left, r.top, r.width, r.height])(document.getElementById("map").getBoundingClientRect())`)
	return r[0] + x*r[2], r[1] + y*r[3]
}

// point moves the pointer there.
func (tb *tab) point(x, y float64) {
	tb.Helper()
	left, top := tb.at(x, y)
	tb.run(chromedp.MouseEvent(input.DispatchMouseEventTypeMouseMoved, left, top))
}

// drag drags from one height to another.
func (tb *tab) drag(x, from, to float64) {
	tb.Helper()
	left, top := tb.at(x, from)
	_, bottom := tb.at(x, to)
	tb.run(chromedp.DragAndDropXY(left, top, left, bottom, 4))
}

// wheel turns the wheel, up where delta is negative.
func (tb *tab) wheel(x, y, delta float64) {
	tb.Helper()
	left, top := tb.at(x, y)
	call(tb, input.DispatchMouseEvent, input.DispatchMouseEventParams{Type: input.DispatchMouseEventTypeMouseWheel, X: left, Y: top, DeltaX: 1e-3 /* 0 is left out, and missed */, DeltaY: delta})
}

// screenshot writes what the tab shows; go test -artifacts keeps it.
func (tb *tab) screenshot(name string) {
	tb.Helper()
	png, err := chromedp.Run(tb.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(tb.ArtifactDir(), name+".png"), png, 0o600); err != nil {
		tb.Fatal(err)
	}
}

// scheme is dark or light.
func (tb *tab) scheme(scheme string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.ctx, patience)
	defer cancel()
	if err := chromium.SetScheme(ctx, scheme); err != nil {
		tb.Fatalf("browser: %v", err)
	}
}
