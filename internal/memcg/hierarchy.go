// Package memcg finds memory cgroups, names them, lists their processes, and
// reads their generations from the kernel's lru_gen file.
//
// A memcg is named by its path from the root of the cgroup hierarchy, "/" for
// the root itself, as lru_gen and the config name it.
package memcg

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"mglru_exporter/internal/name"
)

// ErrGone says that a memcg does not exist, or not any more.
var ErrGone = errors.New("memcg is gone")

// A Hierarchy is the mounted tree of cgroups that the memory controller is in.
// It may be used from several goroutines at once.
type Hierarchy struct {
	proc      string // where /proc is
	dir       string // where it is mounted
	prefix    string // the path of what is mounted, "" if that is the root
	pretended int    // 1 if a cgroup namespace calls a part of the tree its root
	version   int
	// above is by how many cgroups the root lies above that of our cgroup
	// namespace, 0 if it does not. Then namespace is the path of the latter.
	above         int
	findNamespace sync.Once
	namespace     []string
}

// A Group is one memcg at one moment.
type Group struct {
	// Path is its path from the cgroup root, "/" for the root. Its components
	// may be any bytes but NUL, newline and slash.
	Path string
	// Inode is the number of its directory. It tells it from a later one of the
	// same path, and is what newer kernels (7.3) call the memcg's id.
	Inode uint64
}

// Open finds the tree in the mounts of this process, as self/mountinfo in
// procRoot (usually "/proc") lists them: cgroup v1's, if the memory controller
// is there, or else cgroup2's.
//
// If only a part of it is mounted, as in a container, that part is all that is
// found, with its paths from the root. In a cgroup namespace of one's own the
// kernel pretends that a part is all, and paths will not be those of lru_gen;
// but where the host's root is mounted as well, as a volume, it is that. Part and
// Pretended report which it is.
//
// The error is an *OpenError where no tree can be used.
func Open(procRoot string) (*Hierarchy, error) {
	path := filepath.Join(procRoot, "self/mountinfo")
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("find where cgroups are mounted: %w", err)
	}
	var found []*Hierarchy
	var without, elsewhere string
	for _, m := range visibleMounts(b) {
		if !m.isCgroup() {
			continue
		}
		h := &Hierarchy{proc: procRoot, dir: m.point, prefix: strings.TrimSuffix(m.root, "/"), version: 1}
		if m.fs == "cgroup2" {
			h.version = 2
			controllers, err := os.ReadFile(filepath.Join(m.point, "cgroup.controllers"))
			if err != nil {
				continue // hidden under another mount
			}
			if !slices.Contains(strings.Fields(string(controllers)), "memory") {
				without = m.point
				continue
			}
		}
		switch part := h.isPart(); {
		case m.outside() && part:
			elsewhere = m.point
			continue
		case m.outside():
			h.above, _ = stepsUp(h.prefix)
			h.prefix = ""
		case h.prefix == "" && part && (h.version == 2 || inNamespace(procRoot)):
			h.pretended = 1
		}
		found = append(found, h)
	}
	slices.SortStableFunc(found, func(a, b *Hierarchy) int {
		return cmp.Or(cmp.Compare(a.version, b.version), cmp.Compare(a.pretended, b.pretended), cmp.Compare(len(a.prefix), len(b.prefix)))
	})
	for _, h := range found {
		if _, err := stat(h.dir); err == nil {
			return h, nil
		}
	}
	switch {
	case elsewhere != "":
		return nil, &OpenError{"the cgroups mounted at " + elsewhere + " are outside of our cgroup namespace, and not the host's root", HostTreeRepair}
	case without != "":
		return nil, &OpenError{"the cgroup2 mounted at " + without + " has no memory controller", "boot a kernel with CONFIG_MEMCG=y and without cgroup_disable=memory"}
	}
	return nil, &OpenError{"no cgroup hierarchy with the memory controller is mounted", "mount -t cgroup2 none /sys/fs/cgroup"}
}

// Dir returns the directory where the tree is mounted.
func (h *Hierarchy) Dir() string { return h.dir }

// Version returns 1 for cgroup v1 and 2 for cgroup2.
func (h *Hierarchy) Version() int { return h.version }

// Walk returns all memcgs, sorted by path. In cgroup2 a cgroup is a memcg only
// if its parent has memory in cgroup.subtree_control; what the others use is
// charged to the nearest memcg above, and they are not listed.
//
// A cgroup that vanishes meanwhile is left out, as is one whose path is longer
// than PATH_MAX. So is another file system that is mounted below, such as a
// hierarchy of cgroup v1: its cgroups are no memcgs. Other errors do not end the
// walk: they come with what has been found without them.
func (h *Hierarchy) Walk() ([]Group, error) {
	var groups []Group
	root, err := stat(h.dir)
	if err != nil {
		return nil, fmt.Errorf("walk cgroups: %w", err)
	}
	groups = append(groups, Group{Path: cmp.Or(h.prefix, "/"), Inode: root.inode})
	if !root.leaf {
		groups, err = h.walk(h.dir, h.prefix, root.dev, groups)
	}
	slices.SortFunc(groups, func(a, b Group) int { return cmp.Compare(a.Path, b.Path) })
	return groups, err
}

// walk appends the memcgs below dir on its file system, dev.
func (h *Hierarchy) walk(dir, path string, dev uint64, groups []Group) ([]Group, error) {
	names, err := subdirs(dir)
	errs := []error{ignoreGone(err)}
	for _, name := range names {
		child := dir + "/" + name
		d, err := stat(child)
		if err == nil && (d.dev != dev || !h.isMemcg(child)) {
			continue // nor is any below it
		}
		if err == nil {
			groups = append(groups, Group{Path: path + "/" + name, Inode: d.inode})
			if !d.leaf {
				groups, err = h.walk(child, path+"/"+name, dev, groups)
			}
		}
		errs = append(errs, ignoreGone(err))
	}
	return groups, errors.Join(errs...)
}

