package bpf

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"

	"mglru_exporter/internal/preflight"
)

// mglruRepair is for what a kernel's BTF shows not to be as in Linux 6.1.
const mglruRepair = "boot a kernel with the MGLRU of Linux 6.1 or later"

// stockArgs are the parameters of the functions that Stock attaches to. A program finds
// the returned value behind the last one. Named are the structs that it looks into.
var stockArgs = map[string][]string{
	"walk_page_range":           {"mm_struct", "", "", "", ""},
	"ptep_test_and_clear_young": {"vm_area_struct", "", ""},
	"pmdp_test_and_clear_young": {"vm_area_struct", "", ""},
	"ptep_clear_flush_young":    {"vm_area_struct", "", ""},
	"pmdp_clear_flush_young":    {"vm_area_struct", "", ""},
}

// stockMembers are what Stock cannot do without in structs and unions. The programs
// read most of them; TestStockMembers compares. The others are evidence:
//   - lru_gen_mm_walk.force_scan: the last number that is written to debugfs' lru_gen
//     is force_scan. Before MGLRU was merged it was use_bloom_filter, the opposite;
//   - bpf_iter_link_info.task: an iterator can be asked for one thread.
var stockMembers = map[string][]string{
	"address_space":            {"a_ops", "flags", "host"},
	"address_space_operations": {"read_folio"},
	"bpf_iter__task_vma":       {"task", "vma"},
	"bpf_iter_link_info":       {"task"},
	"file":                     {"f_mapping", "f_mode"},
	"inode":                    {"i_sb"},
	"lru_gen_mm_walk":          {"force_scan", "lruvec"},
	"lruvec":                   {"pgdat"},
	"mm_struct":                {"owner"},
	"pglist_data":              {"node_id"},
	"super_block":              {"s_magic"},
	"task_struct":              {"tgid"},
	"vm_area_struct":           {"vm_end", "vm_file", "vm_flags", "vm_mm", "vm_ops", "vm_start"},
}

// stockRequirements returns what Stock needs to find in a kernel's BTF.
func stockRequirements(kernel *btf.Spec) []preflight.Requirement {
	var reqs []preflight.Requirement
	var optional []string
	for _, name := range stockOptional {
		optional = append(optional, name)
	}
	for _, name := range slices.Sorted(maps.Keys(stockArgs)) {
		if slices.Contains(optional, name) && !hasFunc(kernel, name) {
			continue
		}
		r := preflight.Requirement{Name: "kernel function " + name, Met: true, Detail: "in the kernel's BTF"}
		if err := checkArgs(kernel, name, stockArgs[name]); err != nil {
			r.Met, r.Detail, r.Repair = false, err.Error(), mglruRepair
			if name == "pmdp_test_and_clear_young" && !hasFunc(kernel, name) {
				r.Repair = "boot a kernel with CONFIG_TRANSPARENT_HUGEPAGE=y"
			}
		}
		reqs = append(reqs, r)
	}
	r := preflight.Requirement{Name: "kernel structures of MGLRU", Met: true, Detail: "in the kernel's BTF"}
	if lacking := lackingMembers(kernel, stockMembers); len(lacking) > 0 {
		r.Met, r.Detail, r.Repair = false, "the kernel's BTF has no "+strings.Join(lacking, ", no "), mglruRepair
		if slices.Contains(lacking, "struct lru_gen_mm_walk") {
			r.Repair = buildRepair
		}
	}
	return append(reqs, r)
}

// checkArgs returns how a function differs from the one that our programs are for.
func checkArgs(kernel *btf.Spec, name string, want []string) error {
	var f *btf.Func
	if kernel.TypeByName(name, &f) != nil {
		return errors.New("not in the kernel's BTF")
	}
	proto, ok := f.Type.(*btf.FuncProto)
	if !ok || len(proto.Params) != len(want) {
		return fmt.Errorf("it takes other arguments than the %d that we know", len(want))
	}
	for i, name := range want {
		if name == "" {
			continue
		}
		p, ok := btf.UnderlyingType(proto.Params[i].Type).(*btf.Pointer)
		if !ok || btf.UnderlyingType(p.Target).TypeName() != name {
			return fmt.Errorf("its argument %d is no struct %s", i+1, name)
		}
	}
	return nil
}

// lackingMembers returns those of the members that a kernel does not have.
func lackingMembers(kernel *btf.Spec, want map[string][]string) (lacking []string) {
	for _, name := range slices.Sorted(maps.Keys(want)) {
		members := membersOf(kernel, name)
		if members == nil {
			lacking = append(lacking, "struct "+name)
			continue
		}
		for _, m := range want[name] {
			if !slices.Contains(members, m) {
				lacking = append(lacking, name+"."+m)
			}
		}
	}
	return lacking
}

// membersOf returns the members of a struct or union, with those of unnamed ones in it;
// nil if there is none of that name.
func membersOf(kernel *btf.Spec, name string) []string {
	types, err := kernel.AnyTypesByName(name)
	if err != nil {
		return nil
	}
	for _, t := range types {
		if members := appendMembers(nil, t); members != nil {
			return members
		}
	}
	return nil
}

func appendMembers(to []string, t btf.Type) []string {
	var members []btf.Member
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Struct:
		members = t.Members
	case *btf.Union:
		members = t.Members
	}
	for _, m := range members {
		if m.Name != "" {
			to = append(to, m.Name)
		} else {
			to = appendMembers(to, m.Type)
		}
	}
	return to
}

// forcedWalksIgnoreNonleaf reports whether it is known that forced walks look below
// page-table pages with a clear accessed bit. Upstream they do since 6.12, which shows
// in no type; a kernel of a lower number may show what came later, or our patches.
func forcedWalksIgnoreNonleaf(kernel *btf.Spec, release string) bool {
	var major, minor int
	if n, _ := fmt.Sscanf(release, "%d.%d", &major, &minor); n == 2 && (major > 6 || major == 6 && minor >= 12) {
		return true
	}
	return hasFunc(kernel, "bpf_run_aging") || slices.Contains(membersOf(kernel, "lru_gen_mm_walk"), "swappiness")
}
