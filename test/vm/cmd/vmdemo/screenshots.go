package main

import (
	"bytes"
	"context"
	"fmt"
	"image/png"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/chromedp/chromedp"

	"mglru_exporter/internal/chromium"
	"mglru_exporter/internal/web/ui"
)

// pictureWindows is how many windows pictures show at least: what the page shows
// unless told otherwise is 60.
const pictureWindows = 56

// maxPicture is how many bytes a picture may have, for the repository's sake.
const maxPicture = 300 << 10

// screenshots waits for both phases of memcached and writes pictures of them to dir:
// the heatmap page, light and dark, and the terminal heatmap of the exporter given.
func screenshots(ctx context.Context, exporter, dir string) error {
	pid, err := awaitPhases(ctx, pictureWindows)
	if err != nil {
		return err
	}
	frame := exec.CommandContext(ctx, exporter, "top", "--url="+exporterURL, "--once", "--color=always", fmt.Sprintf("--pid=%d", pid))
	frame.Env = append(os.Environ(), "COLUMNS=80", "LINES=36", "COLORTERM=truecolor", "LC_ALL=C.UTF-8")
	frame.Stderr = os.Stderr
	text, err := frame.Output()
	if err != nil {
		return fmt.Errorf("%s: %w", frame, err)
	}
	terminal, err := terminalHTML(string(text))
	if err != nil {
		return err
	}
	browser, end, err := chromium.Start(ctx)
	if err != nil {
		return fmt.Errorf("%w: make deps installs Chromium", err)
	}
	defer end()
	heatmapPage := fmt.Sprintf("%s%s#pid=%d", exporterURL, ui.Path, pid)
	drawn := `document.getElementById("map").getAttribute("aria-label").includes("until")`
	for _, p := range []picture{
		{"heatmap-light.png", heatmapPage, drawn, "light", 1280, 800},
		{"heatmap-dark.png", heatmapPage, drawn, "dark", 1280, 800},
		{"top.png", "data:text/html;charset=utf-8," + url.PathEscape(terminal), "true", "dark", 0, 0},
	} {
		if err := p.take(browser, dir); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// awaitPhases waits until memcached's heatmap shows what it is filled and read like,
// in at least so many windows, and returns its pid.
func awaitPhases(ctx context.Context, windows int) (pid int, err error) {
	err = until(ctx, "memcached", func(ctx context.Context) error {
		h, err := heatmap(ctx, "memcached")
		if err != nil {
			return err
		}
		pid = h.Process.PID
		if err := showsPhases(h); err != nil {
			return err
		}
		if len(h.Columns) < windows {
			return fmt.Errorf("%d windows of %d", len(h.Columns), windows)
		}
		return nil
	})
	return pid, err
}

// A picture is one to take of a page, once a condition is true there.
type picture struct {
	name, url, condition, scheme string
	width, height                int64 // in CSS pixels; 0 is what the page takes
}

func (p picture) take(browser context.Context, dir string) error {
	tab, end := chromedp.NewContext(browser)
	defer end()
	width, height := max(p.width, 100), max(p.height, 100)
	if err := chromedp.Do(tab, chromedp.EmulateViewport(width, height), chromedp.Navigate(p.url)); err != nil {
		return err
	}
	if err := chromium.SetScheme(tab, p.scheme); err != nil {
		return err
	}
	if ok, err := chromium.Wait(tab, p.condition); err != nil || !ok {
		return fmt.Errorf("the page does not get ready: %w", err)
	}
	if p.width == 0 {
		size, err := chromedp.Run(tab, chromedp.Evaluate[[]int64](`[document.body.offsetWidth, document.body.offsetHeight]`))
		if err != nil {
			return err
		}
		if err := chromedp.Do(tab, chromedp.EmulateViewport(size[0], size[1])); err != nil {
			return err
		}
	}
	shot, err := chromedp.Run(tab, chromedp.CaptureScreenshot())
	if err != nil {
		return err
	}
	small, err := squeeze(shot)
	if err != nil {
		return err
	}
	if len(small) > maxPicture {
		return fmt.Errorf("%d bytes are more than %d", len(small), maxPicture)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	name := filepath.Join(dir, p.name)
	fmt.Printf("%s: %d KiB\n", name, len(small)>>10)
	return os.WriteFile(name, small, 0o644)
}

// squeeze compresses a PNG as well as it can be.
func squeeze(shot []byte) ([]byte, error) {
	picture, err := png.Decode(bytes.NewReader(shot))
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&b, picture)
	return b.Bytes(), err
}
