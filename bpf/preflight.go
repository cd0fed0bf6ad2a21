package bpf

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"

	"mglru_exporter/internal/preflight"
)

const btfRepair = "boot a kernel with CONFIG_DEBUG_INFO_BTF=y"

const loadRepair = "run as root with CAP_SYS_ADMIN, where no seccomp profile, security module or lockdown forbids bpf(2)"

// buildRepair is for a kernel without MGLRU.
const buildRepair = "boot a kernel with CONFIG_LRU_GEN=y"

const patchRepair = "boot a kernel built with the series in kernel-patches/ and CONFIG_LRU_GEN_BPF=y"

// PreflightHooks tells what Hooks needs of the kernel and whether it is there.
// It attaches nothing.
func PreflightHooks() []preflight.Requirement {
	reqs := []preflight.Requirement{lruGenRequirement()}
	kernel, err := btf.LoadKernelSpec()
	reqs = append(reqs, requirement("BTF of the kernel", err, "/sys/kernel/btf/vmlinux", btfRepair))
	reqs = append(reqs, tracingRequirement(kernel, "fentry can be loaded"), syscallRequirement())
	if kernel == nil {
		return append(reqs, preflight.Requirement{Name: "hooks of our kernel patch", Detail: "unknown without BTF", Repair: patchRepair})
	}
	for _, name := range []string{"bpf_run_aging", "bpf_set_skip_mm"} {
		reqs = append(reqs, funcRequirement(kernel, "kfunc", name))
	}
	for _, name := range []string{"bpf_mglru_should_skip_mm", "mglru_skip_probe"} {
		reqs = append(reqs, funcRequirement(kernel, "hook", name))
	}
	if !hasFunc(kernel, "mglru_region_probe") && hasFunc(kernel, "mglru_pte_probe") && hasFunc(kernel, "mglru_pmd_probe") {
		return append(reqs, preflight.Requirement{Name: "hook mglru_pte_probe", Met: true,
			Detail: "present; mglru_region_probe, which costs less, is not"})
	}
	return append(reqs, funcRequirement(kernel, "hook", "mglru_region_probe"))
}

// tracingRequirement asks for programs of fentry and fexit. Without BTF the answer is
// no, which package features would remember for ever.
func tracingRequirement(kernel *btf.Spec, met string) preflight.Requirement {
	const name = "BPF tracing programs"
	if kernel == nil {
		return preflight.Requirement{Name: name, Detail: "unknown without BTF", Repair: btfRepair}
	}
	return loadRequirement(name, features.HaveProgramType(ebpf.Tracing), met,
		"boot a kernel with CONFIG_BPF_EVENTS=y and CONFIG_DYNAMIC_FTRACE=y")
}

func syscallRequirement() preflight.Requirement {
	return loadRequirement("BPF syscall programs", features.HaveProgramType(ebpf.Syscall), "can be loaded", "boot Linux 5.14 or later")
}

// loadRequirement is requirement of what loading a program said. Another kernel helps
// only where that was not forbidden.
func loadRequirement(name string, err error, met, otherKernel string) preflight.Requirement {
	if errors.Is(err, os.ErrPermission) {
		return requirement(name, err, met, loadRepair)
	}
	return requirement(name, err, met, otherKernel)
}

func lruGenRequirement() preflight.Requirement {
	r := preflight.Requirement{Name: "MGLRU enabled"}
	bits, err := Enabled()
	switch {
	case errors.Is(err, os.ErrNotExist):
		r.Detail = EnabledPath + " does not exist"
		r.Repair = buildRepair
	case err != nil:
		r.Detail = err.Error()
		r.Repair = "run as root"
	default:
		r.Met = bits&EnabledCore != 0
		r.Detail = fmt.Sprintf("%s is %#04x", EnabledPath, bits)
		if !r.Met {
			r.Repair, r.Effect = EnableRepair, enableEffect
		}
	}
	return r
}

func funcRequirement(kernel *btf.Spec, what, name string) preflight.Requirement {
	r := preflight.Requirement{Name: what + " " + name, Met: hasFunc(kernel, name), Detail: "in the kernel's BTF"}
	if !r.Met {
		r.Detail = "not in the kernel's BTF"
		r.Repair = patchRepair
	}
	return r
}

func requirement(name string, err error, met, repair string) preflight.Requirement {
	if err == nil {
		return preflight.Requirement{Name: name, Met: true, Detail: met}
	}
	detail, _, _ := strings.Cut(err.Error(), "\n")
	return preflight.Requirement{Name: name, Detail: detail, Repair: repair}
}
