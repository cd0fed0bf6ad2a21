//go:build vm

package vm

import (
	"os"
	"path"
	"path/filepath"
	"testing"
	"time"
)

// TestDistro runs DistroSuite in distributions as they are installed, as subtests
// TestDistro/SYSTEM/distro/TEST.
func TestDistro(t *testing.T) {
	for _, name := range []string{"debian-12", "debian-13"} {
		t.Run(name, func(t *testing.T) {
			system, err := FindSystem(t.Context(), name, os.Stderr)
			if err != nil {
				t.Fatal(err)
			}
			guest := &Guest{System: system, Image: checkout(t), Timeout: 10 * time.Minute}
			runSuites(t, guest, []Suite{DistroSuite}, name, &exactTable{})
		})
	}
}

// checkout returns an image with what a newcomer has after make build, and the tests.
func checkout(t *testing.T) *Image {
	t.Helper()
	image, dir := &Image{}, t.TempDir()
	exporter := filepath.Join(dir, "mglru_exporter")
	if err := BuildCommand(t.Context(), "./cmd/mglru_exporter", exporter); err != nil {
		t.Fatal(err)
	}
	image.AddFile("src/bin/mglru_exporter", 0o755, exporter)
	tests := filepath.Join(dir, DistroSuite.Binary())
	if err := BuildTest(t.Context(), "./"+DistroSuite.Package, DistroSuite.Tags, tests); err != nil {
		t.Fatal(err)
	}
	image.AddFile(path.Join("src", DistroSuite.Package, DistroSuite.Binary()), 0o755, tests)
	for _, tree := range []string{"deploy", "docs"} {
		if err := image.AddTree("src/"+tree, filepath.Join(Root(), tree)); err != nil {
			t.Fatal(err)
		}
	}
	image.AddFile("src/config.example.yaml", 0o644, filepath.Join(Root(), "config.example.yaml"))
	return image
}
