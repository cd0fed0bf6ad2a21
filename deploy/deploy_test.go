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
	base, err := BaseContainer()
	if err != nil {
		t.Fatal(err)
	}
	hooks, err := HooksContainer()
	if err != nil {
		t.Fatal(err)
	}
	want := UnitCapabilities()
	for name, c := range map[string]Container{"base": base, "base with hooks": hooks} {
		slices.Sort(c.Capabilities)
		if diff := cmp.Diff(want, c.Capabilities); diff != "" || len(want) == 0 {
			t.Errorf("capabilities, - of the unit + of the %s:\n%s", name, diff)
		}
	}
	if len(base.Volumes) == 0 || len(hooks.Volumes) != len(base.Volumes)+1 {
		t.Errorf("the base mounts %v of the host, and with hooks %v", base.Volumes, hooks.Volumes)
	}
}

// TestBaseStartsOnAnyKernel: the kubelet does not start a pod while a directory of the
// host is missing. Every Linux with sysfs and cgroups has these.
func TestBaseStartsOnAnyKernel(t *testing.T) {
	c, err := BaseContainer()
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range c.Volumes {
		if !slices.Contains([]string{"/sys/fs/cgroup", "/sys/kernel"}, v.Host) {
			t.Errorf("the base mounts %s, which not every kernel has", v.Host)
		}
	}
}

// TestUnit: NoExecPaths= forbids any program but the exporter, so kill has to be run
// outside of the sandbox, by a shell, as not every system has /bin/kill; and debugfs, whose mount may fail, is not required.
func TestUnit(t *testing.T) {
	for _, want := range []string{"\nNoExecPaths=/\n", "\nExecReload=+/bin/sh -c \"kill -HUP $MAINPID\"\n", "\nWants=sys-kernel-debug.mount\n"} {
		if !strings.Contains(unit, want) {
			t.Errorf("the unit has no line %q", strings.TrimSpace(want))
		}
	}
	if strings.Contains(unit, "\nRequires") {
		t.Error("the unit requires what may be missing")
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
	for _, name := range UnitCapabilities() {
		if !strings.Contains(string(guide), "\n| `"+name+"` |") {
			t.Errorf("docs/DEPLOYMENT.md has no row for %s", name)
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
