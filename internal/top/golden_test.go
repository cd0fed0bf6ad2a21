package top

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "rewrite the golden files under testdata")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got; -update rewrites it):\n%s", file, diff)
	}
}

func options(c *Client, p Palette) Options {
	return Options{Client: c, Interval: time.Second, Overlay: Heat, Sort: "cold", Palette: p, Zone: time.UTC}
}

func TestFrames(t *testing.T) {
	e := &fakeExporter{processes: shop(), heatmap: memcached(60)}
	c := e.client(t)
	for _, f := range []struct {
		name          string
		palette       Palette
		pid           int
		overlay       Overlay
		width, height int
	}{
		{"list-mono", Palette{0, true}, 0, Heat, 80, 24},
		{"list-ascii", Palette{0, false}, 0, Heat, 80, 24},
		{"list-wide-true", Palette{allColors, true}, 0, Heat, 132, 24},
		{"heat-mono", Palette{0, true}, 1234, Heat, 80, 24},
		{"heat-ascii", Palette{0, false}, 1234, Heat, 80, 24},
		{"heat-ascii-256", Palette{someColors, false}, 1234, Heat, 80, 24},
		{"heat-256", Palette{someColors, true}, 1234, Heat, 80, 24},
		{"heat-true", Palette{allColors, true}, 1234, Heat, 80, 24},
		{"heat-wide-true", Palette{allColors, true}, 1234, Heat, 160, 50},
		{"node-mono", Palette{0, true}, 1234, Node, 80, 24},
		{"node-256", Palette{someColors, true}, 1234, Node, 80, 24},
		{"type-mono", Palette{0, true}, 1234, Type, 80, 24},
		{"type-true", Palette{allColors, true}, 1234, Type, 80, 24},
		{"idle-mono", Palette{0, true}, 1234, Idle, 80, 24},
		{"idle-true", Palette{allColors, true}, 1234, Idle, 80, 24},
		{"idle-256", Palette{someColors, true}, 1234, Idle, 80, 24},
	} {
		t.Run(f.name, func(t *testing.T) {
			o := options(c, f.palette)
			o.PID, o.Overlay = f.pid, f.overlay
			var b bytes.Buffer
			if err := Once(t.Context(), &b, o, f.width, f.height); err != nil {
				t.Fatal(err)
			}
			golden(t, f.name+".txt", b.Bytes())
		})
	}
}
