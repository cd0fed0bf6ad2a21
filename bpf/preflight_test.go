package bpf

import (
	"fmt"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// TestLoadRepairs: another kernel does not help whom this one forbids to load, and
// more rights do not help where the kernel lacks something.
func TestLoadRepairs(t *testing.T) {
	const kernel = "boot Linux 5.14 or later"
	for _, tc := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{fmt.Errorf("detect support for Tracing: load program: %w", unix.EPERM), loadRepair},
		{fmt.Errorf("Syscall %w (requires >= v5.14)", ebpf.ErrNotSupported), kernel},
	} {
		if r := loadRequirement("x", tc.err, "can be loaded", kernel); r.Met != (tc.err == nil) || r.Repair != tc.want {
			t.Errorf("%v: %+v, want the repair %q", tc.err, r, tc.want)
		}
	}
}

// TestTracingWithoutBTFIsNotAsked: package features would remember a no for ever.
func TestTracingWithoutBTFIsNotAsked(t *testing.T) {
	if r := tracingRequirement(nil, "fentry can be loaded"); r.Met || r.Repair != btfRepair || r.Detail != "unknown without BTF" {
		t.Errorf("%+v", r)
	}
}
