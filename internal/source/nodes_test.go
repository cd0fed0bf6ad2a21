package source

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mglru_exporter/internal/heat"
)

func TestParseNodes(t *testing.T) {
	for list, want := range map[string][]int{
		"0":             {0},
		"0-1,3":         {0, 1, 3},
		"63":            {63},
		"0,8,252-255":   {0, 8, 252, 253, 254, 255}, // POWER9 with GPUs
		"1023":          {1023},
		"1,0-1":         {0, 1},
		"":              nil,
		"1024":          nil,
		"0-70000":       nil,
		"1-0":           nil,
		"0-":            nil,
		"-1":            nil,
		"0,x":           nil,
		"0-4294967295":  nil,
		"1-2-3":         nil,
		"0,,1":          nil,
		"0x1":           nil,
		"0-1,252-255,9": {0, 1, 9, 252, 253, 254, 255},
	} {
		got, err := parseNodes(list)
		if diff := cmp.Diff(want, got); diff != "" || (err == nil) != (want != nil) {
			t.Errorf("%q: %v (-want +got):\n%s", list, err, diff)
		}
	}
}

// TestNodesAbove63: referenced works with them. Sources that see pages say why they
// do not.
func TestNodesAbove63(t *testing.T) {
	for list, low := range map[string]bool{"0-63": true, "0-127": false, "0,8,252-255": false, "0,250-255": false, "0-1,2,10,18,26": true, "255": false} {
		f := newFakeProc(t)
		f.nodes(list + "\n")
		f.write("self/numa_maps", "")
		if r := nodesRequirement(f.dir, f.sys); !r.Met {
			t.Errorf("%s: referenced: %+v", list, r)
		}
		r := pageNodesRequirement(f.sys)
		_, err := pageNodes(f.sys)
		switch {
		case r.Met != low || (err == nil) != low:
			t.Errorf("%s: page sources: %+v, %v; want met %v", list, r, err, low)
		case !low && (!strings.Contains(r.Detail, "has memory") || !strings.Contains(r.Repair, "referenced")):
			t.Errorf("%s: %+v does not say why", list, r)
		}
	}
	f := newFakeProc(t)
	f.nodes("junk\n")
	for _, r := range []string{nodesRequirement(f.dir, f.sys).Repair, pageNodesRequirement(f.sys).Repair} {
		if r != "" {
			t.Errorf("a list that cannot be parsed: %q repairs nothing", r)
		}
	}
}

// TestObserveOnNodesAbove63 has a mapping on node 252.
func TestObserveOnNodesAbove63(t *testing.T) {
	f := newFakeProc(t)
	r := f.source()
	for list, want := range map[string]int{"0,8,252-255\n": 252, "254\n": 254} {
		f.nodes(list)
		f.process(7, 100, 0)
		f.write("7/numa_maps", "00010000 default anon=25 N252=25 kernelpagesize_kB=64\n")
		w, err := r.Observe(proc(7, 1), &heat.Selection{})
		if err != nil || len(w.Areas) != 1 || w.Areas[0].Node != want {
			t.Errorf("%q: %+v, %v; want node %d", list, w, err, want)
		}
	}
}

// TestPageSourcesAskForNodes: they would miss memory on the others.
func TestPageSourcesAskForNodes(t *testing.T) {
	if _, err := os.Stat("/sys/devices/system/node/has_memory"); err != nil {
		t.Skip("NOT TESTED: this kernel has no NUMA: ", err)
	}
	for i, reqs := range [][]string{names(preflightHooks()), names(preflightStock())} {
		if !strings.Contains(fmt.Sprint(reqs), "NUMA nodes up to 63") {
			t.Errorf("source %d asks for %q", i, reqs)
		}
	}
}
