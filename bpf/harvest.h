/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What all harvesting programs share: the records, the ring that they leave
 * through, and the scratch in which single pages become regions.
 */
#ifndef MGLRU_EXPORTER_HARVEST_H
#define MGLRU_EXPORTER_HARVEST_H

#include "kernel.h"

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
	KIND_CLEAR = 6,	 /* somebody clears all accessed bits of the process */
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
 * Where the pages of the region that our walk is in are gathered. Only the aging
 * thread touches it, so it needs no lock; it is empty when h.kind is 0. Not a map
 * of its own, whose lookup for each page would add 4 % to the per-page hooks.
 */
static struct region_record scratch;

/* Wake the reader each time this much has been written; a power of two. */
volatile const __u64 wake_bytes = 2 << 20;
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

static __always_inline void emit_page(__u32 tgid, int nid, __u64 addr, __u64 len, __u32 info)
{
	struct watch *w = watch_of(tgid);
	struct header h = {
		.kind = KIND_PAGE,
		.tgid = tgid,
		.nid = nid,
		.info = info,
		.addr = addr,
		.end = addr + (len << PAGE_SHIFT),
	};

	if (w)
		emit_header(w, &h);
}

/* Adds a page to the scratch, which our walk alone uses, in address order. */
static __always_inline void gather(__u32 tgid, int nid, __u64 addr, bool anon)
{
	__u64 region = addr & REGION_MASK;
	struct region_record *s = &scratch;
	__u32 word;

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
	struct header *r;

	flush(&scratch);
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

#endif
