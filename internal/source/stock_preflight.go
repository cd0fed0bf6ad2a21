package source

import (
	"log/slog"
	"os"

	"golang.org/x/sys/unix"

	"mglru_exporter/bpf"
	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/memcg"
	"mglru_exporter/internal/preflight"
	"mglru_exporter/internal/process"
)

func openStock(reads *process.Guard, log *slog.Logger) (Source, error) {
	if _, err := pageNodes("/sys"); err != nil {
		return nil, err
	}
	cgroups, err := memcg.Open("/proc")
	if err != nil {
		return nil, err
	}
	return NewStock(bpf.StockOptions{Log: log}, process.NewFS("/proc").With(reads), cgroups, lruGenPath, "/sys"), nil
}

func preflightStock() []preflight.Requirement {
	lruGen := lruGenRequirement(lruGenPath, "/proc", "/sys")
	if lruGen.Met {
		lruGen = judgeLRUGenWrite(unix.Access(lruGenPath, unix.W_OK), lruGenPath, lruGen)
	}
	return append(append([]preflight.Requirement{pageSizeRequirement(os.Getpagesize()), pageNodesRequirement("/sys")}, bpf.PreflightStock()...), lruGen, memcgPathsRequirement("/proc"), pidNamespaceRequirement("/proc"),
		pagemapRequirement(), pagemapAccess().requirement("/proc"), walkersRequirement("/sys", heat.UnobservedNone))
}

// notesStock is what those should know who read its numbers.
func notesStock() []string {
	return []string{
		"the kernel does not say when it passes over a page table because somebody else holds its lock at that moment: an access there counts one pass late, and one before a window's last pass in the window after",
		"memory that others use by page tables of their own (KVM guests, GPUs, RDMA) is unobserved, and so is all else of a process that shares its memory that way",
		"a huge page is hot, warm or cold as a whole",
		"with cgroup v1, and before Linux 6.12 in a memcg that has processes and cgroups below, nobody can tell what removed cgroups have left: what was not found young is unobserved there, and never cold",
	}
}
