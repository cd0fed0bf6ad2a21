package source

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mglru_exporter/internal/memcg"
	"mglru_exporter/internal/preflight"
)

// cgroupProc is /proc of a process that sees a cgroup2 tree in another cgroup
// namespace than the initial one. Root is what is mounted, whole tells that it is the
// host's root.
func cgroupProc(t *testing.T, root string, whole bool) (procRoot string) {
	t.Helper()
	procRoot, dir := t.TempDir(), t.TempDir()
	files := map[string]string{
		filepath.Join(procRoot, "self/mountinfo"): fmt.Sprintf("31 22 0:27 %s %s rw - cgroup2 cgroup2 rw\n", root, dir),
		filepath.Join(dir, "cgroup.controllers"):  "memory\n",
	}
	if !whole {
		files[filepath.Join(dir, "cgroup.events")] = "populated 1\n"
	}
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return procRoot
}

// TestMemcgRequirementSaysWhatIsSeen: a part of the host's tree is never taken for
// all of it. Sources that look paths up in lru_gen refuse a root that is none.
func TestMemcgRequirementSaysWhatIsSeen(t *testing.T) {
	const own = "only the part in our own cgroup namespace, which is called / here"
	for _, tc := range []struct {
		name, procRoot    string
		detail            string
		note, met, usable bool // of any source; usable by sources that need lru_gen's paths
	}{
		{"the host's tree", cgroupProc(t, "/", true), "the host's tree", false, true, true},
		{"the host's tree as a volume", cgroupProc(t, "/../..", true), "the host's tree", false, true, true},
		{"a part", cgroupProc(t, "/docker/x", false), "only the part below /docker/x", true, true, true},
		{"its own namespace", cgroupProc(t, "/", false), own, true, true, false},
		{"a sibling", cgroupProc(t, "/../x", false), "outside of our cgroup namespace", false, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, c := range []struct {
				r    preflight.Requirement
				met  bool
				note bool
			}{
				{memcgRequirement(tc.procRoot), tc.met, tc.note},
				{memcgPathsRequirement(tc.procRoot), tc.usable, tc.note && tc.usable},
			} {
				if c.r.Met != c.met || !strings.Contains(c.r.Detail, tc.detail) {
					t.Errorf("met %v, %q, want %v and %q", c.r.Met, c.r.Detail, c.met, tc.detail)
				}
				if got := strings.Contains(c.r.Note, memcg.HostTreeRepair); got != c.note {
					t.Errorf("note %q, want one: %v", c.r.Note, c.note)
				}
				if !c.r.Met && c.r.Repair != memcg.HostTreeRepair {
					t.Errorf("repair %q", c.r.Repair)
				}
			}
		})
	}
}

func TestMemcgRequirementWithoutCgroups(t *testing.T) {
	procRoot := t.TempDir()
	if r := memcgRequirement(procRoot); r.Met || r.Repair != "mount -t proc proc /proc" || !strings.Contains(r.Detail, "mountinfo") {
		t.Errorf("without /proc: %+v", r)
	}
	if err := os.MkdirAll(filepath.Join(procRoot, "self"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(procRoot, "self/mountinfo"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := memcgRequirement(procRoot); r.Met || r.Repair != "mount -t cgroup2 none /sys/fs/cgroup" {
		t.Errorf("without a mount: %+v", r)
	}
}
