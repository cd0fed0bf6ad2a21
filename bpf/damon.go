package bpf

import (
	"fmt"
	"runtime"

	"github.com/cilium/ebpf/btf"
)

// damonFuncs are the functions through which DAMON clears every accessed bit
// that is not hugetlb's, by the program that watches each.
var damonFuncs = map[string]string{
	hooksProgOnDamonPte: "damon_ptep_mkold",
	hooksProgOnDamonPmd: "damon_pmdp_mkold",
}

// HooksSeeDAMON returns nil if Hooks can see on this kernel which accessed bits
// DAMON clears, else the reason why it cannot.
func HooksSeeDAMON() error {
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return fmt.Errorf("read the kernel's BTF: %w", err)
	}
	return seesDAMON(kernel, runtime.GOARCH)
}

// seesDAMON returns why DAMON cannot be watched on a kernel: the programs read
// a page-table entry of x86-64, and take the arguments that the functions have
// since 6.5 and in its stable backports.
func seesDAMON(kernel *btf.Spec, arch string) error {
	if arch != "amd64" {
		return fmt.Errorf("its accessed bits cannot be read on %s", arch)
	}
	for _, name := range damonFuncs {
		var f *btf.Func
		if err := kernel.TypeByName(name, &f); err != nil {
			return fmt.Errorf("no function %s in the kernel's BTF", name)
		}
		if !takesEntryOfVMA(f) {
			return fmt.Errorf("function %s of this kernel takes other arguments", name)
		}
	}
	return nil
}

// takesEntryOfVMA reports whether a function takes a pointer to a page-table
// entry, a struct vm_area_struct and an address.
func takesEntryOfVMA(f *btf.Func) bool {
	proto, ok := f.Type.(*btf.FuncProto)
	if !ok || len(proto.Params) != 3 {
		return false
	}
	if _, ok := btf.UnderlyingType(proto.Params[0].Type).(*btf.Pointer); !ok {
		return false
	}
	vma, ok := btf.UnderlyingType(proto.Params[1].Type).(*btf.Pointer)
	if !ok {
		return false
	}
	s, ok := btf.UnderlyingType(vma.Target).(*btf.Struct)
	if !ok || s.Name != "vm_area_struct" {
		return false
	}
	_, ok = btf.UnderlyingType(proto.Params[2].Type).(*btf.Int)
	return ok
}
