// SPDX-License-Identifier: Apache-2.0
/*
 * A process that maps the memory it is told to, touches exactly the pages it is
 * told to, and reports which those were. One command a line on stdin, one
 * answer a line on stdout: "ok ..." or "error ...".
 *
 *   map NAME kind=KIND size=BYTES node=N [path=P] [create=0] [skew=PAGES]
 *            [mlock=1] [advice=random|sequential] [write=1]
 *       Maps SIZE bytes, 2 MiB-aligned plus SKEW pages, bound to node N, and
 *       populates every page: anonymous kinds and write=1 by a write, the others
 *       by a read. Kinds: anon, thp, hugetlb, file and fileprivate (shared and
 *       private mapping of PATH, which is written first, its page cache on node
 *       N, unless create=0), shmem (the same on a tmpfs), sharedanon, memfd.
 *       Answers "ok NAME addr=0x... size=...".
 *   touch NAME FIRST STEP COUNT [write]
 *       Reads (or writes) one byte of the pages FIRST, FIRST+STEP, ...
 *   pages NAME
 *       The pages touched since the last "pages", as ranges: "ok 0-4,7,9-11".
 *   unmap NAME              mprotect NAME none|r|rw      mlock NAME
 *   munlock NAME            madvise NAME normal|random|sequential|dontneed|mergeable
 *   mremap NAME SIZE        move NAME NODE
 *   comm NAME               sets the process's name
 *   fork                    "ok child=PID"; the child maps all and touches nothing
 *   share                   "ok child=PID"; the child is another process in the
 *                           same memory, as between vfork and exec
 *   exec                    the same program again, with nothing mapped
 *   exit-leader             the first thread exits, another one carries on
 *   quit
 *
 * Clearing an accessed bit does not flush the TLB, so a page may be touched
 * without its bit being set again. Hence each touch first flushes this process's
 * TLB as a whole. Nothing here uses malloc, and what the commands keep is static,
 * so that the process's own pages are few and stay the same.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif

#define PAGE 4096UL
#define HUGE (2UL << 20)
#define MAX_AREAS 24
#define MAX_PAGES (1UL << 18) /* 1 GiB an area */
#define MAX_WORDS 16
/* More than tlb_single_page_flush_ceiling (33) pages: the whole TLB goes. */
#define SCRATCH (64 * PAGE)

struct area {
	char name[32];
	unsigned char *addr;
	size_t size;
	uint64_t touched[MAX_PAGES / 64];
};

static struct area areas[MAX_AREAS];
static unsigned char *scratch;
static char **arguments;

static void put(const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = write(STDOUT_FILENO, text, len);

		if (n <= 0)
			_exit(1);
		text += n;
		len -= n;
	}
}

__attribute__((format(printf, 1, 2))) static void answer(const char *format, ...)
{
	char line[512];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(line, sizeof(line) - 1, format, args);
	va_end(args);
	if (n > (int)sizeof(line) - 2)
		n = sizeof(line) - 2;
	line[n++] = '\n';
	put(line, n);
}

static void ok_or_errno(const char *what, long result)
{
	if (result < 0)
		answer("error %s: %s", what, strerror(errno));
	else
		answer("ok");
}

/* Reads a line without stdio, which would allocate. False at the end. */
static bool read_line(char *line, size_t size)
{
	static char buffer[4096];
	static size_t from, to;
	size_t n = 0;

	for (;;) {
		if (from == to) {
			ssize_t got = read(STDIN_FILENO, buffer, sizeof(buffer));

			if (got < 0 && errno == EINTR)
				continue;
			if (got <= 0)
				return false;
			from = 0;
			to = got;
		}
		if (buffer[from] == '\n') {
			from++;
			line[n] = 0;
			return true;
		}
		if (n < size - 1)
			line[n++] = buffer[from];
		from++;
	}
}

static void flush_tlb(void)
{
	if (mprotect(scratch, SCRATCH, PROT_READ) ||
	    mprotect(scratch, SCRATCH, PROT_READ | PROT_WRITE))
		_exit(1);
	/* Writable PTEs are what makes the next mprotect flush. */
	for (size_t i = 0; i < SCRATCH; i += PAGE)
		*(volatile unsigned char *)(scratch + i) = 1;
}

