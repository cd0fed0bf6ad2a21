package source

import (
	"os"
	"runtime"
	"strings"
	"testing"

	"mglru_exporter/internal/preflight"
)

func TestPageSizeRequirement(t *testing.T) {
	for size, ok := range map[int]bool{4 << 10: true, 16 << 10: false, 64 << 10: false} {
		r := pageSizeRequirement(size)
		if r.Met != ok || r.Detail == "" || ok != (r.Repair == "") {
			t.Errorf("%d: %+v", size, r)
		}
	}
	if r := pageSizeRequirement(64 << 10); !strings.Contains(r.Detail, "64 KiB") || !strings.Contains(r.Repair, "referenced") {
		t.Errorf("%+v", r)
	}
}

func TestHooksArchRequirement(t *testing.T) {
	for arch, ok := range map[string]bool{"amd64": true, "arm64": true, "s390x": false, "ppc64le": false, "riscv64": false} {
		if r := hooksArchRequirement(arch); r.Met != ok || !strings.HasPrefix(r.Detail, arch) {
			t.Errorf("%s: %+v", arch, r)
		}
	}
}

// TestPageSourcesAskForTheMachine: both refuse a machine whose pages or whose
// architecture they are not made for, in check and at start.
func TestPageSourcesAskForTheMachine(t *testing.T) {
	for name, reqs := range map[string][]preflight.Requirement{"hooks": preflightHooks(), "stock": preflightStock()} {
		for what, want := range map[string]bool{
			"pages of 4 KiB": os.Getpagesize() == 4096,
			"x86-64":         runtime.GOARCH == "amd64" || name == "hooks" && runtime.GOARCH == "arm64",
		} {
			asked := false
			for _, r := range reqs {
				if strings.HasPrefix(r.Name, what) {
					asked = true
					if r.Met != want {
						t.Errorf("%s: %+v, want met %v", name, r, want)
					}
				}
			}
			if !asked {
				t.Errorf("%s does not ask for %s", name, what)
			}
		}
	}
}

// names are those of requirements.
func names(reqs []preflight.Requirement) (out []string) {
	for _, r := range reqs {
		out = append(out, r.Name)
	}
	return out
}
