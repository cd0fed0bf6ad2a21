package main

import (
	"strings"
	"testing"
)

func TestTerminalHTML(t *testing.T) {
	page, err := terminalHTML(" \x1b[0;1m<top>\x1b[0m & \x1b[0;38;2;1;2;3;48;2;4;5;6m▀▀ x▀\x1b[0;2;7mdim\x1b[0m\n\n")
	if err != nil {
		t.Fatal(err)
	}
	const plain = `color:#d7dae0;background:#16181d`
	want := `<div><span style="` + plain + `"> </span><span style="` + plain + `;font-weight:bold">&lt;top&gt;</span><span style="` + plain + `"> &amp; </span>` +
		`<span style="background:linear-gradient(#010203 50%,#040506 50%)">  </span><span style="color:#010203;background:#040506"> x</span>` +
		`<span style="background:linear-gradient(#010203 50%,#040506 50%)"> </span><span style="color:#16181d;background:#d7dae0;opacity:.65">dim</span></div>` +
		"\n<div></div>\n"
	if _, got, _ := strings.Cut(page, "</style>"); got != want {
		t.Errorf("want\n%s\ngot\n%s", want, got)
	}
	for _, bad := range []string{"\x1b[2J", "\x1b[0", "\x1b[38;5;7m", "\x1b[38;2;1;2m", "\x1b[5m", "\x1b]0;x\x07"} {
		if _, err := terminalHTML(bad + "text"); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
