package memcg

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// process makes a process, or with "PID/task/TID" a thread, whose file cgroup is
// given.
func (tr *tree) process(name, state, cgroup string) {
	tr.t.Helper()
	dir := filepath.Join(tr.proc, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		tr.t.Fatal(err)
	}
	for file, text := range map[string]string{"cgroup": cgroup, "stat": fmt.Sprintf("%s (a) b) %s 1 1\n", filepath.Base(name), state)} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			tr.t.Fatal(err)
		}
	}
}

// wantProcs checks the processes of memcgs.
func wantProcs(t *testing.T, h *Hierarchy, want map[string][]int) {
	t.Helper()
	for path, pids := range want {
		got, err := h.Procs(path)
		if err != nil || !slices.Equal(got, pids) {
			t.Errorf("Procs(%q): %v, %v, want %v", path, got, err, pids)
		}
	}
}

// TestProcessBelongsToOneMemcg has cgroups list the same process.
func TestProcessBelongsToOneMemcg(t *testing.T) {
	t.Run("v1, threads in two memcgs", func(t *testing.T) {
		tr := newTree(t, 1, "/")
		tr.cgroup("leader", "7\n8\n")
		tr.cgroup("thread", "7\n9\n")
		tr.process("7", "S", "5:cpu,cpuacct:/thread\n4:memory:/leader\n1:name=systemd:/thread\n0::/thread\n")
		wantProcs(t, tr.open(), map[string][]int{"/leader": {7, 8}, "/thread": {9}, "/": nil})
	})
	t.Run("v1, memory in one hierarchy with others", func(t *testing.T) {
		tr := newTree(t, 1, "/")
		tr.cgroup("a:b", "7\n")
		tr.cgroup("c", "7\n")
		tr.process("7", "S", "4:cpu,memory:/a:b\n3:memoryless:/c\n")
		wantProcs(t, tr.open(), map[string][]int{"/a:b": {7}, "/c": nil})
	})
	t.Run("v1, the leader has exited", func(t *testing.T) {
		tr := newTree(t, 1, "/")
		tr.cgroup("", "7\n")
		tr.cgroup("thread", "7\n")
		tr.process("7", "Z", "4:memory:/\n")
		tr.process("7/task/7", "Z", "4:memory:/\n")
		tr.process("7/task/9", "X", "4:memory:/\n")
		tr.process("7/task/10", "S", "4:memory:/thread\n")
		wantProcs(t, tr.open(), map[string][]int{"/": nil, "/thread": {7}})
	})
	t.Run("v1, the leader lives in the root", func(t *testing.T) {
		tr := newTree(t, 1, "/")
		tr.cgroup("", "7\n")
		tr.cgroup("thread", "7\n")
		tr.process("7", "R", "4:memory:/\n")
		tr.process("7/task/10", "S", "4:memory:/thread\n")
		wantProcs(t, tr.open(), map[string][]int{"/": {7}, "/thread": nil})
	})
	t.Run("v1, the leader is outside of what is mounted", func(t *testing.T) {
		tr := newTree(t, 1, "/docker/x")
		tr.cgroup("", "7\n8\n")
		tr.process("7", "S", "4:memory:/docker/xy\n")
		tr.process("8", "S", "4:memory:/docker/x\n")
		wantProcs(t, tr.open(), map[string][]int{"/docker/x": {8}})
	})
	t.Run("a part of the tree is mounted a second time", func(t *testing.T) {
		tr := newTree(t, 2, "/")
		tr.memcg("a", "7\n")
		tr.memcg("b", "7\n")
		tr.process("7", "S", "1:name=systemd:/b\n0::/a\n")
		wantProcs(t, tr.open(), map[string][]int{"/a": {7}, "/b": nil})
	})
	t.Run("in a cgroup that is no memcg", func(t *testing.T) {
		tr := newTree(t, 2, "/")
		tr.memcg("a", "")
		tr.cgroup("a/none/below", "7\n8\n")
		tr.memcg("b", "7\n")
		tr.process("7", "S", "0::/a/none/below\n")
		tr.process("8", "S", "0::/a/none/below\n")
		wantProcs(t, tr.open(), map[string][]int{"/a": nil, "/b": {7}})
		tr.cgroup("a/none", "")
		wantProcs(t, tr.open(), map[string][]int{"/a": {7, 8}, "/b": nil})
	})
}

