//go:build vm

package vm

import (
	"cmp"
	"context"
	"flag"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// kernels are those that TestGuest boots: MGLRU_KERNELS, separated by commas, or
// all. One with a slash is the path of a bzImage with our patches.
func kernels() []string {
	if list := os.Getenv("MGLRU_KERNELS"); list != "" {
		return strings.Split(list, ",")
	}
	if part() == "core" {
		return slices.Sorted(maps.Keys(Core))
	}
	return []string{"patched", "debug", "debian-6.1", "debian-6.12", "debian-7"}
}

// part is which of the tests TestGuest runs: core or rest, see Core, or all.
func part() string { return cmp.Or(os.Getenv("MGLRU_TESTS"), "all") }

// TestKernels builds or fetches the kernels that TestGuest boots.
func TestKernels(t *testing.T) {
	for _, name := range kernels() {
		t.Run(path.Base(name), func(t *testing.T) {
			if _, err := FindKernel(t.Context(), name, os.Stderr); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestGuest runs the suites of each kernel in a guest, as subtests
// TestGuest/KERNEL/SUITE/TEST. -run selects among those in the guest as well.
// The tests find the kernel's name in $MGLRU_KERNEL.
func TestGuest(t *testing.T) {
	var image *Image // made once a kernel was selected, and for all
	dir := t.TempDir()
	var exact exactTable
	for _, name := range kernels() {
		t.Run(path.Base(name), func(t *testing.T) {
			kernel, err := FindKernel(t.Context(), name, os.Stderr)
			if err != nil {
				t.Fatal(err)
			}
			if image == nil {
				image = testImage(t.Context(), t, AllSuites(), dir)
			}
			guest := &Guest{Kernel: kernel, Image: image.Clone(), Timeout: 3 * time.Minute}
			suites, err := SuitesOf(name, part())
			if err != nil {
				t.Fatal(err)
			}
			runSuites(t, guest, suites, path.Base(name), &exact)
		})
	}
	if table := exact.String(); table != "" {
		t.Logf("what was compared with the ledger, page by page\n%s", table)
	}
}

// testImage builds the image with the suites' binaries, the exporter and the
// workload.
func testImage(ctx context.Context, t *testing.T, suites []Suite, dir string) *Image {
	t.Helper()
	image := &Image{}
	workload := filepath.Join(dir, "workload")
	if err := BuildWorkload(ctx, workload); err != nil {
		t.Fatal(err)
	}
	image.AddFile("bin/workload", 0o755, workload)
	exporter := filepath.Join(dir, "mglru_exporter")
	if err := BuildCommand(ctx, "./cmd/mglru_exporter", exporter); err != nil {
		t.Fatal(err)
	}
	image.AddFile("bin/mglru_exporter", 0o755, exporter)
	for _, s := range suites {
		binary := filepath.Join(dir, s.Binary())
		if _, err := os.Stat(binary); err == nil {
			continue // of another suite of the package
		}
		if err := BuildTest(ctx, "./"+s.Package, s.Tags, binary); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(binary); err != nil {
			t.Fatalf("%s has no tests with tags %q", s.Package, s.Tags)
		}
		at := path.Join("src", s.Package)
		image.AddFile(path.Join(at, s.Binary()), 0o755, binary)
		if testdata := filepath.Join(Root(), s.Package, "testdata"); isDir(testdata) {
			if err := image.AddTree(path.Join(at, "testdata"), testdata); err != nil {
				t.Fatal(err)
			}
		}
	}
	return image
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// runSuites boots a guest that runs the selected suites, and reports their tests
// as subtests of t.
func runSuites(t *testing.T, guest *Guest, suites []Suite, kernel string, exact *exactTable) {
	guest.ConsoleLog = filepath.Join(CacheDir(), "log", strings.ReplaceAll(t.Name(), "/", "-")+".console")
	replays := map[string]*replay{}
	for _, s := range suites {
		inner, selected, err := innerRun(flag.Lookup("test.run").Value.String(), s.Name())
		if err != nil {
			t.Fatal(err)
		}
		if !selected {
			continue
		}
		limit := s.Timeout
		if kernel == "debug" {
			limit *= 3
		}
		guest.Timeout += limit
		args := append([]string{"env", "MGLRU_KERNEL=" + kernel}, s.Env...)
		args = append(args, "./"+s.Binary(), "-test.v=test2json", "-test.timeout="+limit.String())
		if len(s.Skip) > 0 {
			args = append(args, "-test.skip=^("+strings.Join(s.Skip, "|")+")$")
		}
		if inner != "" {
			args = append(args, "-test.run="+inner)
		} else if len(s.Only) > 0 {
			args = append(args, "-test.run=^("+strings.Join(s.Only, "|")+")$")
		}
		guest.Jobs = append(guest.Jobs, Job{Name: s.Name(), Dir: "/" + path.Join("src", s.Package), Args: args})
		replays[s.Name()] = newReplay()
	}
	if len(guest.Jobs) == 0 {
		t.Fatal("-run selects no suite")
	}

	var current *replay
	done := make(chan error, 1)
	go func() {
		err := guest.Run(t.Context(), Handlers{
			Begin: func(job string) {
				current = replays[job]
				if err := current.start(); err != nil {
					t.Errorf("start test2json: %v", err)
				}
			},
			Output: func(_, line string) {
				exact.line(kernel, line)
				if current != nil {
					current.line(line)
				}
			},
			End: func(_ string, status int) {
				current.end(status)
				current.close()
				current = nil
			},
		})
		for _, r := range replays {
			r.close()
		}
		done <- err
	}()
	for _, job := range guest.Jobs {
		t.Run(job.Name, replays[job.Name].run)
	}
	if err := <-done; err != nil {
		t.Errorf("%v\nthe whole console is in %s", err, guest.ConsoleLog)
	}
}
