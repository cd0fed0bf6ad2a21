//go:build ignore
// SPDX-License-Identifier: GPL-2.0
/*
 * What the product's programs are compared with: aging with nothing attached,
 * and the RFC's way of counting, a hash map that is looked up and updated for
 * each page.
 */
#include "kernel.h"

char LICENSE[] SEC("license") = "GPL";

#define REGION_SHIFT 21

struct age_args {
	__s32 memcg_id;
	__u32 can_swap;
};

/* The same call as the product's, without anything around it. */
SEC("syscall")
int bench_age(struct age_args *args)
{
	return bpf_run_aging(args->memcg_id, args->can_swap != 0, true);
}

struct region_key {
	__u64 region;
	__u32 pid;
	__u32 pad;
};

struct region_count {
	__u32 accesses;
	__s16 nid;
	__s16 anon;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1000000);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct region_key);
	__type(value, struct region_count);
} regions SEC(".maps");

/* Count in the element that was looked up, where there is one. */
volatile const bool in_place;

SEC("fentry/mglru_pte_probe")
int BPF_PROG(count_pte, __u32 pid, int nid, __u64 addr, __u64 len, __u64 anon)
{
	struct region_key key = {
		.region = addr >> REGION_SHIFT,
		.pid = pid,
	};
	struct region_count count = {
		.accesses = 1,
		.nid = nid,
		.anon = anon & 0xff,
	};
	struct region_count *old = bpf_map_lookup_elem(&regions, &key);

	if (old && in_place) {
		__sync_fetch_and_add(&old->accesses, 1);
		return 0;
	}
	if (old)
		count.accesses += old->accesses;
	bpf_map_update_elem(&regions, &key, &count, BPF_ANY);
	return 0;
}
