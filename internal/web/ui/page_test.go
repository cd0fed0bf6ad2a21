package ui_test

import (
	"context"
	"testing"
)

var desktop = size{1440, 900, 1}

func TestPage(t *testing.T) {
	browser := chromium(t)
	for _, c := range []struct {
		name string
		test func(*testing.T, context.Context)
	}{
		{"Screenshots", testScreenshots},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, browser) })
	}
}

func testScreenshots(t *testing.T, browser context.Context) {
	f := newFake(t, append(others(), memcached())...)
	tb := open(t, browser, f, desktop, "#pid=4211")
	tb.drawn()
	for _, scheme := range []string{"light", "dark"} {
		tb.scheme(scheme)
		for _, o := range []string{"1", "2", "3", "4"} {
			tb.keys(o)
			tb.screenshot(scheme + o)
		}
	}
}
