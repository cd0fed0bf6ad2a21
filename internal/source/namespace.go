package source

import (
	"errors"
	"os"
	"path/filepath"

	"mglru_exporter/internal/preflight"
)

// initialPIDNamespace is what the link ns/pid of a process in the initial PID
// namespace reads: its inode is PROC_PID_INIT_INO in include/linux/proc_ns.h.
const initialPIDNamespace = "pid:[4026531836]"

// pidNamespaceRequirement asks that process ids are those which BPF programs tell:
// in another PID namespace most processes have none at all, and those that have are
// called by other numbers.
func pidNamespaceRequirement(procRoot string) preflight.Requirement {
	r := preflight.Requirement{
		Name:   "initial PID namespace",
		Repair: "start it on the host, or in a container that has the host's: docker run --pid=host, podman run --pid=host, hostPID: true in Kubernetes",
	}
	path := filepath.Join(procRoot, "self/ns/pid")
	switch got, err := os.Readlink(path); {
	case errors.Is(err, os.ErrNotExist): // without CONFIG_PID_NS there is no other
		r.Met, r.Detail = true, "there is no other"
	case err != nil:
		r.Detail = err.Error()
	case got != initialPIDNamespace:
		r.Detail = "we are in " + got + ", and see only the processes in there"
	default:
		r.Met, r.Detail = true, "we are in "+got
	}
	if r.Met {
		r.Repair = ""
	}
	return r
}