// TestNoProcessIsLostBetweenTwoAnswers: a process stays where it is listed if what
// /proc says of it names no memcg that lists it.
func TestNoProcessIsLostBetweenTwoAnswers(t *testing.T) {
	for name, cgroup := range map[string]string{
		"another memcg":  "0::/b\n",
		"no cgroup":      "0::/gone\n",
		"a deleted one":  "0::/b/c (deleted)\n",
		"nothing":        "",
		"v1 only":        "4:memory:/b\n",
		"no path":        "0::\n",
		"a rubbish line": "0:/b\n",
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTree(t, 2, "/")
			tr.memcg("a", "7\n8\n")
			tr.memcg("b", "9\n")
			tr.process("7", "S", cgroup)
			wantProcs(t, tr.open(), map[string][]int{"/a": {7, 8}, "/b": {9}})
		})
	}
}

// TestOwnerInCgroupNamespace shows paths as a process in a cgroup namespace of its
// own sees them, which has the host's tree as a volume.
func TestOwnerInCgroupNamespace(t *testing.T) {
	newHost := func(t *testing.T) *tree {
		tr := newTree(t, 2, "/../../..")
		tr.memcg("kube", "")
		tr.memcg("kube/pod", "")
		tr.memcg("kube/pod/us", fmt.Sprintln(os.Getpid()))
		tr.memcg("kube/other", "7\n8\n9\n")
		tr.memcg("system", "7\n8\n9\n")
		tr.memcg("kube/pod/us/child", "9\n10\n")
		tr.process("self", "R", "0::/\n")
		tr.process("7", "S", "0::/../../../system\n")
		tr.process("8", "S", "0::/../../other\n")
		tr.process("9", "S", "0::/child\n")
		tr.process("10", "S", "0::/../../../../beyond\n")
		return tr
	}
	t.Run("our own cgroup is found", func(t *testing.T) {
		wantProcs(t, newHost(t).open(), map[string][]int{"/system": {7}, "/kube/other": {8}, "/kube/pod/us/child": {9, 10}})
	})
	t.Run("we are below the namespace's root", func(t *testing.T) {
		tr := newHost(t)
		tr.memcg("kube/pod/us", "")
		tr.memcg("kube/pod/us/init", fmt.Sprintln(os.Getpid()))
		tr.process("self", "R", "0::/init\n")
		wantProcs(t, tr.open(), map[string][]int{"/system": {7}, "/kube/other": {8}, "/kube/pod/us/child": {9, 10}})
	})
	t.Run("v1, threads in two memcgs", func(t *testing.T) {
		tr := newTree(t, 1, "/../..")
		tr.file("release_agent", "")
		tr.cgroup("kube/us", fmt.Sprintln(os.Getpid()))
		tr.cgroup("kube/leader", "7\n")
		tr.cgroup("kube/thread", "7\n")
		tr.process("self", "R", "4:memory:/\n")
		tr.process("7", "S", "4:memory:/../leader\n0::/../thread\n")
		wantProcs(t, tr.open(), map[string][]int{"/kube/leader": {7}, "/kube/thread": nil, "/kube/us": {os.Getpid()}})
	})
	t.Run("our own cgroup is not found", func(t *testing.T) {
		tr := newHost(t)
		tr.memcg("kube/pod/us", "")
		wantProcs(t, tr.open(), map[string][]int{"/system": {7, 8, 9}, "/kube/other": {8, 9}, "/kube/pod/us/child": {9, 10}})
	})
}

// TestOtherFileSystemsBelowAreLeftOut mounts another hierarchy below, as VPN clients
// and old init scripts do.
func TestOtherFileSystemsBelowAreLeftOut(t *testing.T) {
	for _, version := range []int{1, 2} {
		t.Run(fmt.Sprint("v", version), func(t *testing.T) {
			tr, other := newTree(t, version, "/"), t.TempDir()
			tr.cgroup("", "1\n")
			tr.memcg("a", "7\n")
			tr.cgroup("net_cls", "8\n")
			tr.cgroup("a/net_cls", "9\n")
			for _, name := range []string{"net_cls", "a/net_cls"} {
				dir := filepath.Join(tr.dir, name)
				if err := unix.Mount(other, dir, "tmpfs", 0, ""); err != nil {
					t.Skipf("NOT TESTED: mount: %v", err)
				}
				t.Cleanup(func() {
					if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
						t.Error(err)
					}
				})
				tr.memcg(name+"/sub", "2\n")
				tr.memcg(name, "1\n2\n3\n")
				if err := os.Remove(filepath.Join(dir, "memory.current")); err != nil {
					t.Fatal(err)
				}
			}
			h := tr.open()
			if diff := cmp.Diff([]string{"/", "/a"}, walk(t, h)); diff != "" {
				t.Errorf("paths (-want +got):\n%s", diff)
			}
			wantProcs(t, h, map[string][]int{"/": {1}, "/a": {7}})
			if _, err := h.Procs("/b"); !errors.Is(err, ErrGone) {
				t.Errorf("Procs of no memcg: %v", err)
			}
		})
	}
}
