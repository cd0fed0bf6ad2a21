package deploy

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mglru_exporter/internal/config"
)

func TestUnitAndDaemonSetGrantTheSame(t *testing.T) {
	c, err := DaemonSetContainer()
	if err != nil {
		t.Fatal(err)
	}
	want, err := UnitCapabilities()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(c.Capabilities)
	if diff := cmp.Diff(want, c.Capabilities); diff != "" || len(want) == 0 {
		t.Errorf("capabilities, - of the unit + of the DaemonSet:\n%s", diff)
	}
	if len(c.Volumes) == 0 {
		t.Error("the DaemonSet mounts nothing of the host")
	}
}

// TestUnitReloads: NoExecPaths= forbids any program but the exporter, so kill has
// to be run outside of the sandbox.
func TestUnitReloads(t *testing.T) {
	unit, err := systemd.ReadFile("systemd/mglru_exporter.service")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\nNoExecPaths=/\n", "\nExecReload=+/bin/kill -HUP $MAINPID\n"} {
		if !strings.Contains(string(unit), want) {
			t.Errorf("the unit has no line %q", strings.TrimSpace(want))
		}
	}
}

func TestPodConfigIsValid(t *testing.T) {
	if _, err := config.Parse("config.yaml", PodConfig()); err != nil {
		t.Error(err)
	}
}

// TestDeploymentGuide: the guide has a row for each capability.
func TestDeploymentGuide(t *testing.T) {
	guide, err := os.ReadFile("../docs/DEPLOYMENT.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, dropIns := range [][]string{nil, {"referenced"}} {
		names, err := UnitCapabilities(dropIns...)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if !strings.Contains(string(guide), "\n| `"+name+"` |") {
				t.Errorf("docs/DEPLOYMENT.md has no row for %s", name)
			}
		}
	}
}

// TestDockerfile: the image is made of pinned things, with the Go that the
// module asks for, and ends in nothing but the exporter.
func TestDockerfile(t *testing.T) {
	file, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^go (\S+)$`).FindSubmatch(mod)
	var stages []string
	for _, m := range regexp.MustCompile(`(?m)^FROM (?:--\S+ )*(\S+)`).FindAllSubmatch(file, -1) {
		stages = append(stages, string(m[1]))
	}
	want := []string{"golang:" + string(version[1]) + "-bookworm", "scratch"}
	if diff := cmp.Diff(want, stages); diff != "" {
		t.Errorf("stages, - want + got:\n%s", diff)
	}
}
