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

struct hlist_node {
	struct hlist_node *next;
};

struct hlist_head {
	struct hlist_node *first;
};

struct pid {
	struct hlist_head tasks[4];
};

struct task_struct {
	struct mm_struct *mm;
	int tgid;
	struct hlist_node pid_links[4];
};

struct mm_struct {
	struct task_struct *owner;
	void *notifier_subscriptions;
};

struct address_space_operations {
	void *read_folio;
};

struct super_block {
	unsigned long s_magic;
};

struct inode {
	struct super_block *i_sb;
};

struct proc_inode {
	struct pid *pid;
	struct inode vfs_inode;
};

struct address_space {
	struct inode *host;
	unsigned long flags;
	const struct address_space_operations *a_ops;
};

struct file {
	unsigned int f_mode;
	struct inode *f_inode;
	struct address_space *f_mapping;
};

struct vm_area_struct {
	unsigned long vm_start;
	unsigned long vm_end;
	struct mm_struct *vm_mm;
	unsigned long vm_flags;
	const void *vm_ops;
	struct file *vm_file;
};

struct bpf_iter__task_vma {
	struct task_struct *task;
	struct vm_area_struct *vma;
};

struct list_head {
	struct list_head *next;
};

struct wait_queue_head {
	struct list_head head;
};

struct pglist_data {
	int node_id;
};

struct lru_gen_mm_state {
	struct wait_queue_head wait;
};

struct lruvec {
	struct lru_gen_mm_state mm_state;
	struct pglist_data *pgdat;
};

struct lru_gen_mm_walk {
	struct lruvec *lruvec;
};

#pragma clang attribute pop

extern int bpf_run_aging(int memcg_id, bool can_swap, bool force_scan) __ksym;
extern void bpf_set_skip_mm(struct bpf_mglru_should_skip_mm_ctl *ctl) __ksym;

#endif
