//go:build ignore
// SPDX-License-Identifier: GPL-2.0
/*
 * Harvest of the accessed bits that MGLRU's page-table walks clear, on a kernel
 * with the series in kernel-patches/. One object serves all such kernels: the
 * loader leaves out the programs whose hook the kernel does not have.
 *
 * What leaves this file is a stream of records, in the order of their
 * reservation in one ring buffer. Nothing is counted here: a record has the
 * very pages, so user space can tell distinct pages and lose nothing by asking
 * later.
 */
#include "harvest.h"

char LICENSE[] SEC("license") = "GPL";

/* Bits of a page-table entry on x86-64: _PAGE_PRESENT or _PAGE_PROTNONE, and _PAGE_ACCESSED. */
#define PTE_PRESENT ((1UL << 0) | (1UL << 8))
#define PTE_ACCESSED (1UL << 5)

/* Let the kernel skip processes that are not watched. */
volatile __u32 only_watched;

SEC("fentry/mglru_region_probe")
int BPF_PROG(on_region, const struct mglru_region *region)
{
	__u32 tgid = region->pid;
	struct watch *w = watch_of(tgid);
	struct region_record *r;

	if (!w)
		return 0;
	r = bpf_ringbuf_reserve(&ring, sizeof(*r), 0);
	if (!r) {
		lose(w);
		return 0;
	}
	r->h.kind = KIND_REGION;
	r->h.tgid = tgid;
	r->h.nid = region->nid;
	r->h.info = ours() ? 0 : INFO_OTHER;
	r->h.addr = region->addr;
	r->h.end = region->addr + (1UL << REGION_SHIFT);
	bpf_probe_read_kernel(r->young, WORDS * 8, region->anon);
	bpf_probe_read_kernel(r->young + WORDS, WORDS * 8, region->file);
	bpf_ringbuf_submit(r, wakeup(sizeof(*r)));
	return 0;
}

/*
 * Arguments come as whole registers, of which only the part that the C type has
 * is defined: hence no bool parameter here.
 */
SEC("fentry/mglru_pte_probe")
int BPF_PROG(on_pte, __u32 tgid, int nid, __u64 addr, __u64 len, __u64 anon_reg)
{
	bool anon = anon_reg & 0xff;

	if (ours())
		gather(tgid, nid, addr, anon);
	else
		emit_page(tgid, nid, addr, len, INFO_OTHER | (anon ? INFO_ANON : 0));
	return 0;
}

SEC("fentry/mglru_pmd_probe")
int BPF_PROG(on_pmd, __u32 tgid, int nid, __u64 addr, __u64 len, __u64 anon_reg)
{
	emit_page(tgid, nid, addr, len, (ours() ? 0 : INFO_OTHER) | ((anon_reg & 0xff) ? INFO_ANON : 0));
	return 0;
}

SEC("fentry/mglru_skip_probe")
int BPF_PROG(on_skip, __u32 tgid, int nid, __u64 start, __u64 end, __u32 reason)
{
	struct header h = {
		.kind = KIND_SKIP,
		.tgid = tgid,
		.nid = nid,
		.info = reason,
		.addr = start,
		.end = end,
	};
	struct watch *w;

	if (!ours())
		return 0;
	w = watch_of(tgid);
	if (w)
		emit_header(w, &h);
	return 0;
}

/*
 * Called for each process that a walk asked for by bpf_run_aging() takes up. Its
 * record is the proof that what this pass did not find young was looked at.
 */
SEC("fentry/bpf_mglru_should_skip_mm")
int BPF_PROG(on_mm, struct bpf_mglru_should_skip_mm_ctl *ctl)
{
	/*
	 * Read first, then initialise as a whole: where relocated reads are
	 * assigned to single members, clang 14 loses the stores to all of them.
	 */
	__u32 tgid = ctl->pid;
	__s32 nid = ctl->nid;
	struct header h = {
		.kind = KIND_WALK,
		.tgid = tgid,
		.nid = nid,
	};
	struct watch *w;

	if (!ours())
		return 0;
	w = watch_of(tgid);
	if (w)
		emit_header(w, &h);
	else if (only_watched)
		bpf_set_skip_mm(ctl);
	return 0;
}

/*
 * Writing to /proc/PID/clear_refs takes the accessed bits of a process, or of a
 * part of it, away from our passes. It comes as often as somebody writes, unlike
 * the clearing of single bits, which it would cost too much to watch. Several
 * processes may share the memory: as with walks it is the owner's.
 */
