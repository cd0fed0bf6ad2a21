package memcg

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A tree is a hierarchy of our own making.
type tree struct {
	t         testing.TB
	proc, dir string
}

// newTree makes an empty cgroup2, or v1, hierarchy whose mount shows root.
func newTree(t testing.TB, version int, root string) *tree {
	t.Helper()
	tr := &tree{t: t, proc: t.TempDir(), dir: filepath.Join(t.TempDir(), "a b")}
	if err := os.MkdirAll(filepath.Join(tr.proc, "self"), 0o700); err != nil {
		t.Fatal(err)
	}
	point := strings.ReplaceAll(tr.dir, " ", `\040`)
	line := fmt.Sprintf("31 22 0:27 %s %s rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n", root, point)
	if version == 1 {
		line = fmt.Sprintf("31 22 0:27 %s %s rw,relatime shared:9 - cgroup cgroup rw,memory\n", root, point)
	}
	if err := os.WriteFile(filepath.Join(tr.proc, "self/mountinfo"), []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	tr.cgroup("", "")
	if version == 2 {
		tr.file("cgroup.controllers", "cpuset cpu io memory pids\n")
	}
	return tr
}

// file writes a file.
func (tr *tree) file(name, text string) {
	tr.t.Helper()
	if err := os.WriteFile(filepath.Join(tr.dir, name), []byte(text), 0o600); err != nil {
		tr.t.Fatal(err)
	}
}

// cgroup makes a cgroup with processes.
func (tr *tree) cgroup(path, procs string) {
	tr.t.Helper()
	if err := os.MkdirAll(filepath.Join(tr.dir, path), 0o700); err != nil {
		tr.t.Fatal(err)
	}
	tr.file(path+"/cgroup.procs", procs)
}

// memcg makes a cgroup2 with the memory controller.
func (tr *tree) memcg(path, procs string) {
	tr.cgroup(path, procs)
	tr.file(path+"/memory.current", "0\n")
}

func (tr *tree) open() *Hierarchy {
	tr.t.Helper()
	h, err := Open(tr.proc)
	if err != nil {
		tr.t.Fatal(err)
	}
	return h
}

// walk returns the paths of all memcgs and checks their inodes.
func walk(t *testing.T, h *Hierarchy) []string {
	t.Helper()
	groups, err := h.Walk()
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, g := range groups {
		paths = append(paths, g.Path)
		if inode, err := h.Inode(g.Path); err != nil || inode != g.Inode || inode == 0 {
			t.Errorf("inode of %q is %d, %v, and %d in Walk", g.Path, inode, err, g.Inode)
		}
	}
	return paths
}

func TestWalkFindsMemcgs(t *testing.T) {
	tr := newTree(t, 2, "/")
	tr.memcg("system.slice", "")
	tr.memcg("system.slice/a b\xff.service", "")
	tr.memcg(`system.slice/system-getty\x2d.slice`, "")
	tr.memcg("user.slice", "")
	tr.cgroup("user.slice/no-memory", "7\n")
	tr.cgroup("user.slice/no-memory/below", "8\n")
	tr.memcg("user.slice-", "")
	if err := os.Symlink(tr.dir, filepath.Join(tr.dir, "loop")); err != nil {
		t.Fatal(err)
	}
	want := []string{"/", "/system.slice", "/system.slice/a b\xff.service", `/system.slice/system-getty\x2d.slice`, "/user.slice", "/user.slice-"}
	h := tr.open()
	if diff := cmp.Diff(want, walk(t, h)); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
	if h.Version() != 2 || h.Dir() != tr.dir {
		t.Errorf("version %d at %s", h.Version(), h.Dir())
	}
}

func TestWalkOfV1FindsAllCgroups(t *testing.T) {
	tr := newTree(t, 1, "/")
	tr.cgroup("a/b", "")
	if diff := cmp.Diff([]string{"/", "/a", "/a/b"}, walk(t, tr.open())); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
}

func TestPathsOfAMountedPartAreThoseFromTheRoot(t *testing.T) {
	tr := newTree(t, 1, "/docker/x")
	tr.cgroup("", "5\n")
	tr.cgroup("y", "6\n")
	h := tr.open()
	if diff := cmp.Diff([]string{"/docker/x", "/docker/x/y"}, walk(t, h)); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
	if pids, err := h.Procs("/docker/x/y"); err != nil || !slices.Equal(pids, []int{6}) {
		t.Errorf("Procs: %v, %v", pids, err)
	}
	for _, path := range []string{"/", "/docker", "/docker/xy", "/y"} {
		if _, err := h.Procs(path); !errors.Is(err, ErrGone) {
			t.Errorf("Procs(%q): %v, want %v", path, err, ErrGone)
		}
	}
}

func TestProcs(t *testing.T) {
	tr := newTree(t, 2, "/")
	tr.cgroup("", "1\n")
	tr.cgroup("kernel", "2\n")
	tr.memcg("a", "30\n7\n30\n0\n")
	tr.cgroup("a/none", "5\n0\n")
	tr.cgroup("a/none/below", "6\n")
	tr.memcg("a/own", "99\n")
	tr.memcg("broken", "x\n")
	tr.memcg("negative", "-5\n")
	tr.memcg("huge", "99999999999999999999\n")
	h := tr.open()
	for path, want := range map[string][]int{"/": {1, 2}, "/a": {5, 6, 7, 30}, "/a/": {5, 6, 7, 30}, "/a/own": {99}} {
		got, err := h.Procs(path)
		if err != nil {
			t.Errorf("Procs(%q): %v", path, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Procs(%q) (-want +got):\n%s", path, diff)
		}
	}
	if _, err := h.Procs("/b"); !errors.Is(err, ErrGone) {
		t.Errorf("Procs of no memcg: %v", err)
	}
	if _, err := h.Inode("/b"); !errors.Is(err, ErrGone) {
		t.Errorf("Inode of no memcg: %v", err)
	}
	if _, err := h.Inode("/a/cgroup.procs"); !errors.Is(err, ErrGone) {
		t.Errorf("Inode of a file: %v", err)
	}
	for _, path := range []string{"/broken", "/negative", "/huge", "a", "", "/a/../a", "/a\x00"} {
		if _, err := h.Procs(path); err == nil || errors.Is(err, ErrGone) {
			t.Errorf("Procs(%q): %v", path, err)
		}
	}
	if _, err := h.Inode("a"); err == nil {
		t.Error("Inode of a relative path returns no error")
	}
}

func TestOpenErrors(t *testing.T) {
	tests := []struct {
		name, mountinfo, want string
	}{
		{"no cgroup is mounted", "28 1 254:1 / / rw - ext4 /dev/vda1 rw\n", "mount -t cgroup2"},
		{"v1 without memory", "28 1 0:1 / /tmp rw - cgroup cgroup rw,cpu,memoryless\n", "mount -t cgroup2"},
		{"a mount of what is outside of our namespace", "28 1 0:1 /.. /tmp rw - cgroup cgroup rw,memory\n", "--cgroupns host"},
		{"a mount point that is hidden", "28 1 0:1 / /nonexistent rw - cgroup cgroup rw,memory\n", "mount -t cgroup2"},
		{"junk", "\xff\n - \n- - -\n28 1 0:1 / /tmp rw - cgroup2\n", "mount -t cgroup2"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			tr := newTree(t, 2, "/")
			if err := os.WriteFile(filepath.Join(tr.proc, "self/mountinfo"), []byte(test.mountinfo), 0o600); err != nil {
				t.Fatal(err)
			}
			if h, err := Open(tr.proc); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Open: %+v, %v, want an error with %q", h, err, test.want)
			}
		})
	}
	t.Run("cgroup2 without memory", func(t *testing.T) {
		tr := newTree(t, 2, "/")
		tr.file("cgroup.controllers", "cpu memoryless\n")
		if _, err := Open(tr.proc); err == nil || !strings.Contains(err.Error(), "cgroup_disable=memory") {
			t.Errorf("Open: %v", err)
		}
	})
	t.Run("no mountinfo", func(t *testing.T) {
		if _, err := Open(t.TempDir()); err == nil {
			t.Error("Open returns no error")
		}
	})
}

