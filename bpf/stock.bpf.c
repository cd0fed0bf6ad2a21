//go:build ignore
// SPDX-License-Identifier: GPL-2.0
/*
 * Harvest of the accessed bits that anybody clears, on a kernel without our
 * patches: from the two functions of x86-64 that clear one. The pass itself is
 * started by user space, through debugfs.
 *
 * Such a kernel says nothing about what its walk did not look at. So the proof
 * that a process was looked at comes from the walk's way through it, and the
 * mappings that it leaves out are listed by asking the same questions as
 * should_skip_vma() in mm/vmscan.c.
 */
#include "harvest.h"

char LICENSE[] SEC("license") = "GPL";

#define BIT(n) (1UL << (n))

/* Bits of vm_flags, the same since long before 6.1. */
#define VM_ACCESS (BIT(0) | BIT(1) | BIT(2))
#define VM_PFNMAP BIT(10)
#define VM_LOCKED BIT(13)
#define VM_IO BIT(14)
#define VM_SEQ_READ BIT(15)
#define VM_RAND_READ BIT(16)
#define VM_DONTEXPAND BIT(18)
#define VM_HUGETLB BIT(22)
#define VM_MIXEDMAP BIT(28)
#define VM_UNWALKED                                                                                \
	(VM_PFNMAP | VM_LOCKED | VM_IO | VM_SEQ_READ | VM_RAND_READ | VM_DONTEXPAND | VM_HUGETLB | \
	 VM_MIXEDMAP)

#define FMODE_NOREUSE BIT(23) /* since 6.3; of no use before */
#define AS_UNEVICTABLE BIT(3)
#define TMPFS_MAGIC 0x01021994
#define PMD_PSE BIT(7)

/* Reasons of KIND_SKIP; bpf/stock.go has the same list. */
enum reason {
	SKIP_VMA = 1,	   /* the walk passes over such mappings */
	SKIP_NOTIFIER = 2, /* others use the memory, with accessed bits of their own */
};

/* The part of a walk of ours through one process that is under way. */
struct {
	__u32 active;
	__u32 tgid;
	__s32 nid;
	__u32 watched;
} walking;

/* Processes that our pass has walked from end to end. */
volatile __u64 walked;
/* Mappings that list_vma has seen. */
volatile __u64 mappings;

SEC("fentry/walk_page_range")
int BPF_PROG(on_walk, struct mm_struct *mm, unsigned long start, unsigned long end, void *ops,
	     struct lru_gen_mm_walk *walk)
{
	/* MGLRU's walks are the ones without an end. */
	if (end != ~0UL || !ours())
		return 0;
	walking.tgid = BPF_CORE_READ(mm, owner, tgid);
	walking.nid = BPF_CORE_READ(walk, lruvec, pgdat, node_id);
	walking.watched = watch_of(walking.tgid) != NULL;
	walking.active = 1;
	return 0;
}

/*
 * Before 6.8 a walk is curtailed if somebody waits for it, and then returns the
 * same as one that has come to the end. Who waits leaves only once the pass is
 * over, or killed.
 */
static __always_inline bool curtailed(struct lru_gen_mm_walk *walk)
{
	struct lruvec *lruvec;
	struct list_head *head;

	if (!bpf_core_field_exists(((struct lru_gen_mm_state *)0)->wait))
		return false;
	lruvec = BPF_CORE_READ(walk, lruvec);
	head = __builtin_preserve_access_index(&lruvec->mm_state.wait.head);
	return BPF_CORE_READ(head, next) != head;
}

/*
 * A walk goes through a process in parts, each from where the last one ended:
 * those that end before the last mapping return -EAGAIN. Where a part cannot
 * have the locks it needs, no further one follows.
 */
SEC("fexit/walk_page_range")
int BPF_PROG(on_walked, struct mm_struct *mm, unsigned long start, unsigned long end, void *ops,
	     struct lru_gen_mm_walk *walk, int ret)
{
	struct header h = {
		.kind = KIND_WALK,
		.tgid = walking.tgid,
		.nid = walking.nid,
	};
	struct watch *w;

	if (end != ~0UL || !ours() || !walking.active)
		return 0;
	walking.active = 0;
	if (ret < 0 || (ret > 0 && curtailed(walk)))
		return 0;
	walked++;
	w = watch_of(h.tgid);
	if (w)
		emit_header(w, &h);
	return 0;
}

