package memcg

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// HostTreeRepair is what lets a container see all memcgs of its host.
const HostTreeRepair = "mount the host's tree (docker, podman: --cgroupns host --volume /sys/fs/cgroup:/sys/fs/cgroup:ro; Kubernetes: a hostPath volume of /sys/fs/cgroup)"

// An OpenError is why Open finds no tree.
type OpenError struct {
	// Found is what there is instead.
	Found string
	// Repair is what would help, preferably a command.
	Repair string
}

// Error has both.
func (e *OpenError) Error() string { return e.Found + ": " + e.Repair }

// Part returns what of the host's tree can be seen, "" if that is all of it.
func (h *Hierarchy) Part() string {
	switch {
	case h.Pretended():
		return "only the part in our own cgroup namespace, which is called / here"
	case h.prefix != "":
		return "only the part below " + h.prefix
	}
	return ""
}

// Pretended reports whether a cgroup namespace calls a part of the host's tree its
// root. Paths are not the host's then, nor those in lru_gen.
func (h *Hierarchy) Pretended() bool { return h.pretended != 0 }

// isPart reports whether what is mounted is not the root of all. In cgroup2 that root
// alone has no cgroup.events; in cgroup v1 it alone has the files of CFTYPE_ONLY_ON_ROOT.
func (h *Hierarchy) isPart() bool {
	has := func(name string) bool { return unix.Access(filepath.Join(h.dir, name), unix.F_OK) == nil }
	if h.version == 2 {
		return has("cgroup.events")
	}
	return !has("release_agent") && !has("cgroup.sane_behavior")
}

// initialCgroupNamespace is what the link ns/cgroup reads in the initial cgroup
// namespace: its inode is PROC_CGROUP_INIT_INO in include/linux/proc_ns.h.
const initialCgroupNamespace = "cgroup:[4026531835]"

// inNamespace reports whether we are in another cgroup namespace than the initial one.
func inNamespace(procRoot string) bool {
	got, err := os.Readlink(filepath.Join(procRoot, "self/ns/cgroup"))
	return err == nil && got != initialCgroupNamespace
}