// TestOpenInCgroupNamespace: what a container sees that has the host's root as a
// volume beside, or in place of, the mount of its own namespace.
func TestOpenInCgroupNamespace(t *testing.T) {
	own, host, sibling := newTree(t, 2, "/"), newTree(t, 2, "/../.."), newTree(t, 2, "/../x")
	own.file("cgroup.events", "populated 1\n")
	sibling.file("cgroup.events", "populated 1\n")
	host.cgroup("kubepods.slice", "7\n")
	host.file("kubepods.slice/memory.current", "0\n")
	var lines [3]string
	for i, tr := range []*tree{own, sibling, host} {
		b, err := os.ReadFile(filepath.Join(tr.proc, "self/mountinfo"))
		if err != nil {
			t.Fatal(err)
		}
		lines[i] = string(b)
	}
	for name, mountinfo := range map[string]string{
		"beside":      lines[0] + lines[1] + lines[2],
		"on top of":   strings.Replace(lines[2], " /../.. ", " / ", 1) + lines[2],
		"in place of": lines[2],
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(filepath.Join(own.proc, "self/mountinfo"), []byte(mountinfo), 0o600); err != nil {
				t.Fatal(err)
			}
			h, err := Open(own.proc)
			if err != nil {
				t.Fatal(err)
			}
			if pids, err := h.Procs("/kubepods.slice"); err != nil || len(pids) != 1 || h.Dir() != host.dir || h.above != 2 {
				t.Errorf("Procs in %s, %d above our root: %v, %v, want one, of the host's root, 2 above", h.Dir(), h.above, pids, err)
			}
		})
	}
	if err := os.WriteFile(filepath.Join(own.proc, "self/mountinfo"), []byte(lines[1]), 0o600); err != nil {
		t.Fatal(err)
	}
	if h, err := Open(own.proc); err == nil {
		t.Errorf("Open takes a part whose path is not known: %+v", h)
	}
}

