package memcg

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// mounted lets a process see these trees, and be in another cgroup namespace than the
// initial one.
func mounted(t *testing.T, trees ...*tree) *tree {
	t.Helper()
	var mountinfo []byte
	for _, tr := range trees {
		b, err := os.ReadFile(filepath.Join(tr.proc, "self/mountinfo"))
		if err != nil {
			t.Fatal(err)
		}
		mountinfo = append(mountinfo, b...)
	}
	first := trees[0]
	if err := os.WriteFile(filepath.Join(first.proc, "self/mountinfo"), mountinfo, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(first.proc, "self/ns"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("cgroup:[4026532555]", filepath.Join(first.proc, "self/ns/cgroup")); err != nil {
		t.Fatal(err)
	}
	return first
}

// hostV1 is the host's cgroup v1 tree as a container in its own namespace sees it.
func hostV1(t *testing.T, root string) *tree {
	tr := newTree(t, 1, root)
	tr.file("release_agent", "\n")
	tr.file("cgroup.sane_behavior", "0\n")
	tr.cgroup("docker/x", "5\n")
	return tr
}

// TestHostTreeOfV1InNamespace: a container in a cgroup namespace of its own that has
// the host's v1 tree as a volume sees all of it.
func TestHostTreeOfV1InNamespace(t *testing.T) {
	for name, trees := range map[string][]*tree{
		"in place of its own": {hostV1(t, "/../..")},
		"beside its own":      {newTree(t, 1, "/"), hostV1(t, "/../..")},
	} {
		t.Run(name, func(t *testing.T) {
			h, err := Open(mounted(t, trees...).proc)
			if err != nil {
				t.Fatal(err)
			}
			if pids, err := h.Procs("/docker/x"); err != nil || !slices.Equal(pids, []int{5}) {
				t.Errorf("Procs(/docker/x): %v, %v, want [5]", pids, err)
			}
			if h.Part() != "" {
				t.Errorf("Part %q, want all", h.Part())
			}
		})
	}
}

func TestPartOfTheHostsTree(t *testing.T) {
	own2 := newTree(t, 2, "/")
	own2.file("cgroup.events", "populated 1\n")
	for _, tc := range []struct {
		name string
		tree *tree
		want string
	}{
		{"v2, the root", newTree(t, 2, "/"), ""},
		{"v2, its own namespace", own2, "only the part in our own cgroup namespace, which is called / here"},
		{"v2, a part that is mounted", newTree(t, 2, "/docker/x"), "only the part below /docker/x"},
		{"v1, the root", hostV1(t, "/"), ""},
		{"v1, its own namespace", newTree(t, 1, "/"), "only the part in our own cgroup namespace, which is called / here"},
		{"v1, a part that is mounted", newTree(t, 1, "/docker/x"), "only the part below /docker/x"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h, err := Open(mounted(t, tc.tree).proc)
			if err != nil {
				t.Fatal(err)
			}
			if h.Part() != tc.want {
				t.Errorf("Part %q, want %q", h.Part(), tc.want)
			}
		})
	}
}

// TestRepairOfASiblingsTree: what is neither ours nor the root cannot be named, and
// to mount another cgroup2 would not help.
func TestRepairOfASiblingsTree(t *testing.T) {
	sibling2 := newTree(t, 2, "/../x")
	sibling2.file("cgroup.events", "populated 1\n")
	for name, tr := range map[string]*tree{"v1": newTree(t, 1, "/../x"), "v2": sibling2} {
		_, err := Open(mounted(t, tr).proc)
		if err == nil || !strings.Contains(err.Error(), "outside of our cgroup namespace") || !strings.Contains(err.Error(), "--cgroupns host") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
