package source

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"mglru_exporter/internal/memcg"
	"mglru_exporter/internal/preflight"
	"mglru_exporter/internal/process"
)

func preflightReferenced() []preflight.Requirement { return referencedRequirements("/proc", "/sys") }

func referencedRequirements(procRoot, sysRoot string) []preflight.Requirement {
	return []preflight.Requirement{
		openRequirement("accessed bits can be cleared", filepath.Join(procRoot, "self/clear_refs"), os.O_WRONLY),
		openRequirement("accessed bits can be read", filepath.Join(procRoot, "self/smaps"), os.O_RDONLY),
		othersRequirement(procRoot),
		reclaimRequirement(procRoot, sysRoot),
		memcgRequirement(procRoot),
		nodesRequirement(procRoot, sysRoot),
	}
}

// notesReferenced say what the source disturbs and what it cannot know.
func notesReferenced() []string {
	return []string{
		"it tells how much of each mapping was accessed since the pass before, not which pages: a window is one pass, nothing is ever warm, and there is no mglru_region_accesses",
		"it disturbs: a pass clears the accessed bits, PG_referenced and PG_young of all memory of the processes watched, which reclaim, DAMON and page_idle use too, and page faults of a process wait while it is cleared (some milliseconds per GiB)",
		"it does not see an access during the pass itself, while the process is being read and cleared; nor, as no TLB is flushed, all accesses to memory so small and busy that the CPU need not look at its page tables again",
		"it does not see that another program writes to clear_refs or page_idle/bitmap of the same processes: what was in use then reads as cold",
		"while the kernel reclaims memory, as many bytes of each process as it may have cleared are unobserved instead of cold; with MGLRU on, all of them",
		"while DAMON is on, memory that several processes map is unobserved instead of cold; so is always what a process that runs a KVM guest has not accessed itself",
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

// othersRequirement asks for the capabilities to read and clear processes of
// others: smaps asks for permission to trace, clear_refs belongs to its process's
// user alone.
func othersRequirement(procRoot string) preflight.Requirement {
	r := preflight.Requirement{
		Name:   "access to processes of all users",
		Repair: "run as root, or with CAP_SYS_PTRACE and CAP_DAC_OVERRIDE",
	}
	status, err := os.ReadFile(filepath.Join(procRoot, "self/status"))
	if err != nil {
		r.Detail = err.Error()
		return r
	}
	caps, err := effectiveCaps(string(status))
	if err != nil {
		r.Detail = err.Error()
		return r
	}
	var lack []string
	for _, c := range []struct {
		name string
		bit  uint
	}{{"CAP_SYS_PTRACE", unix.CAP_SYS_PTRACE}, {"CAP_DAC_OVERRIDE", unix.CAP_DAC_OVERRIDE}} {
		if caps>>c.bit&1 == 0 {
			lack = append(lack, c.name)
		}
	}
	if len(lack) > 0 {
		r.Detail = "we lack " + strings.Join(lack, " and ")
		return r
	}
	// A security module, or a user namespace, may forbid what the capabilities
	// allow.
	denied, asked, example := deniedProcesses(procRoot)
	if asked > 0 && denied == asked {
		r.Detail = example.Error()
		r.Repair += ", where no security module forbids it (SELinux, AppArmor, a container's profile)"
		return r
	}
	r.Met, r.Repair, r.Detail = true, "", "CAP_SYS_PTRACE and CAP_DAC_OVERRIDE are effective"
	if denied > 0 {
		r.Detail += fmt.Sprintf("; of the first %d processes %d may not be read all the same, and will be missing: %v", asked, denied, example)
	}
	return r
}

// mostAsked is how many processes are asked whether they may be read.
const mostAsked = 100

// deniedProcesses returns how many processes may not be read, of how many, and
// one's error.
func deniedProcesses(procRoot string) (denied, asked int, example error) {
	// The pattern has no syntax error, and Glob has no other one.
	paths, _ := filepath.Glob(filepath.Join(procRoot, "[0-9]*/smaps"))
	for _, path := range paths[:min(len(paths), mostAsked)] {
		// The permission is checked as it is opened.
		f, err := os.Open(path)
		switch {
		case err == nil:
			f.Close()
		case errors.Is(err, os.ErrPermission):
			denied, example = denied+1, err
		default: // gone
			continue
		}
		asked++
	}
	return denied, asked, example
}

// effectiveCaps returns the effective capabilities in a status file.
func effectiveCaps(status string) (uint64, error) {
	for line := range strings.Lines(status) {
		if hex, ok := strings.CutPrefix(line, "CapEff:"); ok {
			return strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
		}
	}
	return 0, errors.New("our status shows no capabilities")
}

// memcgRequirement asks for cgroups with the memory controller.
func memcgRequirement(procRoot string) preflight.Requirement {
	r := preflight.Requirement{Name: "memory cgroups"}
	h, err := memcg.Open(procRoot)
	if err != nil {
		r.Detail = err.Error()
		r.Repair = "mount -t cgroup2 none /sys/fs/cgroup"
		return r
	}
	r.Met, r.Detail = true, fmt.Sprintf("cgroup v%d at %s", h.Version(), h.Dir())
	return r
}

// nodesRequirement asks for a way to tell the nodes of mappings.
func nodesRequirement(procRoot, sysRoot string) preflight.Requirement {
	r := preflight.Requirement{Name: "NUMA nodes of mappings"}
	m, err := process.LoadNodeMap(procRoot, sysRoot)
	if err != nil {
		r.Detail = err.Error()
		r.Repair = "mount -t proc proc /proc"
		return r
	}
	nodes := m.Nodes()
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
