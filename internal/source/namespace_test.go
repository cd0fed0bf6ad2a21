package source

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"mglru_exporter/internal/preflight"
)

func TestPIDNamespaceRequirement(t *testing.T) {
	for name, tc := range map[string]struct {
		link, detail string
		met          bool
	}{
		"the initial one":         {"pid:[4026531836]", "pid:[4026531836]", true},
		"a container's":           {"pid:[4026532281]", "pid:[4026532281]", false},
		"a kernel without others": {"", "there is no other", true},
	} {
		t.Run(name, func(t *testing.T) {
			proc := t.TempDir()
			if err := os.MkdirAll(filepath.Join(proc, "self/ns"), 0o755); err != nil {
				t.Fatal(err)
			}
			if tc.link != "" {
				if err := os.Symlink(tc.link, filepath.Join(proc, "self/ns/pid")); err != nil {
					t.Fatal(err)
				}
			}
			r := pidNamespaceRequirement(proc)
			if r.Met != tc.met || !strings.Contains(r.Detail, tc.detail) || r.Met != (r.Repair == "") {
				t.Errorf("%+v, want met: %v and %q", r, tc.met, tc.detail)
			}
			for _, way := range []string{"docker run --pid=host", "hostPID: true"} {
				if !r.Met && !strings.Contains(r.Repair, way) {
					t.Errorf("repair %q does not name %q", r.Repair, way)
				}
			}
		})
	}
}

// inNamespaceEnv makes TestPIDNamespaceOfOurOwn say what it finds.
const inNamespaceEnv = "MGLRU_TEST_PID_NAMESPACE"

func TestPIDNamespaceOfOurOwn(t *testing.T) {
	if os.Getenv(inNamespaceEnv) != "" {
		if r := pidNamespaceRequirement("/proc"); r.Met {
			t.Errorf("in a PID namespace of our own: %+v", r)
		}
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestPIDNamespaceOfOurOwn$") //nolint:noctx // it ends by itself
	cmd.Env = append(os.Environ(), inNamespaceEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	out, err := cmd.CombinedOutput()
	if err != nil && len(out) == 0 {
		t.Skip("NOT TESTED: no PID namespace of our own: ", err)
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestWhatAgesMemcgsNeedsThem: hooks and stock work with process ids of the initial
// PID namespace and with memcgs, and say so where there are none.
func TestWhatAgesMemcgsNeedsThem(t *testing.T) {
	for name, all := range map[string][]preflight.Requirement{"hooks": preflightHooks(), "stock": preflightStock()} {
		names := map[string]bool{}
		for _, r := range all {
			names[r.Name] = true
		}
		for _, want := range []string{"initial PID namespace", "memory cgroups"} {
			if !names[want] {
				t.Errorf("source %s does not ask for %q: %v", name, want, names)
			}
		}
	}
}
