package source

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/memcg"
	"mglru_exporter/internal/preflight"
)

func preflightReferenced() []preflight.Requirement { return referencedRequirements("/proc", "/sys") }

func referencedRequirements(procRoot, sysRoot string) []preflight.Requirement {
	return []preflight.Requirement{
		openRequirement("accessed bits can be cleared", filepath.Join(procRoot, "self/clear_refs"), os.O_WRONLY),
		openRequirement("accessed bits can be read", filepath.Join(procRoot, "self/smaps"), os.O_RDONLY),
		clearRefsAccess().requirement(procRoot),
		reclaimRequirement(procRoot, sysRoot),
		memcgRequirement(procRoot),
		nodesRequirement(procRoot, sysRoot),
		walkersRequirement(sysRoot, heat.UnobservedShared),
	}
}

// notesReferenced say what the source disturbs and what it cannot know.
func notesReferenced() []string {
	return []string{
		"it tells how much of each mapping was accessed since the pass before, not which pages: a window is one pass, nothing is ever warm, and there is no mglru_region_accesses",
		"it disturbs: a pass clears the accessed bits, PG_referenced and PG_young of all memory of the processes watched, which reclaim, DAMON and page_idle use too, and page faults of a process wait while it is cleared (some 10 ms per GiB): those larger than referenced.max_process are left alone, and unobserved",
		"it does not see an access during the pass itself, while the process is being read and cleared; nor, as no TLB is flushed, all accesses to memory so small and busy that the CPU need not look at its page tables again",
		"it does not see that another program writes to clear_refs or page_idle/bitmap of the same processes: what was in use then reads as cold",
		"while the kernel reclaims memory, as many bytes of each process as it may have cleared are unobserved instead of cold; with MGLRU on, all of them",
		"while DAMON is on, memory that several processes map is unobserved instead of cold; so is always what a process that runs a KVM guest has not accessed itself",
		"in another PID namespace than the initial one, such as a container's, it sees only the processes in there",
		"a page that another process accessed by read() or write() may read as hot, and a huge page is hot or cold as a whole",
	}
}

// reclaimRequirement asks for the counters that tell how many accessed bits
// reclaim may have taken: without them nothing could be called cold.
func reclaimRequirement(procRoot, sysRoot string) preflight.Requirement {
	r := preflight.Requirement{Name: "counters of reclaim", Met: true, Detail: filepath.Join(procRoot, "vmstat") + " has them"}
	counters := newReclaim(procRoot, sysRoot)
	if _, err := counters.read(); err != nil {
		r.Met, r.Detail, r.Repair = false, err.Error(), "boot a kernel with CONFIG_VM_EVENT_COUNTERS=y"
	}
	return r
}

// openRequirement asks whether a file can be opened, which changes nothing.
func openRequirement(name, path string, flag int) preflight.Requirement {
	r := preflight.Requirement{Name: name, Detail: path + " can be opened"}
	f, err := os.OpenFile(path, flag, 0)
	if err != nil {
		r.Detail = err.Error()
		r.Repair = "run as root"
		if errors.Is(err, os.ErrNotExist) {
			r.Repair = "boot a kernel with CONFIG_PROC_PAGE_MONITOR=y, and mount -t proc proc /proc"
		}
		return r
	}
	r.Met = f.Close() == nil
	return r
}

// memcgRequirement asks for cgroups with the memory controller. A part of the host's
// tree is enough, and said.
func memcgRequirement(procRoot string) preflight.Requirement {
	r := preflight.Requirement{Name: "memory cgroups"}
	h, err := memcg.Open(procRoot)
	if err != nil {
		r.Detail, r.Repair = err.Error(), "mount -t proc proc /proc"
		if missing, ok := errors.AsType[*memcg.OpenError](err); ok {
			r.Detail, r.Repair = missing.Found, missing.Repair
		}
		return r
	}
	r.Met, r.Detail = true, fmt.Sprintf("cgroup v%d at %s, the host's tree", h.Version(), h.Dir())
	if part := h.Part(); part != "" {
		r.Detail = fmt.Sprintf("cgroup v%d at %s, %s", h.Version(), h.Dir(), part)
		r.Note = "not all memcgs of the host are seen; to see them, " + memcg.HostTreeRepair
	}
	return r
}

// memcgPathsRequirement is memcgRequirement of sources that look memcgs up in lru_gen,
// which has paths from the host's root. In a cgroup namespace / is another memcg.
func memcgPathsRequirement(procRoot string) preflight.Requirement {
	r := memcgRequirement(procRoot)
	if h, err := memcg.Open(procRoot); err == nil && h.Pretended() {
		r.Met, r.Note, r.Repair = false, "", memcg.HostTreeRepair
	}
	return r
}

// nodesRequirement asks for a way to tell the nodes of mappings.
func nodesRequirement(procRoot, sysRoot string) preflight.Requirement {
	r := preflight.Requirement{Name: "NUMA nodes of mappings"}
	nodes, err := nodesWithMemory(sysRoot)
	if err != nil {
		r.Detail, r.Repair = err.Error(), nodesRepair(err)
		return r
	}
	if len(nodes) == 1 {
		r.Met, r.Detail = true, fmt.Sprintf("node %d has all memory", nodes[0])
		return r
	}
	r = openRequirement(r.Name, filepath.Join(procRoot, "self/numa_maps"), os.O_RDONLY)
	if r.Met {
		r.Detail = fmt.Sprintf("by numa_maps, for mappings that are on one of %d nodes; what is spread is on node \"unknown\"", len(nodes))
	} else {
		r.Repair = "boot a kernel with CONFIG_NUMA=y and CONFIG_PROC_PAGE_MONITOR=y"
	}
	return r
}