static struct area *find(const char *name)
{
	for (struct area *a = areas; name && a < areas + MAX_AREAS; a++)
		if (a->addr && !strcmp(a->name, name))
			return a;
	answer("error no area %s", name ? name : "");
	return NULL;
}

/* The value of KEY=value among the words, or NULL. */
static const char *option(char **words, const char *key)
{
	size_t n = strlen(key);

	for (; *words; words++)
		if (!strncmp(*words, key, n) && (*words)[n] == '=')
			return *words + n + 1;
	return NULL;
}

static unsigned long number(const char *text, unsigned long fallback)
{
	return text ? strtoul(text, NULL, 0) : fallback;
}

static bool is(const char *a, const char *b)
{
	return a && !strcmp(a, b);
}

static int advice_of(const char *name)
{
	if (is(name, "normal"))
		return MADV_NORMAL;
	if (is(name, "random"))
		return MADV_RANDOM;
	if (is(name, "sequential"))
		return MADV_SEQUENTIAL;
	if (is(name, "dontneed"))
		return MADV_DONTNEED;
	if (is(name, "mergeable"))
		return MADV_MERGEABLE;
	return -1;
}

/* Allocates what this thread faults in or writes to files on one node only. */
static long bind_thread(int node)
{
	unsigned long mask = 1UL << node;

	if (node < 0)
		return syscall(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0);
	return syscall(SYS_set_mempolicy, MPOL_BIND, &mask, 8 * sizeof(mask));
}

static long bind_area(const struct area *a, int node, unsigned int flags)
{
	unsigned long mask = 1UL << node;

	return syscall(SYS_mbind, a->addr, a->size, MPOL_BIND, &mask, 8 * sizeof(mask), flags);
}

/* Opens PATH, and fills it anew through the page cache unless told not to. */
static int open_file(const char *path, size_t size, bool create)
{
	int fd = open(path, create ? O_RDWR | O_CREAT | O_TRUNC : O_RDWR, 0600);

	if (fd < 0 || !create)
		return fd;
	for (size_t at = 0; at < size; at += SCRATCH) {
		size_t n = size - at < SCRATCH ? size - at : SCRATCH;

		if (pwrite(fd, scratch, n, at) != (ssize_t)n)
			goto error;
	}
	/* Clean pages, so that no writeback touches PTEs later on. */
	if (fsync(fd))
		goto error;
	return fd;
error:
	close(fd);
	return -1;
}

/* Maps at a multiple of ALIGN plus SKEW bytes. */
static void *map_aligned(size_t size, size_t skew, int flags, int fd)
{
	size_t room = size + skew + HUGE;
	unsigned char *p = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned char *at;

	if (p == MAP_FAILED)
		return p;
	munmap(p, room);
	at = (unsigned char *)(((uintptr_t)p + HUGE - 1) / HUGE * HUGE + skew);
	return mmap(at, size, PROT_READ | PROT_WRITE, flags | MAP_FIXED_NOREPLACE, fd, 0);
}

static const char *map_area(struct area *a, char **words)
{
	const char *kind = option(words, "kind"), *path = option(words, "path");
	const char *advice = option(words, "advice");
	size_t skew = number(option(words, "skew"), 0) * PAGE;
	bool create = number(option(words, "create"), 1);
	bool anon = is(kind, "anon") || is(kind, "thp") || is(kind, "hugetlb");
	bool writes = anon || number(option(words, "write"), 0);
	int node = number(option(words, "node"), 0);
	int flags = anon || is(kind, "fileprivate") ? MAP_PRIVATE : MAP_SHARED;
	int fd = -1;

	a->size = number(option(words, "size"), 0);
	if (a->size == 0 || a->size % PAGE || a->size > MAX_PAGES * PAGE)
		return "size";
	if (is(kind, "hugetlb"))
		flags |= MAP_HUGETLB;
	if (bind_thread(node))
		return "set_mempolicy";
	if (is(kind, "file") || is(kind, "fileprivate") || is(kind, "shmem")) {
		fd = path ? open_file(path, a->size, create) : -1;
		if (fd < 0)
			return "open path";
	} else if (is(kind, "memfd")) {
		fd = memfd_create(a->name, 0);
		if (fd < 0 || ftruncate(fd, a->size))
			return "memfd";
	} else if (anon || is(kind, "sharedanon")) {
		flags |= MAP_ANONYMOUS;
	} else {
		errno = EINVAL;
		return "kind";
	}
	a->addr = map_aligned(a->size, skew, flags, fd);
	if (fd >= 0)
		close(fd);
	if (a->addr == MAP_FAILED) {
		a->addr = NULL;
		return "mmap";
	}
	if (bind_area(a, node, 0))
		return "mbind";
	if (is(kind, "thp") && madvise(a->addr, a->size, MADV_HUGEPAGE))
		return "madvise";
	/* Fails on kernels without CONFIG_ANON_VMA_NAME, and does not matter. */
	if (anon)
		prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, a->addr, a->size, a->name);
	for (volatile unsigned char *p = a->addr; p < a->addr + a->size; p += PAGE) {
		if (writes)
			*p = 1;
		else
			(void)*p;
	}
	if (number(option(words, "mlock"), 0) && mlock(a->addr, a->size))
		return "mlock";
	if (advice && madvise(a->addr, a->size, advice_of(advice)))
		return "advice";
	return NULL;
}

