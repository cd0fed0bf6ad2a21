//go:build vm

package vm

import (
	"cmp"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mglru_exporter/test/vm/bench"
)

// harmTimeout bounds the benchmark in the guest's time and in the host's.
const harmTimeout = 6 * time.Hour

// TestHarm compares how fast a process answers that is watched, and that is not, in
// a guest that counts instructions; and on two CPUs how long it waits for locks. A
// goal that is missed is printed, and no failure: that is for those who read it.
// MGLRU_PATCHED is the path of a bzImage to boot instead of what is built here.
// -run TestHarm/TestHarm/reader selects among the tests in the guest.
func TestHarm(t *testing.T) {
	k, err := FindKernel(t.Context(), cmp.Or(os.Getenv("MGLRU_PATCHED"), "patched"), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	image := testImage(t.Context(), t, []Suite{BenchSuite}, t.TempDir())
	addLoads(t, image)
	t.Run(bench.Counted, func(t *testing.T) {
		results := runHarm(t, &Guest{Kernel: k, Image: image.Clone(), Machine: idleSkippingMachine()}, bench.Counted)
		t.Log("\n" + harmTable(results))
	})
	t.Run(bench.Locks, func(t *testing.T) {
		machine := DefaultMachine()
		machine.Nodes, machine.NodeMiB = 1, 2*machine.NodeMiB
		machine.CPU = cmp.Or(k.CPU, machine.CPU)
		results := runHarm(t, &Guest{Kernel: k, Image: image.Clone(), Machine: machine}, bench.Locks)
		t.Log("\n" + locksTable(results))
	})
}

// runHarm runs one of the tests in the guest, and returns what it measured.
func runHarm(t *testing.T, guest *Guest, test string) (results []bench.Harm) {
	t.Helper()
	inner := "^" + test + "$"
	if parts := strings.SplitN(flag.Lookup("test.run").Value.String(), "/", 3); len(parts) > 2 {
		inner += "/" + parts[2]
	}
	guest.Timeout = harmTimeout
	guest.ConsoleLog = filepath.Join(CacheDir(), "log", strings.ReplaceAll(t.Name(), "/", "-")+".console")
	guest.Jobs = []Job{{Name: "harm", Dir: "/src/" + BenchSuite.Package, Args: []string{
		"./" + BenchSuite.Binary(), "-test.v", "-test.run=" + inner, "-test.timeout=" + harmTimeout.String(),
	}}}
	start := time.Now()
	err := guest.Run(t.Context(), Handlers{
		Output: func(_, line string) {
			text, measured := strings.CutPrefix(line, bench.Mark)
			if !measured {
				t.Log(line)
				return
			}
			var h bench.Harm
			if err := json.Unmarshal([]byte(text), &h); err != nil {
				t.Errorf("%q: %v", line, err)
			}
			results = append(results, h)
			t.Logf("after %v: %s", time.Since(start).Round(time.Second), text)
		},
		End: func(_ string, status int) {
			if status != 0 {
				t.Errorf("exit status %d", status)
			}
		},
	})
	if err != nil {
		t.Errorf("%v\nthe whole console is in %s", err, guest.ConsoleLog)
	}
	if len(results) == 0 {
		t.Error("nothing was measured")
	}
	return results
}

// idleSkippingMachine is a CountingMachine whose clock does not wait for the host's
// while the guest sleeps.
func idleSkippingMachine() Machine {
	m := CountingMachine()
	m.Extra = []string{"-icount", "shift=1,sleep=off"}
	return m
}

// addLoads adds memcached, and what sends requests.
func addLoads(t *testing.T, image *Image) {
	t.Helper()
	requests := filepath.Join(t.TempDir(), "requests")
	if err := BuildRequests(t.Context(), requests); err != nil {
		t.Fatal(err)
	}
	image.AddFile("bin/requests", 0o755, requests)
	// memcached asks who root is.
	image.AddBytes("etc/passwd", 0o644, []byte("root:x:0:0::/:/bin/sh\n"))
	usr := filepath.Join(CacheDir(), "tools/memcached/usr")
	if err := image.AddProgram("bin/memcached", filepath.Join(usr, "bin/memcached"), filepath.Join(usr, "lib/x86_64-linux-gnu")); err != nil {
		t.Fatalf("%v; make deps unpacks memcached", err)
	}
}