static __always_inline int on_clear(struct file *file)
{
	struct proc_inode *inode;
	struct task_struct *task;
	struct hlist_node *link;
	struct watch *w;
	__u32 tgid;

	inode = (void *)BPF_CORE_READ(file, f_inode) - bpf_core_field_offset(struct proc_inode, vfs_inode);
	link = BPF_CORE_READ(inode, pid, tasks[0].first); /* PIDTYPE_PID */
	if (!link)
		return 0;
	task = (void *)link - bpf_core_field_offset(struct task_struct, pid_links);
	tgid = BPF_CORE_READ(task, mm, owner, tgid);
	if (!tgid)
		tgid = BPF_CORE_READ(task, tgid);
	w = watch_of(tgid);
	if (w) {
		struct header h = {
			.kind = KIND_CLEAR,
			.tgid = tgid,
			.end = ~0UL,
		};

		emit_header(w, &h);
	}
	return 0;
}

/* A window may end while it clears: both ends count. */
SEC("fentry/clear_refs_write")
int BPF_PROG(on_clear_begin, struct file *file)
{
	return on_clear(file);
}

SEC("fexit/clear_refs_write")
int BPF_PROG(on_clear_end, struct file *file)
{
	return on_clear(file);
}

/*
 * DAMON clears the accessed bits of the pages that it samples. A bit that is set
 * as it comes is an access of the pass under way; where none is set it takes
 * nothing. An access between this look and DAMON's own, well below a
 * microsecond later, is lost.
 */
static __always_inline int on_mkold(struct vm_area_struct *vma, __u64 addr, void *entry, __u64 len)
{
	__u32 tgid = BPF_CORE_READ(vma, vm_mm, owner, tgid);
	struct watch *w = watch_of(tgid);
	__u64 value;

	if (!w)
		return 0;
	if (bpf_probe_read_kernel(&value, sizeof(value), entry)) {
		lose(w);
		return 0;
	}
	if ((value & PTE_PRESENT) && (value & PTE_ACCESSED))
		emit_page(tgid, -1, addr & ~((len << PAGE_SHIFT) - 1), len,
			  INFO_OTHER | (BPF_CORE_READ(vma, vm_file) ? 0 : INFO_ANON));
	return 0;
}

SEC("fentry/damon_ptep_mkold")
int BPF_PROG(on_damon_pte, void *pte, struct vm_area_struct *vma, unsigned long addr)
{
	return on_mkold(vma, addr, pte, 1);
}

SEC("fentry/damon_pmdp_mkold")
int BPF_PROG(on_damon_pmd, void *pmd, struct vm_area_struct *vma, unsigned long addr)
{
	return on_mkold(vma, addr, pmd, 1UL << (REGION_SHIFT - PAGE_SHIFT));
}

/*
 * What takes accessed bits away from our passes, or keeps them from being
 * reported, and does not say of which process. It is only counted, and user space
 * assumes that all processes lost theirs. Both ends count: a pass may end in
 * between.
 */
struct uses {
	__u64 begun, ended;
};

/* To read or write page_idle/bitmap. */
volatile struct uses page_idle;
/* To write lru_gen/enabled, which may switch our probes off for a while. */
volatile struct uses switching;

#define COUNT(uses, function)                                    \
	SEC("fentry/" #function)                                 \
	int BPF_PROG(begin_##function)                           \
	{                                                        \
		__sync_fetch_and_add(&(uses).begun, 1);          \
		return 0;                                        \
	}                                                        \
	SEC("fexit/" #function)                                  \
	int BPF_PROG(end_##function)                             \
	{                                                        \
		__sync_fetch_and_add(&(uses).ended, 1);          \
		return 0;                                        \
	}

COUNT(page_idle, page_idle_bitmap_read)
COUNT(page_idle, page_idle_bitmap_write)
COUNT(switching, store_enabled)

struct age_args {
	__s32 memcg_id;
	__u32 can_swap;
};

/* Ages one memcg on every node that has memory; returns 0 or a negative errno. */
SEC("syscall")
int age(struct age_args *args)
{
	aging_thread = bpf_get_current_pid_tgid();
	return bpf_run_aging(args->memcg_id, args->can_swap != 0, true);
}