static void unmap(struct area *a)
{
	if (a->addr)
		munmap(a->addr, a->size);
	a->addr = NULL;
	memset(a->touched, 0, sizeof(a->touched));
}

static void do_map(char **words)
{
	const char *failed;
	struct area *a;

	for (a = areas; a < areas + MAX_AREAS && a->addr; a++)
		;
	if (a == areas + MAX_AREAS || !words[1] || strlen(words[1]) >= sizeof(a->name)) {
		answer("error no name or no room for it");
		return;
	}
	strcpy(a->name, words[1]);
	errno = 0;
	failed = map_area(a, words + 2);
	if (failed) {
		answer("error map %s: %s: %s", a->name, failed, strerror(errno));
		unmap(a);
	} else {
		answer("ok %s addr=%p size=%zu", a->name, (void *)a->addr, a->size);
	}
	bind_thread(-1);
}

static void do_touch(char **words)
{
	struct area *a = find(words[1]);
	unsigned long first, step, count, last;
	bool writes;

	if (!a)
		return;
	if (!words[2] || !words[3] || !words[4]) {
		answer("error touch NAME FIRST STEP COUNT");
		return;
	}
	first = number(words[2], 0);
	step = number(words[3], 0);
	count = number(words[4], 0);
	writes = is(words[5], "write");
	last = first + step * (count - 1);
	if (count == 0 || last >= a->size / PAGE || (step == 0 && count > 1)) {
		answer("error no such pages of %s", a->name);
		return;
	}
	flush_tlb();
	for (unsigned long page = first, n = 0; n < count; page += step, n++) {
		volatile unsigned char *p = a->addr + page * PAGE;

		if (writes)
			*p = 1;
		else
			(void)*p;
		a->touched[page / 64] |= 1UL << page % 64;
	}
	answer("ok touched=%lu", count);
}

static void do_pages(char **words)
{
	struct area *a = find(words[1]);
	const char *separator = " ";
	unsigned long end;
	char text[64];

	if (!a)
		return;
	put("ok", 2);
	for (unsigned long page = 0; page < a->size / PAGE; page++) {
		if (!(a->touched[page / 64] >> page % 64 & 1))
			continue;
		for (end = page + 1; end < a->size / PAGE; end++)
			if (!(a->touched[end / 64] >> end % 64 & 1))
				break;
		if (end == page + 1)
			put(text, snprintf(text, sizeof(text), "%s%lu", separator, page));
		else
			put(text, snprintf(text, sizeof(text), "%s%lu-%lu", separator, page, end - 1));
		separator = ",";
		page = end;
	}
	put("\n", 1);
	memset(a->touched, 0, (a->size / PAGE + 7) / 8);
}

static void do_mprotect(char **words)
{
	struct area *a = find(words[1]);
	int protection = PROT_NONE;

	if (!a)
		return;
	if (is(words[2], "rw"))
		protection = PROT_READ | PROT_WRITE;
	else if (is(words[2], "r"))
		protection = PROT_READ;
	else if (!is(words[2], "none")) {
		answer("error mprotect NAME none|r|rw");
		return;
	}
	ok_or_errno("mprotect", mprotect(a->addr, a->size, protection));
}