// Procs returns the ids of the processes whose memory is charged to a memcg,
// ascending: those in its cgroup and, in cgroup2, in the cgroups below it that
// are no memcgs themselves. They are ids of our PID namespace; processes that
// have none are left out. A process that has been moved leaves behind the memory
// it had.
//
// A process belongs to one memcg, its thread group leader's, whichever others
// list it too. A threaded cgroup lists no processes: those of its threads are in
// the domain above it. The error is ErrGone if the memcg does not exist.
func (h *Hierarchy) Procs(path string) ([]int, error) {
	pids, err := h.list(path)
	if err != nil {
		return nil, err
	}
	return h.owned(cmp.Or(strings.TrimRight(path, "/"), "/"), pids), nil
}

// list returns the processes that the cgroups of a memcg list, ascending.
func (h *Hierarchy) list(path string) ([]int, error) {
	dir, err := h.dirOf(path)
	if err != nil {
		return nil, err
	}
	d, err := stat(dir)
	var pids []int
	if err == nil {
		pids, err = h.procs(dir, d.dev, nil)
	}
	if err != nil {
		return nil, fmt.Errorf("list the processes of memcg %s: %w", name.Escape(path), err)
	}
	slices.Sort(pids)
	return slices.Compact(pids), nil
}

// procs appends the processes of dir and of what below it is no memcg, as far as
// it is on the file system dev.
func (h *Hierarchy) procs(dir string, dev uint64, pids []int) ([]int, error) {
	d, err := stat(dir)
	if err != nil || d.dev != dev {
		return pids, err
	}
	b, err := os.ReadFile(dir + "/cgroup.procs")
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		return nil, gone(err)
	}
	pids, err = parseProcs(b, pids)
	if err != nil {
		return nil, fmt.Errorf("parse %s/cgroup.procs: %w", dir, err)
	}
	if h.version == 1 || d.leaf {
		return pids, nil
	}
	names, err := subdirs(dir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		child := dir + "/" + name
		if h.isMemcg(child) {
			continue
		}
		with, err := h.procs(child, dev, pids)
		if ignoreGone(err) != nil {
			return nil, err
		}
		if err == nil {
			pids = with
		}
	}
	return pids, nil
}

// Inode returns the number of a memcg's directory, as in Group. The error is
// ErrGone if it does not exist.
func (h *Hierarchy) Inode(path string) (uint64, error) {
	dir, err := h.dirOf(path)
	if err != nil {
		return 0, err
	}
	d, err := stat(dir)
	if err != nil {
		return 0, fmt.Errorf("find memcg %s: %w", name.Escape(path), err)
	}
	return d.inode, nil
}

// dirOf returns the directory of a memcg.
func (h *Hierarchy) dirOf(path string) (string, error) {
	if !strings.HasPrefix(path, "/") || strings.ContainsRune(path, 0) || slices.Contains(strings.Split(path, "/"), "..") {
		return "", fmt.Errorf("%q is not a path from the cgroup root", path)
	}
	path = strings.TrimRight(path, "/")
	below, ok := strings.CutPrefix(path, h.prefix)
	if !ok || below != "" && below[0] != '/' {
		return "", fmt.Errorf("memcg %s is not below %s, which is all that is mounted: %w", name.Escape(path), name.Escape(h.prefix), ErrGone)
	}
	return h.dir + below, nil
}

// isMemcg tells whether a cgroup other than the root is a memcg. Only those
// have memory.current; on v1 all are.
func (h *Hierarchy) isMemcg(dir string) bool {
	return h.version == 1 || unix.Access(dir+"/memory.current", unix.F_OK) == nil
}

// parseProcs appends the ids in a cgroup.procs file, but 0: it stands for each
// process outside of the reader's PID namespace.
func parseProcs(b []byte, pids []int) ([]int, error) {
	for line := range bytes.Lines(b) {
		text := bytes.TrimSuffix(line, []byte("\n"))
		pid, err := strconv.ParseUint(string(text), 10, 31)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%.40q is no process id", text)
		case pid != 0:
			pids = append(pids, int(pid))
		}
	}
	return pids, nil
}

// A directory is what is needed of one's attributes.
type directory struct {
	inode, dev uint64
	leaf       bool // the number of links says that there is no directory in it
}

// stat returns the attributes of a directory.
func stat(dir string) (directory, error) {
	var st unix.Stat_t
	err := unix.Lstat(dir, &st)
	for errors.Is(err, unix.EINTR) {
		err = unix.Lstat(dir, &st)
	}
	if err != nil {
		return directory{}, fmt.Errorf("stat %s: %w", dir, gone(err))
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return directory{}, fmt.Errorf("%s is no directory: %w", dir, ErrGone)
	}
	return directory{inode: st.Ino, dev: st.Dev, leaf: st.Nlink == 2}, nil
}

// subdirs returns the names of the directories in dir.
func subdirs(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, gone(err)
	}
	defer d.Close()
	entries, err := d.ReadDir(-1)
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, gone(err)
}

// gone makes ErrGone of the errors that say so: no such file, and from an open
// file of a cgroup that has been removed ENODEV. A path that is too long
// is one that nobody can ask about.
func gone(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENAMETOOLONG) {
		return ErrGone
	}
	return err
}

// ignoreGone drops ErrGone.
func ignoreGone(err error) error {
	if errors.Is(err, ErrGone) {
		return nil
	}
	return err
}
