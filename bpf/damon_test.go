package bpf

import (
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// damonKernel is the BTF of a kernel with DAMON, whose functions take a pointer to
// a struct of that name after the page-table entry.
func damonKernel(t *testing.T, second string, names ...string) *btf.Spec {
	t.Helper()
	long := &btf.Int{Name: "unsigned long", Size: 8}
	proto := &btf.FuncProto{Return: &btf.Void{}, Params: []btf.FuncParam{
		{Name: "pte", Type: &btf.Pointer{Target: &btf.Typedef{Name: "pte_t", Type: &btf.Struct{Size: 8}}}},
		{Name: "second", Type: &btf.Pointer{Target: &btf.Struct{Name: second, Size: 8}}},
		{Name: "addr", Type: long},
	}}
	types := []btf.Type{long}
	for _, name := range names {
		types = append(types, &btf.Func{Name: name, Type: proto})
	}
	b, err := btf.NewBuilder(types, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := b.Marshal(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := btf.LoadSpecFromReader(strings.NewReader(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func TestSeesDAMON(t *testing.T) {
	both := []string{"damon_ptep_mkold", "damon_pmdp_mkold"}
	for _, tc := range []struct {
		name   string
		kernel *btf.Spec
		arch   string
		want   string // in the error; "" for none
	}{
		{"6.5 and later", damonKernel(t, "vm_area_struct", both...), "amd64", ""},
		{"6.1.0", damonKernel(t, "mm_struct", both...), "amd64", "takes other arguments"},
		{"without DAMON", damonKernel(t, "vm_area_struct"), "amd64", "no function damon_"},
		{"without huge pages' function", damonKernel(t, "vm_area_struct", both[0]), "amd64", "no function damon_pmdp_mkold"},
		{"arm64", damonKernel(t, "vm_area_struct", both...), "arm64", "arm64"},
	} {
		err := seesDAMON(tc.kernel, tc.arch)
		switch {
		case tc.want == "" && err != nil:
			t.Errorf("%s: %v, want DAMON to be seen", tc.name, err)
		case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
			t.Errorf("%s: error %v, want one with %q", tc.name, err, tc.want)
		}
	}
}
