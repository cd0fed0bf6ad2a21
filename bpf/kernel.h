/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The few kernel types that our programs read, relocated at load time (CO-RE)
 * to the running kernel's layout. See kernel-patches/README.md for what they
 * mean.
 */
#ifndef MGLRU_EXPORTER_KERNEL_H
#define MGLRU_EXPORTER_KERNEL_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct mglru_region {
	int pid;
	int nid;
	unsigned long addr;
	__u32 flags;
	__u64 anon[8];
	__u64 file[8];
};

struct bpf_mglru_should_skip_mm_ctl {
	int pid;
	int nid;
	bool should_skip;
};

#pragma clang attribute pop

extern int bpf_run_aging(int memcg_id, bool can_swap, bool force_scan) __ksym;
extern void bpf_set_skip_mm(struct bpf_mglru_should_skip_mm_ctl *ctl) __ksym;

#endif
