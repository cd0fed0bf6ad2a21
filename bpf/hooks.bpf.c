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
#include "kernel.h"

char LICENSE[] SEC("license") = "GPL";

#define REGION_SHIFT 21
#define PAGE_SHIFT 12
#define REGION_MASK (~((1UL << REGION_SHIFT) - 1))
#define WORDS 8

/* Kinds of records; bpf/record.go has the same list. */
enum kind {
	KIND_REGION = 1, /* young pages of one region */
	KIND_PAGE = 2,	 /* one young page, [addr, end) */
	KIND_SKIP = 3,	 /* [addr, end) was not looked at; info is the reason */
	KIND_WALK = 4,	 /* our walk takes up a process on a node */
	KIND_MARK = 5,	 /* end of a pass; addr is the cookie */
};

/* Set in info of KIND_REGION and KIND_PAGE: another walk than ours found it. */
#define INFO_OTHER 1U
/* Set in info of KIND_PAGE: an anonymous page. */
#define INFO_ANON 2U

struct header {
	__u32 kind;
	__u32 tgid;
	__s32 nid;
	__u32 info;
	__u64 addr;
	__u64 end;
};

struct region_record {
	struct header h;
	__u64 young[2 * WORDS]; /* anonymous pages, then others */
};

struct watch {
	__u64 lost;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} ring SEC(".maps");

/* The processes whose records are wanted, by tgid. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1 << 16);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct watch);
} watched SEC(".maps");

/*
 * Where the per-page hooks gather the region that our walk is in. Only the
 * aging thread touches it, so it needs no lock; it is empty when h.kind is 0.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct region_record);
} scratch SEC(".maps");

/* Wake the reader each time this much has been written; a power of two. */
volatile const __u64 wake_bytes = 2 << 20;
/* Let the kernel skip processes that are not watched. */
volatile __u32 only_watched;
/* The thread whose walk is a pass: what bpf_get_current_pid_tgid() says. */
volatile __u64 aging_thread;
/* Records that found the ring full, over all processes. */
volatile __u64 lost;

static __always_inline bool ours(void)
{
	return bpf_get_current_pid_tgid() == aging_thread;
}

static __always_inline struct watch *watch_of(__u32 tgid)
{
	return bpf_map_lookup_elem(&watched, &tgid);
}

static __always_inline void lose(struct watch *w)
{
	__sync_fetch_and_add(&w->lost, 1);
	__sync_fetch_and_add(&lost, 1);
}

/*
 * A wakeup costs more than a record, so the reader is woken when the unread
 * data passes a multiple of wake_bytes, and by the mark at the end of a pass.
 */
static __always_inline __u64 wakeup(__u64 size)
{
	__u64 unread = bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA);

	if ((unread & (wake_bytes - 1)) < size + 8 && unread >= wake_bytes)
		return BPF_RB_FORCE_WAKEUP;
	return BPF_RB_NO_WAKEUP;
}

static __always_inline void emit_header(struct watch *w, const struct header *h)
{
	struct header *r = bpf_ringbuf_reserve(&ring, sizeof(*r), 0);

	if (!r) {
		lose(w);
		return;
	}
	*r = *h;
	bpf_ringbuf_submit(r, wakeup(sizeof(*r)));
}

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

static __always_inline void flush(struct region_record *s)
{
	struct region_record *r;
	struct watch *w;

	if (!s->h.kind)
		return;
	s->h.kind = 0;
	w = watch_of(s->h.tgid);
	if (!w)
		return;
	r = bpf_ringbuf_reserve(&ring, sizeof(*r), 0);
	if (!r) {
		lose(w);
		return;
	}
	__builtin_memcpy(r, s, sizeof(*r));
	r->h.kind = KIND_REGION;
	bpf_ringbuf_submit(r, wakeup(sizeof(*r)));
}

static __always_inline void emit_page(__u32 tgid, int nid, __u64 addr, __u64 len, bool anon)
{
	struct watch *w = watch_of(tgid);
	struct header h = {
		.kind = KIND_PAGE,
		.tgid = tgid,
		.nid = nid,
		.info = INFO_OTHER | (anon ? INFO_ANON : 0),
		.addr = addr,
		.end = addr + (len << PAGE_SHIFT),
	};

	if (w)
		emit_header(w, &h);
}

/*
 * Arguments come as whole registers, of which only the part that the C type has
 * is defined: hence no bool parameter here.
 */
SEC("fentry/mglru_pte_probe")
int BPF_PROG(on_pte, __u32 tgid, int nid, __u64 addr, __u64 len, __u64 anon_reg)
{
	struct region_record *s;
	__u64 region = addr & REGION_MASK;
	bool anon = anon_reg & 0xff;
	__u32 zero = 0, word;

	if (!ours()) {
		emit_page(tgid, nid, addr, len, anon);
		return 0;
	}
	s = bpf_map_lookup_elem(&scratch, &zero);
	if (!s)
		return 0;
	if (s->h.addr != region || s->h.tgid != tgid || s->h.nid != nid || !s->h.kind) {
		flush(s);
		__builtin_memset(s->young, 0, sizeof(s->young));
		s->h.kind = KIND_REGION;
		s->h.tgid = tgid;
		s->h.nid = nid;
		s->h.info = 0;
		s->h.addr = region;
		s->h.end = region + (1UL << REGION_SHIFT);
	}
	word = (addr >> (PAGE_SHIFT + 6)) & (WORDS - 1);
	if (!anon)
		word += WORDS;
	/* clang drops the mask, then 6.1's verifier rejects the index */
	asm volatile("" : "+r"(word));
	s->young[word & (2 * WORDS - 1)] |= 1UL << ((addr >> PAGE_SHIFT) & 63);
	return 0;
}

SEC("fentry/mglru_pmd_probe")
int BPF_PROG(on_pmd, __u32 tgid, int nid, __u64 addr, __u64 len, __u64 anon_reg)
{
	struct header h = {
		.kind = KIND_PAGE,
		.tgid = tgid,
		.nid = nid,
		.info = (ours() ? 0 : INFO_OTHER) | ((anon_reg & 0xff) ? INFO_ANON : 0),
		.addr = addr,
		.end = addr + (len << PAGE_SHIFT),
	};
	struct watch *w = watch_of(tgid);

	if (w)
		emit_header(w, &h);
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

struct finish_args {
	__u64 cookie;
};

/*
 * Ends a pass: nothing stays behind in the scratch, and the mark comes after
 * all records of the pass. Returns 0, or -ENOSPC if the ring has no room for
 * the mark; then it is to be called again once the ring was drained.
 */
SEC("syscall")
int finish(struct finish_args *args)
{
	struct region_record *s;
	struct header *r;
	__u32 zero = 0;

	s = bpf_map_lookup_elem(&scratch, &zero);
	if (s)
		flush(s);
	aging_thread = 0;
	r = bpf_ringbuf_reserve(&ring, sizeof(*r), 0);
	if (!r)
		return -28; /* ENOSPC */
	__builtin_memset(r, 0, sizeof(*r));
	r->kind = KIND_MARK;
	r->addr = args->cookie;
	bpf_ringbuf_submit(r, BPF_RB_FORCE_WAKEUP);
	return 0;
}
