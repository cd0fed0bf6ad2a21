package source

import (
	"log/slog"

	"golang.org/x/sys/unix"

	"mglru_exporter/bpf"
	"mglru_exporter/internal/preflight"
	"mglru_exporter/internal/process"
)

func openStock(log *slog.Logger) (Source, error) {
	nodes, err := nodesWithMemory(hasMemoryPath)
	if err != nil {
		return nil, err
	}
	return NewStock(bpf.StockOptions{Log: log}, process.NewFS("/proc"), lruGenPath, nodes), nil
}

func preflightStock() []preflight.Requirement {
	lruGen := lruGenRequirement()
	if lruGen.Met {
		if err := unix.Access(lruGenPath, unix.W_OK); err != nil {
			lruGen.Met, lruGen.Detail, lruGen.Repair = false, lruGenPath+" cannot be written: "+err.Error(), "run as root"
		} else {
			lruGen.Detail = lruGenPath + " can be read and written"
		}
	}
	return append(bpf.PreflightStock(), lruGen, pagemapRequirement())
}
