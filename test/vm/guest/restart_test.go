//go:build guest

package guest

import (
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"mglru_exporter/bpf"
	"mglru_exporter/internal/memcg"
)

// TestRestarts starts the exporter and ends it, 50 times on our kernel, in four ways in turn.
// Nothing of it stays attached, and no memcg has more generations than its
// counters own up to, nor any once it has ended.
func TestRestarts(t *testing.T) {
	rounds := 8
	if os.Getenv("MGLRU_KERNEL") == "patched" { // others take twice to several times as long
		rounds = 50
	}
	const memcgPath = "/test/restarts"
	const busyInterval = 100 * time.Millisecond
	w := StartWorkload(t, memcgPath)
	w.Map(t, Area{Name: "anon", Kind: Anon, Size: 4 * mib, Node: 0})
	bystander := StartWorkload(t, "/test/bystander")
	bystander.Map(t, Area{Name: "anon", Kind: Anon, Size: 4 * mib, Node: 1})
	before, begun := loaded(t), time.Now()
	rest := generations(t)

	for i := range rounds {
		interval := time.Hour // the first pass is the only one
		if i%4 == 3 {
			interval = busyInterval
		}
		config := strings.Replace(fmt.Sprintf(fastConfig, memcgPath), "source: hooks", "source: "+sourceName(), 1)
		e := launchExporter(t, strings.Replace(config, busyInterval.String(), interval.String(), 1))
		e.wait(t, "attached", func() bool { return attached(t) > 0 })
		passes, looked := 0.0, time.Now()
		if i%4 != 2 { // else it is killed while it begins
			e.wait(t, "having run its passes", func() bool {
				looked = time.Now()
				passes, _ = e.metric(t, "mglru_passes_total", fmt.Sprintf("memcg=%q", memcgPath))
				return interval == time.Hour && passes == 1 || passes >= 3
			})
		}
		how := "killed"
		if i%4 == 0 {
			how = "stopped"
			if err := e.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := e.cmd.Wait(); err != nil {
				t.Fatalf("round %d: SIGTERM: %v\n%s", i, err, e.log)
			}
		} else {
			e.kill()
		}
		// A pass may have been under way or become due since the last look, as
		// many as there is time for; in the first and only one nothing may.
		least, most := passes, passes
		switch i % 4 {
		case 2:
			most = 1
		case 3:
			most += 3 + math.Floor(time.Since(looked).Seconds()/busyInterval.Seconds())
		}
		now := generations(t)
		for at, seq := range now {
			least, most := least, most
			if at.path != memcgPath { // not watched
				least, most = 0, 0
			}
			if rise := float64(seq - rest[at]); rise < least || rise > most {
				t.Errorf("round %d, %s: %v new generations of %s on node %d, want %v to %v", i, how, rise, at.path, at.node, least, most)
			}
		}
		rest = now
		checkProbes(t, i, how)
		checkUnloaded(t, i, before)
	}
	t.Logf("%d rounds in %v", rounds, time.Since(begun).Round(time.Second/10))
	time.Sleep(10 * busyInterval) // somebody left behind would have aged by now
	if diff := generations(t); !maps.Equal(diff, rest) {
		t.Errorf("generations were %v when all had ended, and then %v", rest, diff)
	}
}

// checkProbes: who is stopped switches the probes off, also those that an
// exporter which was killed before had left on.
func checkProbes(t *testing.T, round int, how string) {
	t.Helper()
	if sourceName() == "hooks" && how == "stopped" && probesOn(t) {
		t.Errorf("round %d: the probes are on after a clean stop", round)
	}
}

func probesOn(t testing.TB) bool {
	t.Helper()
	bits, err := bpf.Enabled()
	if err != nil {
		t.Fatal(err)
	}
	return bits&(bpf.EnabledRegionProbe|bpf.EnabledPageProbes) != 0
}

// TestProbesOfOthersStayOn: an exporter that is stopped leaves on what another
// watcher needs, and the last one switches off what one that was killed has left.
func TestProbesOfOthersStayOn(t *testing.T) {
	const memcgPath = "/test/others"
	w := StartWorkload(t, memcgPath)
	w.Map(t, Area{Name: "anon", Kind: Anon, Size: 4 * mib, Node: 0})
	config := fmt.Sprintf(fastConfig, "/test/none")
	for _, perPage := range []bool{false, true} {
		t.Run(fmt.Sprintf("per-page=%v", perPage), func(t *testing.T) {
			t.Run("watched", func(t *testing.T) {
				r := newRig(t, bpf.HooksOptions{PerPage: perPage}, "", memcgPath)
				launched := func() *exporter {
					links := attached(t)
					e := launchExporter(t, config)
					e.wait(t, "attached", func() bool { return attached(t) > links && e.up() })
					return e
				}
				launched().kill()
				e := launched()
				if err := e.cmd.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
				if err := e.cmd.Wait(); err != nil {
					t.Fatalf("SIGTERM: %v\n%s", err, e.log)
				}
				r.mustPass(t, memcgPath) // fails if its probes are off
			})
			if probesOn(t) {
				t.Error("the probes are on, and nobody is left")
			}
		})
	}
}

// An lruvec is a memcg's part on a node.
type lruvec struct {
	path string
	node int
}

// generations has the number of the youngest generation of each lruvec.
func generations(t testing.TB) map[lruvec]uint64 {
	t.Helper()
	groups, err := memcg.ReadLRUGen("/sys")
	if err != nil {
		t.Fatal(err)
	}
	all := map[lruvec]uint64{}
	for _, g := range groups {
		for _, n := range g.Nodes {
			all[lruvec{g.Path, n.Node}] = n.Gens[len(n.Gens)-1].Seq
		}
	}
	return all
}

// The commands of bpf(2) that list what there is.
var bpfLists = map[string]uintptr{"programs": 11, "maps": 12, "links": 31}

// loaded lists the ids of all BPF programs, maps and links in the kernel.
func loaded(t testing.TB) map[string][]uint32 {
	t.Helper()
	all := map[string][]uint32{}
	for kind := range bpfLists {
		all[kind] = bpfIDs(t, kind)
	}
	return all
}

func bpfIDs(t testing.TB, kind string) (ids []uint32) {
	t.Helper()
	var attr struct{ start, next, flags uint32 }
	for {
		_, _, errno := unix.Syscall(unix.SYS_BPF, bpfLists[kind], uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
		switch errno {
		case 0:
			ids = append(ids, attr.next)
			attr.start = attr.next
		case unix.ENOENT:
			return ids
		default:
			t.Fatalf("list BPF %s: %v", kind, errno)
		}
	}
}

// attached counts the BPF links in the kernel.
func attached(t testing.TB) int { return len(bpfIDs(t, "links")) }

// checkUnloaded waits until nothing is in the kernel that was not there before:
// links go with their file descriptors, programs and maps after a grace period.
func checkUnloaded(t *testing.T, round int, before map[string][]uint32) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		left := loaded(t)
		n := 0
		for kind, ids := range left {
			left[kind] = slices.DeleteFunc(ids, func(id uint32) bool { return slices.Contains(before[kind], id) })
			n += len(left[kind])
		}
		if n == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("round %d: left in the kernel: %v", round, left)
		}
	}
}