func TestParseMount(t *testing.T) {
	for host, want := range map[string][]mount{
		"vm-1node": {{"/", "/sys/fs/cgroup/memory", "cgroup", "rw,memory"}, {"/", "/sys/fs/cgroup/unified", "cgroup2", "rw"}},
		"debian-13": {{"/", "/sys/fs/cgroup", "cgroup2", "rw,nsdelegate,memory_recursiveprot"},
			{"/user.slice", "/srv/a b\tc\\d", "cgroup2", "rw,nsdelegate,memory_recursiveprot"}},
	} {
		var got []mount
		for line := range strings.Lines(testdata(t, host+"/mountinfo")) {
			m, ok := parseMount([]byte(line))
			if !ok {
				t.Errorf("%s: %q is no mount", host, line)
			}
			if m.isCgroup() {
				got = append(got, m)
			}
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(mount{})); diff != "" {
			t.Errorf("%s: mounts (-want +got):\n%s", host, diff)
		}
	}
}

func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{`a\040b`: "a b", `\134040`: `\040`, `\400`: `\400`, `\04`: `\04`, `\`: `\`, `\12x`: `\12x`, `\377\012`: "\xff\n"} {
		if got := unescape([]byte(in)); got != want {
			t.Errorf("unescape(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestHierarchyOfThisMachine(t *testing.T) {
	h, err := Open("/proc")
	if err != nil {
		t.Skipf("NOT TESTED: %v", err)
	}
	const path = "/mglru_exporter_test"
	dir := h.Dir() + path
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Skipf("NOT TESTED: make a cgroup: %v", err)
	}
	t.Cleanup(func() { _ = os.Remove(dir) })
	if !h.isMemcg(dir) {
		t.Skipf("NOT TESTED: memory is not in %s/cgroup.subtree_control", h.Dir())
	}
	if paths := walk(t, h); paths[0] != "/" || !slices.Contains(paths, path) {
		t.Errorf("Walk finds %q", paths)
	}
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skipf("NOT TESTED: %v", err)
	}
	if err := os.WriteFile(dir+"/cgroup.procs", fmt.Append(nil, cmd.Process.Pid), 0); err != nil {
		t.Error(err)
	}
	if pids, err := h.Procs(path); err != nil || !slices.Equal(pids, []int{cmd.Process.Pid}) {
		t.Errorf("Procs: %v, %v, want %d", pids, err, cmd.Process.Pid)
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Procs(path); !errors.Is(err, ErrGone) {
		t.Errorf("Procs of a removed memcg: %v", err)
	}
}

func TestWalkWhileCgroupsComeAndGo(t *testing.T) {
	tr := newTree(t, 2, "/")
	tr.memcg("stays", "")
	h := tr.open()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			dir := filepath.Join(tr.dir, fmt.Sprint("goes", i%7))
			_ = os.MkdirAll(filepath.Join(dir, "below"), 0o700)
			_ = os.WriteFile(filepath.Join(dir, "memory.current"), nil, 0o600)
			_ = os.RemoveAll(filepath.Join(tr.dir, fmt.Sprint("goes", (i+3)%7)))
		}
	}()
	for range 300 {
		groups, err := h.Walk()
		if err != nil || groups[0].Path != "/" || !slices.ContainsFunc(groups, func(g Group) bool { return g.Path == "/stays" }) {
			t.Errorf("Walk: %v, %v", groups, err)
			break
		}
	}
	close(stop)
	<-done
}