static void do_mremap(char **words)
{
	struct area *a = find(words[1]);
	size_t size = number(words[2], 0);
	void *to;

	if (!a)
		return;
	if (size == 0 || size % PAGE || size > MAX_PAGES * PAGE) {
		answer("error mremap NAME SIZE");
		return;
	}
	to = mremap(a->addr, a->size, size, MREMAP_MAYMOVE);
	if (to == MAP_FAILED) {
		answer("error mremap: %s", strerror(errno));
		return;
	}
	a->addr = to;
	a->size = size;
	answer("ok %s addr=%p size=%zu", a->name, to, size);
}

static int idle_child(void *unused)
{
	(void)unused;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(STDIN_FILENO);
	close(STDOUT_FILENO);
	while (pause() < 0)
		;
	return 0;
}

static void answer_child(const char *what, pid_t child)
{
	if (child < 0)
		answer("error %s: %s", what, strerror(errno));
	else
		answer("ok child=%d", child);
}

static void do_fork(void)
{
	pid_t child = fork();

	if (child == 0)
		idle_child(NULL);
	answer_child("fork", child);
}

static void do_share(void)
{
	static char stack[4 * PAGE] __attribute__((aligned(16)));

	answer_child("clone", clone(idle_child, stack + sizeof(stack), CLONE_VM | SIGCHLD, NULL));
}

static void *serve(void *unused);

static void do_exit_leader(void)
{
	pthread_t thread;
	int error = pthread_create(&thread, NULL, serve, NULL);

	if (error) {
		answer("error pthread_create: %s", strerror(error));
		return;
	}
	/* Of this thread alone; what it leaves is not cleaned up, and is little. */
	syscall(SYS_exit, 0);
}

static void command(char **words)
{
	const char *name = words[0];
	struct area *a;

	if (is(name, "map")) {
		do_map(words);
	} else if (is(name, "touch")) {
		do_touch(words);
	} else if (is(name, "pages")) {
		do_pages(words);
	} else if (is(name, "mprotect")) {
		do_mprotect(words);
	} else if (is(name, "mremap")) {
		do_mremap(words);
	} else if (is(name, "unmap")) {
		a = find(words[1]);
		if (a) {
			unmap(a);
			answer("ok");
		}
	} else if (is(name, "mlock")) {
		a = find(words[1]);
		if (a)
			ok_or_errno(name, mlock(a->addr, a->size));
	} else if (is(name, "munlock")) {
		a = find(words[1]);
		if (a)
			ok_or_errno(name, munlock(a->addr, a->size));
	} else if (is(name, "madvise")) {
		a = find(words[1]);
		if (a)
			ok_or_errno(name, madvise(a->addr, a->size, advice_of(words[2])));
	} else if (is(name, "move")) {
		a = find(words[1]);
		if (a)
			ok_or_errno(name, bind_area(a, number(words[2], 0), MPOL_MF_MOVE | MPOL_MF_STRICT));
	} else if (is(name, "comm")) {
		ok_or_errno(name, prctl(PR_SET_NAME, words[1] ? words[1] : ""));
	} else if (is(name, "fork")) {
		do_fork();
	} else if (is(name, "share")) {
		do_share();
	} else if (is(name, "exec")) {
		/* Not /proc/self: the leader may be gone, and its link with it. */
		execv("/proc/thread-self/exe", arguments);
		answer("error exec: %s", strerror(errno));
	} else if (is(name, "exit-leader")) {
		do_exit_leader();
	} else if (is(name, "quit")) {
		answer("ok");
		_exit(0);
	} else {
		answer("error no command %s", name);
	}
}

static void *serve(void *unused)
{
	char line[1024], *words[MAX_WORDS + 1], *rest;

	(void)unused;
	answer("ready pid=%d tid=%ld", getpid(), syscall(SYS_gettid));
	while (read_line(line, sizeof(line))) {
		int n = 0;

		for (char *w = strtok_r(line, " ", &rest); w && n < MAX_WORDS; w = strtok_r(NULL, " ", &rest))
			words[n++] = w;
		memset(words + n, 0, (MAX_WORDS + 1 - n) * sizeof(*words));
		if (n > 0)
			command(words);
	}
	_exit(0);
}

int main(int argc, char **argv)
{
	(void)argc;
	arguments = argv;
	scratch = mmap(NULL, SCRATCH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (scratch == MAP_FAILED)
		return 1;
	flush_tlb();
	serve(NULL);
	return 0;
}
