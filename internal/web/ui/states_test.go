package ui_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"
)

func testLinks(t *testing.T, b browser) {
	f := newFake(t, memcached())
	tb := open(t, b, f, desktop, "#pid=4211&overlay=node&windows=30&from=100&to=200")
	tb.drawn()
	if asked := f.heatmaps(); len(asked) != 1 || !strings.Contains(asked[0], "windows=30&from=100&to=200") {
		t.Errorf("asked for %v", asked)
	}
	if got := eval[string](tb, `document.querySelector("#overlays :checked").value`); got != "node" {
		t.Errorf("overlay %q, want node", got)
	}
	// A link to what is no more shows all that there is.
	tb = open(t, b, f, desktop, "#pid=4211&from=5000&to=6000")
	tb.wait(`!location.hash.includes("from=") && !document.getElementById("view").hidden`)
	for _, hash := range []string{"#pid=-1", "#pid=1e9", "#pid=4211%2F..", "#pid=4211&overlay=constructor&windows=1e6&from=9&to=3", "#%00&&=&pid"} {
		t.Run(hash, func(t *testing.T) {
			tb := open(t, b, f, desktop, hash)
			if strings.HasPrefix(hash, "#pid=4211&") {
				tb.drawn()
				return
			}
			tb.wait(`document.getElementById("empty-title").textContent === "Pick a process"`)
		})
	}
}

func testHostileNames(t *testing.T, b browser) {
	const evil = `<img src=x onerror="hacked=1"><script>hacked=1</script>"'&lt;`
	p := plain(7, evil, evil, "/dev/"+evil)
	p.Memcg = "/" + evil
	f := newFake(t, p)
	f.granularity = "page"
	tb := open(t, b, f, desktop, "#pid=7")
	tb.drawn()
	tb.point(0.5, 0.75)
	for selector, want := range map[string]string{
		"#comm": evil, "#memcg": "/" + evil, "#processes .name": evil, "#processes .memcg": "/" + evil, "#readout .where": evil,
	} {
		if got := tb.text(selector); got != want {
			t.Errorf("%s: %q, want %q", selector, got, want)
		}
	}
	f.change(func() { f.broken = evil })
	tb.expect("status of 500")
	f.endWindow()
	tb.wait(`!document.getElementById("notice").hidden`)
	if got := tb.text("#notice"); !strings.Contains(got, evil) {
		t.Errorf("notice: %q", got)
	}
	if eval[bool](tb, `"hacked" in window || document.querySelectorAll("img, body script").length > 0`) {
		t.Error("a name has become markup")
	}
}

func testEmptyStates(t *testing.T, b browser) {
	states := func(name string, f *fake, hash, title, text string) {
		t.Run(name, func(t *testing.T) {
			tb := open(t, b, f, desktop, hash)
			tb.expect("status of") // what the exporter refuses is in the console, too
			tb.wait(fmt.Sprintf(`document.getElementById("empty-title").textContent === %q && !document.getElementById("empty").hidden`, title))
			if got := tb.text("#empty-text"); !strings.Contains(got, text) {
				t.Errorf("%q, want %q in it", got, text)
			}
		})
	}
	states("none", newFake(t), "", "No process yet", "first window")
	waits := newFake(t)
	waits.granularity = "none"
	states("no source", waits, "", "No usable source", "looks again every minute")
	small := plain(7, "p").Process
	small.Resident = 4096
	mapping := newFake(t, &proc{Process: small})
	mapping.granularity = "mapping"
	states("referenced", mapping, "", "This source has no heatmap", "referenced reads whole mappings")
	states("referenced, one picked", mapping, "#pid=7", "This source has no heatmap", "hooks and stock have heatmaps")
	states("unknown", newFake(t), "#pid=99", "No heatmap of process 99", "No process 99 has series of its own.")
	states("no room", newFake(t, &proc{Process: small}), "#pid=7", "No heatmap of process 7", "No window of process 7 is kept.")
	broken := newFake(t)
	broken.broken = "the tracker is being rebuilt"
	states("error", broken, "", "No data", "The tracker is being rebuilt.")

	f := newFake(t, memcached(), plain(7, "other", "[heap]"))
	tb := open(t, b, f, desktop, "#pid=4211")
	tb.expect("status of 404")
	tb.drawn()
	f.change(func() {
		f.procs[4211].Memcg = "/gone"
		delete(f.procs, 4211)
	})
	f.change(func() {
		for events := range f.events {
			events <- f.event("/system.slice/memcached.service")
		}
	})
	tb.wait(`document.getElementById("notice").textContent.startsWith("This is the last that was seen of memcached (pid 4211). No process 4211 has")`)
	if eval[bool](tb, `document.getElementById("view").hidden`) {
		t.Error("what was last seen of an exited process is gone")
	}
	// It was only merged with others, and has series of its own again.
	f.change(func() { f.procs[4211] = memcached() })
	f.heatmaps()
	f.endWindow()
	tb.wait(`document.getElementById("notice").hidden`)
	if asked := f.heatmaps(); len(asked) == 0 {
		t.Error("the notice is gone, the map is old")
	}
}

func testSearch(t *testing.T, b browser) {
	tb := open(t, b, newFake(t, append(others(), memcached())...), desktop, "")
	names := func(want string) {
		t.Helper()
		tb.wait(fmt.Sprintf(`[...document.querySelectorAll("#processes .name")].map(e => e.textContent).join() === %q`, want))
	}
	names("postgres,java,memcached,prometheus,redis-server,nginx,systemd-journal,dbus-daemon")
	tb.click("#sort")
	tb.keys(kb.Escape)
	eval[bool](tb, `(s => { s.value = "pid"; return s.dispatchEvent(new Event("change")); })(document.getElementById("sort"))`)
	names("postgres,java,prometheus,redis-server,nginx,systemd-journal,dbus-daemon,memcached")
	tb.click("#search")
	tb.keys("d", "b", "u", "s")
	names("dbus-daemon")
	tb.keys("x")
	tb.wait(`document.getElementById("list-note").textContent.includes("No process has “dbusx”")`)
}
