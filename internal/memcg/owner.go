package memcg

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// owned removes from the sorted pids each process that belongs to another memcg
// than path, which lists it.
//
// More than one cgroup may list a process: in cgroup v1 each that has a thread
// of it, and each where a part of the tree is mounted a second time. The kernel
// charges the memcg of the thread group leader, which /proc/PID/cgroup names. A
// process stays in the list where that file names no memcg, or one that does
// not list the process: no process may get lost between two answers.
func (h *Hierarchy) owned(path string, pids []int) []int {
	lists := map[string][]int{}
	return slices.DeleteFunc(pids, func(pid int) bool {
		owner, ok := h.ownerOf(pid)
		if !ok || owner == path {
			return false
		}
		if owner == "" {
			return true
		}
		list, ok := lists[owner]
		if !ok {
			list, _ = h.list(owner) // a memcg that is gone lists no process
			lists[owner] = list
		}
		_, listed := slices.BinarySearch(list, pid)
		return listed
	})
}

// ownerOf returns the memcg that a process belongs to, "" for one outside of the
// mounted part of the tree. False means that it is not known.
func (h *Hierarchy) ownerOf(pid int) (path string, ok bool) {
	dir := filepath.Join(h.proc, strconv.Itoa(pid))
	shown, ok := h.cgroupIn(dir)
	if ok && shown == "/" && h.version == 1 && exited(dir) {
		// Version 1 shows each exited thread in the root. The oldest thread that
		// lives has taken the memory over (mm_update_next_owner() in kernel/exit.c).
		shown, ok = h.cgroupOfLiveThread(dir)
	}
	if !ok {
		return "", false
	}
	abs, ok := h.absolute(shown)
	if !ok {
		return "", false
	}
	below, inside := strings.CutPrefix(strings.TrimRight(abs, "/"), h.prefix)
	if !inside || below != "" && below[0] != '/' || strings.HasPrefix(below, "/../") || below == "/.." {
		return "", true
	}
	for below != "" && !h.isMemcg(h.dir+below) {
		below = below[:strings.LastIndexByte(below, '/')]
	}
	if path = h.prefix + below; path == "" {
		path = "/"
	}
	return path, true
}

// cgroupIn returns the cgroup that is shown in the file cgroup of /proc/PID, or of
// /proc/PID/task/TID.
func (h *Hierarchy) cgroupIn(dir string) (path string, ok bool) {
	b, err := os.ReadFile(dir + "/cgroup")
	if err != nil {
		return "", false
	}
	return parseCgroup(b, h.version)
}

// cgroupOfLiveThread is cgroupIn of the oldest thread that lives.
func (h *Hierarchy) cgroupOfLiveThread(dir string) (path string, ok bool) {
	tasks, err := os.ReadDir(dir + "/task")
	if err != nil {
		return "", false
	}
	var tids []int
	for _, task := range tasks {
		if tid, err := strconv.Atoi(task.Name()); err == nil {
			tids = append(tids, tid)
		}
	}
	slices.Sort(tids)
	for _, tid := range tids {
		if task := fmt.Sprintf("%s/task/%d", dir, tid); !exited(task) {
			return h.cgroupIn(task)
		}
	}
	return "", false
}

// exited reports whether the thread in a directory of /proc is a zombie or gone.
func exited(dir string) bool {
	b, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return true
	}
	_, state, ok := bytes.Cut(b[bytes.LastIndexByte(b, ')')+1:], []byte(" "))
	return !ok || len(state) == 0 || state[0] == 'Z' || state[0] == 'X'
}

// parseCgroup returns the memory cgroup in a /proc/PID/cgroup file: "0::PATH" in
// cgroup2, or the line of the hierarchy that has the memory controller in v1:
//
//	4:cpu,memory:/docker/0a
func parseCgroup(b []byte, version int) (path string, ok bool) {
	for line := range bytes.Lines(b) {
		fields := bytes.SplitN(bytes.TrimSuffix(line, []byte("\n")), []byte(":"), 3)
		if len(fields) != 3 || len(fields[2]) == 0 || fields[2][0] != '/' {
			continue
		}
		memory := version == 2 && string(fields[0]) == "0" && len(fields[1]) == 0
		if version == 1 {
			memory = slices.Contains(strings.Split(string(fields[1]), ","), "memory")
		}
		if memory {
			return string(fields[2]), true
		}
	}
	return "", false
}

// absolute returns the path from the cgroup root of a path that the kernel shows
// relative to the root of our cgroup namespace. If what is mounted lies outside
// of the namespace, paths outside of it begin with "/.." as well.
func (h *Hierarchy) absolute(shown string) (path string, ok bool) {
	if h.above == 0 {
		return shown, true
	}
	up, below := stepsUp(shown)
	switch {
	case up > h.above:
		return "", false
	case up == h.above:
		return below, true
	}
	h.findNamespace.Do(func() { h.namespace = h.findOwnNamespace() })
	if len(h.namespace) < h.above-up {
		return "", false
	}
	return "/" + strings.Join(h.namespace[:h.above-up], "/") + below, true
}

// stepsUp cuts the ".." components that a path begins with, and counts them.
func stepsUp(path string) (up int, below string) {
	for {
		rest, ok := strings.CutPrefix(path, "/..")
		if !ok || rest != "" && rest[0] != '/' {
			return up, path
		}
		up, path = up+1, rest
	}
}

// findOwnNamespace returns the path of our cgroup namespace's root, as far as it
// is known, by its components: it is where our own process is listed, less what
// /proc/self/cgroup shows.
func (h *Hierarchy) findOwnNamespace() []string {
	shown, ok := h.cgroupIn(filepath.Join(h.proc, "self"))
	if !ok {
		return nil
	}
	root, err := stat(h.dir)
	if err != nil {
		return nil
	}
	ours, ok := findProcess(h.dir, root.dev, os.Getpid())
	if !ok {
		return nil
	}
	up, below := stepsUp(shown)
	ours, ok = strings.CutSuffix(strings.TrimPrefix(ours, h.dir), strings.TrimRight(below, "/"))
	if !ok {
		return nil
	}
	var names []string
	if ours != "" {
		names = strings.Split(ours[1:], "/")
	}
	if len(names) != h.above-up {
		return nil
	}
	return names
}

// findProcess returns the cgroup in or below dir that lists a process.
func findProcess(dir string, dev uint64, pid int) (path string, ok bool) {
	d, err := stat(dir)
	if err != nil || d.dev != dev {
		return "", false
	}
	// A threaded cgroup cannot be read, and lists no process.
	if b, err := os.ReadFile(dir + "/cgroup.procs"); err == nil {
		if pids, err := parseProcs(b, nil); err == nil && slices.Contains(pids, pid) {
			return dir, true
		}
	}
	if d.leaf {
		return "", false
	}
	names, _ := subdirs(dir) // those which there still are
	for _, name := range names {
		if path, ok = findProcess(dir+"/"+name, dev, pid); ok {
			return path, true
		}
	}
	return "", false
}
