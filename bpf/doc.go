// Package bpf has the BPF programs of mglru_exporter and all that talks to
// them. It alone imports cilium/ebpf.
package bpf
