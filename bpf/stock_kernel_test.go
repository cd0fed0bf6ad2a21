package bpf

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"

	"mglru_exporter/internal/preflight"
)

// fakeKernel is what the BTF of a kernel has.
type fakeKernel struct {
	args    map[string][]string // as stockArgs
	members map[string][]string // as stockMembers
}

// newFakeKernel returns a kernel that has all that Stock cannot do without.
func newFakeKernel() fakeKernel {
	k := fakeKernel{map[string][]string{}, map[string][]string{}}
	for name, args := range stockArgs {
		k.args[name] = slices.Clone(args)
	}
	for name, members := range stockMembers {
		k.members[name] = slices.Clone(members)
	}
	return k
}

// spec makes BTF of it. The first half of a struct's members is in an unnamed union.
func (k fakeKernel) spec(t *testing.T) *btf.Spec {
	t.Helper()
	long := &btf.Int{Name: "long unsigned int", Size: 8}
	structs := map[string]*btf.Struct{}
	var types []btf.Type
	for name, members := range k.members {
		inner := &btf.Union{Size: 8}
		s := &btf.Struct{Name: name, Size: 8, Members: []btf.Member{{Type: inner}}}
		for i, m := range members {
			if i < len(members)/2 {
				inner.Members = append(inner.Members, btf.Member{Name: m, Type: long})
			} else {
				s.Members = append(s.Members, btf.Member{Name: m, Type: long})
			}
		}
		structs[name] = s
		types = append(types, s)
	}
	for name, args := range k.args {
		proto := &btf.FuncProto{Return: long}
		for i, arg := range args {
			p := btf.FuncParam{Name: fmt.Sprint("arg", i), Type: long}
			if arg != "" {
				if structs[arg] == nil {
					structs[arg] = &btf.Struct{Name: arg}
				}
				p.Type = &btf.Pointer{Target: structs[arg]}
			}
			proto.Params = append(proto.Params, p)
		}
		types = append(types, &btf.Func{Name: name, Type: proto, Linkage: btf.StaticFunc})
	}
	b, err := btf.NewBuilder(types, nil)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := b.Spec()
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// TestStockRequirements: what a kernel's BTF shows decides, and what it lacks is named.
func TestStockRequirements(t *testing.T) {
	without := func(from *[]string, member string) {
		*from = slices.DeleteFunc(*from, func(m string) bool { return m == member })
	}
	for _, tc := range []struct {
		name   string
		change func(k fakeKernel)
		want   []string // NAME: DETAIL → REPAIR
	}{
		{"all that is needed, as in RHEL 9's 5.14", func(fakeKernel) {}, nil},
		{"without a function that is optional", func(k fakeKernel) { delete(k.args, "ptep_clear_flush_young") }, nil},
		{"no transparent huge pages", func(k fakeKernel) { delete(k.args, "pmdp_test_and_clear_young") }, []string{
			"kernel function pmdp_test_and_clear_young: not in the kernel's BTF → boot a kernel with CONFIG_TRANSPARENT_HUGEPAGE=y",
		}},
		{"a helper that is inlined", func(k fakeKernel) { delete(k.args, "ptep_test_and_clear_young") }, []string{
			"kernel function ptep_test_and_clear_young: not in the kernel's BTF → " + mglruRepair,
		}},
		{"a helper with one argument more", func(k fakeKernel) {
			k.args["ptep_test_and_clear_young"] = append(k.args["ptep_test_and_clear_young"], "")
		}, []string{
			"kernel function ptep_test_and_clear_young: it takes other arguments than the 3 that we know → " + mglruRepair,
		}},
		{"a walk that takes a mapping first", func(k fakeKernel) { k.args["walk_page_range"][0] = "vm_area_struct" }, []string{
			"kernel function walk_page_range: its argument 1 is no struct mm_struct → " + mglruRepair,
		}},
		{"MGLRU not built in", func(k fakeKernel) { delete(k.members, "lru_gen_mm_walk") }, []string{
			"kernel structures of MGLRU: the kernel's BTF has no struct lru_gen_mm_walk → " + buildRepair,
		}},
		{"MGLRU as before it was merged, and readpage", func(k fakeKernel) {
			walk, ops := k.members["lru_gen_mm_walk"], k.members["address_space_operations"]
			without(&walk, "force_scan")
			without(&ops, "read_folio")
			k.members["lru_gen_mm_walk"] = append(walk, "full_scan")
			k.members["address_space_operations"] = append(ops, "readpage")
		}, []string{
			"kernel structures of MGLRU: the kernel's BTF has no address_space_operations.read_folio, no lru_gen_mm_walk.force_scan → " + mglruRepair,
		}},
	} {
		k := newFakeKernel()
		tc.change(k)
		var got []string
		for _, r := range (preflight.Report{Requirements: stockRequirements(k.spec(t))}).Missing() {
			got = append(got, r.Name+": "+r.Detail+" → "+r.Repair)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s, missing (-want +got):\n%s", tc.name, diff)
		}
	}
}

// TestForcedWalksIgnoreNonleaf: a kernel is taken to hide pages by bit 0x4 unless
// something shows that it does not.
func TestForcedWalksIgnoreNonleaf(t *testing.T) {
	for _, tc := range []struct {
		name, release string
		change        func(k fakeKernel)
		want          bool
	}{
		{"Debian 12", "6.1.0-50-cloud-amd64", func(fakeKernel) {}, false},
		{"RHEL 9", "5.14.0-611.el9.x86_64", func(fakeKernel) {}, false},
		{"a lower number with what came after 6.12", "5.14.0-900.el9.x86_64", func(k fakeKernel) {
			k.members["lru_gen_mm_walk"] = append(k.members["lru_gen_mm_walk"], "swappiness")
		}, true},
		{"our patches", "6.1.192", func(k fakeKernel) { k.args["bpf_run_aging"] = nil }, true},
		{"Debian 13", "6.12.117+deb13-cloud-amd64", func(fakeKernel) {}, true},
		{"7.3", "7.3.4+deb13-cloud-amd64", func(fakeKernel) {}, true},
		{"a name that is no number", "rolling", func(fakeKernel) {}, false},
	} {
		k := newFakeKernel()
		tc.change(k)
		if got := forcedWalksIgnoreNonleaf(k.spec(t), tc.release); got != tc.want {
			t.Errorf("%s (%s): %v, want %v", tc.name, tc.release, got, tc.want)
		}
	}
}

// TestStockMembers: stockMembers has what the programs read, apart from what they look
// for first, and stockArgs has all functions.
func TestStockMembers(t *testing.T) {
	guarded := []string{ // by bpf_core_field_exists()
		"mm_struct.notifier_subscriptions", "lru_gen_mm_state.wait", "lruvec.mm_state", "wait_queue_head.head", "list_head.next",
	}
	spec, err := loadStock()
	if err != nil {
		t.Fatal(err)
	}
	relocation := regexp.MustCompile(`^CORERelocation\((byte_off|field_exists), Struct:"(\w+)"\[0:(\d+)`)
	read := map[string]bool{}
	for _, p := range spec.Programs {
		for i := range p.Instructions {
			r := btf.CORERelocationMetadata(&p.Instructions[i])
			if r == nil {
				continue
			}
			m := relocation.FindStringSubmatch(r.String())
			if m == nil {
				t.Fatalf("%s is not understood", r)
			}
			var s *btf.Struct
			if err := spec.Types.TypeByName(m[2], &s); err != nil {
				t.Fatal(err)
			}
			var index int
			if _, err := fmt.Sscan(m[3], &index); err != nil {
				t.Fatal(err)
			}
			read[m[2]+"."+s.Members[index].Name] = true
		}
	}
	want := map[string]bool{"lru_gen_mm_walk.force_scan": true, "bpf_iter_link_info.task": true}
	for name := range read {
		if !slices.Contains(guarded, name) {
			want[name] = true
		}
	}
	got := map[string]bool{}
	for name, members := range stockMembers {
		for _, m := range members {
			got[name+"."+m] = true
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); diff != "" {
		t.Errorf("members, - of the programs + of stockMembers:\n%s", diff)
	}
	for _, funcs := range []map[string]string{stockFuncs, stockOptional} {
		for program, name := range funcs {
			if stockArgs[name] == nil {
				t.Errorf("stockArgs lacks %s, to which %s attaches", name, program)
			}
		}
	}
	if len(read) == 0 {
		t.Error("the object reads nothing: the test tests nothing")
	}
}