/* What is found young outside of our walk; nobody knows on which node. */
static __always_inline void other(struct vm_area_struct *vma, __u64 addr, __u64 len)
{
	emit_page(BPF_CORE_READ(vma, vm_mm, owner, tgid), -1, addr, len,
		  INFO_OTHER | (vma->vm_file ? 0 : INFO_ANON));
}

/*
 * The returned int, or bool since 7.0, is true if the bit was set. Pages of
 * private file mappings are reported as not anonymous, though they are once
 * they were written to: to tell costs a look at struct page.
 */
static __always_inline int pte(struct vm_area_struct *vma, unsigned long addr, int young)
{
	if (!(young & 0xff))
		return 0;
	if (!ours() || !walking.active)
		other(vma, addr, 1);
	else if (walking.watched)
		gather(walking.tgid, walking.nid, addr, !vma->vm_file);
	return 0;
}

static __always_inline int pmd(struct vm_area_struct *vma, unsigned long addr, void *pmdp,
			       int young)
{
	const __u64 len = BIT(REGION_SHIFT - PAGE_SHIFT);
	__u64 entry = 0;

	if (!(young & 0xff))
		return 0;
	/* The bit of a page-table page says nothing of single pages. */
	bpf_probe_read_kernel(&entry, sizeof(entry), pmdp);
	if (!(entry & PMD_PSE))
		return 0;
	addr &= REGION_MASK;
	if (!ours() || !walking.active)
		other(vma, addr, len);
	else if (walking.watched)
		emit_page(walking.tgid, walking.nid, addr, len, vma->vm_file ? 0 : INFO_ANON);
	return 0;
}

SEC("fexit/ptep_test_and_clear_young")
int BPF_PROG(on_pte, struct vm_area_struct *vma, unsigned long addr, void *ptep, int young)
{
	return pte(vma, addr, young);
}

SEC("fexit/pmdp_test_and_clear_young")
int BPF_PROG(on_pmd, struct vm_area_struct *vma, unsigned long addr, void *pmdp, int young)
{
	return pmd(vma, addr, pmdp, young);
}

/* These two call those two, which a compiler may have inlined here. */
SEC("fexit/ptep_clear_flush_young")
int BPF_PROG(on_pte_flush, struct vm_area_struct *vma, unsigned long addr, void *ptep, int young)
{
	return pte(vma, addr, young);
}

SEC("fexit/pmdp_clear_flush_young")
int BPF_PROG(on_pmd_flush, struct vm_area_struct *vma, unsigned long addr, void *pmdp, int young)
{
	return pmd(vma, addr, pmdp, young);
}

/* Tells whether MGLRU's walk passes over a mapping. */
static __always_inline bool unwalked(struct vm_area_struct *vma)
{
	unsigned long flags = vma->vm_flags;
	struct address_space *mapping;

	if (!(flags & VM_ACCESS) || (flags & VM_UNWALKED))
		return true;
	if (!vma->vm_ops)
		return false; /* anonymous */
	if (!vma->vm_file || (vma->vm_file->f_mode & FMODE_NOREUSE))
		return true;
	mapping = vma->vm_file->f_mapping;
	if (!mapping || (mapping->flags & AS_UNEVICTABLE))
		return true;
	/* DAX and the like, as shared memory has none either */
	return !mapping->a_ops->read_folio && mapping->host->i_sb->s_magic != TMPFS_MAGIC;
}

/* Lists what the walk passes over in one process. */
SEC("iter/task_vma")
int list_vma(struct bpf_iter__task_vma *ctx)
{
	struct task_struct *task = ctx->task;
	struct vm_area_struct *vma = ctx->vma;
	struct header h = { .kind = KIND_SKIP, .nid = -1 };
	struct watch *w;

	if (!task || !vma)
		return 0;
	mappings++;
	if (bpf_core_field_exists(vma->vm_mm->notifier_subscriptions) &&
	    vma->vm_mm->notifier_subscriptions)
		h.info = SKIP_NOTIFIER;
	else if (unwalked(vma))
		h.info = SKIP_VMA;
	else
		return 0;
	h.tgid = task->tgid;
	h.addr = vma->vm_start;
	h.end = vma->vm_end;
	w = watch_of(h.tgid);
	if (w)
		emit_header(w, &h);
	return 0;
}

struct begin_args {
	__u64 unused;
};

/* Makes the calling thread the one whose walks are passes. */
SEC("syscall")
int begin(struct begin_args *args)
{
	walked = 0;
	aging_thread = bpf_get_current_pid_tgid();
	return 0;
}
