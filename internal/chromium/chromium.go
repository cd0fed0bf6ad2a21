// Package chromium runs a headless Chromium, for tests of pages and for pictures of
// them.
package chromium

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// nobody is a user who may do nothing.
const nobody = 65534

// patience is how long a condition may take to come true.
const patience = 20 * time.Second

// Start starts a browser. The context is chromedp's; end stops the browser and
// removes what it has written. As root it would have no sandbox, and so nobody runs
// it then. The error is exec.ErrNotFound where there is no Chromium.
func Start(ctx context.Context) (browser context.Context, end func(), err error) {
	path, err := exec.LookPath("chromium")
	if err != nil {
		return nil, nil, err
	}
	home, err := os.MkdirTemp("", "mglru-chromium-")
	if err != nil {
		return nil, nil, err
	}
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if os.Getuid() == 0 {
		attr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
		if err := os.Chown(home, nobody, nobody); err != nil {
			os.RemoveAll(home)
			return nil, nil, err
		}
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.UserDataDir(filepath.Join(home, "profile")),
		chromedp.Env("HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_CACHE_HOME="+home, "TZ=UTC"),
		chromedp.Flag("no-sandbox", false),
		chromedp.Flag("disable-gpu", true),
		chromedp.Flag("enable-precise-memory-info", true),
		chromedp.ModifyCmdFunc(func(c *exec.Cmd) { c.SysProcAttr = attr }),
	)
	allocator, endAllocator := chromedp.NewExecAllocator(ctx, options...)
	browser, endBrowser := chromedp.NewContext(allocator)
	end = func() {
		endBrowser()
		endAllocator()
		os.RemoveAll(home)
	}
	if err := chromedp.Do(browser); err != nil {
		end()
		return nil, nil, fmt.Errorf("start %s: %w", path, err)
	}
	return browser, end, nil
}

// Wait tells whether a condition in JavaScript comes true in the tab within 20
// seconds; where it throws, it is not true. The page is asked by the debugger, as it
// may allow no scripts but its own.
func Wait(ctx context.Context, condition string) (bool, error) {
	return chromedp.Run(ctx, chromedp.Evaluate[bool](fmt.Sprintf(`new Promise(done => {
		const until = Date.now() + %d;
		const look = () => { let ok = false; try { ok = !!(%s) } catch {}; ok || Date.now() > until ? done(ok) : setTimeout(look, 10) };
		look();
	})`, patience.Milliseconds(), condition), chromedp.EvalAwaitPromise))
}

// SetScheme has the tab prefer a scheme, light or dark, and returns once it is drawn.
func SetScheme(ctx context.Context, scheme string) error {
	_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	if err != nil {
		return err
	}
	_, err = chromedp.Run(ctx, chromedp.Evaluate[bool](
		`new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))`, chromedp.EvalAwaitPromise))
	return err
}
