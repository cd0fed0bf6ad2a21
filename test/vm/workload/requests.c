/* requests sends requests of one kind, and says how long they took. It is the
 * workload of the harm benchmark; see docs/BENCHMARKS.md.
 *
 *   requests memcached SOCKET KEYS SIZE
 *       Sets KEYS values of SIZE bytes, and then gets one a request, in a
 *       Gaussian pattern about the middle key with a deviation of a tenth of KEYS.
 *   requests reader BYTES
 *       Has BYTES of anonymous 4 KiB pages. A request reads 64 random ones; it
 *       also maps, writes and unmaps a page, which takes the process's mmap_lock.
 *   requests burner
 *       A request is 1 ms in user space.
 *
 * One command a line on stdin, one answer a line on stdout:
 *
 *   open RATE SECONDS
 *       Requests arrive at random (Poisson), RATE a second on average. A latency
 *       is from the arrival, so that a late start counts.
 *   closed SECONDS
 *       The next request begins when the last one has ended.
 *   burst REQUESTS EVERY SECONDS
 *       So many requests in a row, every so many seconds.
 *
 * The answer is "ok requests=N ns=TIME p50=NS p99=NS p999=NS max=NS blocked=N
 * blocked_ns=TIME blocked_max=NS"; percentiles are of open alone. Blocked are the
 * requests in which the process slept, which the reader does for locks alone.
 */
#define _GNU_SOURCE
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096UL
#define SECOND 1000000000ULL
#define READS 64
#define MAX_SAMPLES (1UL << 20)

static uint32_t samples[MAX_SAMPLES]; /* ns, each less than 4 s */

static void fail(const char *what)
{
	printf("error %s: %m\n", what);
	exit(1);
}

/* xorshift64*: the same sequence each time. */
#define SEED 88172645463325252ULL
static uint64_t random_state = SEED;

static uint64_t next_random(void)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return random_state * 2685821657736338717ULL;
}

/* Above 0, at most 1. */
static double uniform(void)
{
	return ((next_random() >> 11) + 1) / 9007199254740992.0;
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * SECOND + t.tv_nsec;
}

static void sleep_until(uint64_t ns)
{
	struct timespec t = { ns / SECOND, ns % SECOND };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL))
		;
}

/* memcached */

static int sock;
static unsigned long keys, value_size;

static void send_all(const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = write(sock, text, len);

		if (n <= 0)
			fail("write to memcached");
		text += n;
		len -= n;
	}
}

static void get(unsigned long key)
{
	static char buffer[1 << 16];
	char line[64];
	size_t want, got = 0;

	send_all(line, sprintf(line, "get key-%010lu\r\n", key));
	want = sprintf(line, "VALUE key-%010lu 0 %lu\r\n", key, value_size);
	while (got < want + value_size + strlen("\r\nEND\r\n")) {
		ssize_t n = read(sock, buffer + got, sizeof(buffer) - got);

		if (n <= 0)
			fail("read from memcached");
		got += n;
		if (got >= want && memcmp(buffer, line, want))
			fail("memcached has not the value");
	}
}

static void request_memcached(void)
{
	double key;

	do
		key = (0.5 + 0.1 * sqrt(-2 * log(uniform())) * cos(2 * M_PI * uniform())) * keys;
	while (key < 0 || key >= keys);
	get(key);
}

static void begin_memcached(char **args)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char head[64], *value;

	keys = strtoul(args[1], NULL, 0);
	value_size = strtoul(args[2], NULL, 0);
	if (strlen(args[0]) >= sizeof(address.sun_path) || keys == 0 || value_size == 0 || value_size > 60000)
		fail("arguments");
	strcpy(address.sun_path, args[0]);
	sock = socket(AF_UNIX, SOCK_STREAM, 0);
	if (sock < 0)
		fail("socket");
	for (int tries = 0; connect(sock, (struct sockaddr *)&address, sizeof(address)); tries++) {
		if (tries == 100)
			fail("connect to memcached");
		usleep(100000);
	}
	value = malloc(value_size + 2);
	memset(value, 'a', value_size);
	memcpy(value + value_size, "\r\n", 2);
	for (unsigned long key = 0; key < keys; key++) {
		send_all(head, sprintf(head, "set key-%010lu 0 0 %lu noreply\r\n", key, value_size));
		send_all(value, value_size + 2);
	}
	get(keys - 1); /* it comes after all sets */
}

/* reader */

static unsigned char *memory;
static unsigned long pages;

static void request_reader(void)
{
	unsigned char *page;

	for (int i = 0; i < READS; i++)
		(void)*(volatile unsigned char *)(memory + next_random() % pages * PAGE);
	page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		fail("mmap");
	*(volatile unsigned char *)page = 1;
	munmap(page, PAGE);
}

static void begin_reader(char **args)
{
	pages = strtoul(args[0], NULL, 0) / PAGE;
	if (pages == 0)
		fail("arguments");
	memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED || madvise(memory, pages * PAGE, MADV_NOHUGEPAGE))
		fail("map the memory");
	for (unsigned long i = 0; i < pages; i++)
		memory[i * PAGE] = 1;
}

/* burner */

static void request_burner(void)
{
	uint64_t used, start = 0;
	struct timespec t;

	do {
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
		used = t.tv_sec * SECOND + t.tv_nsec;
		if (start == 0)
			start = used;
	} while (used < start + SECOND / 1000);
}

static void begin_burner(char **args)
{
	(void)args;
}

static void (*request)(void);

static struct {
	unsigned long requests, blocked;
	uint64_t blocked_ns, blocked_max, max;
} result;

/* Sends one request, which was due at that time. */
static uint64_t timed(uint64_t due)
{
	struct rusage before, after;
	uint64_t start = now(), end;

	getrusage(RUSAGE_THREAD, &before);
	request();
	getrusage(RUSAGE_THREAD, &after);
	end = now();
	if (after.ru_nvcsw != before.ru_nvcsw) {
		result.blocked++;
		result.blocked_ns += end - start;
		if (end - start > result.blocked_max)
			result.blocked_max = end - start;
	}
	if (end - due > result.max)
		result.max = end - due;
	result.requests++;
	return end;
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* The least of the first n samples that a share of them does not exceed. */
static unsigned long percentile(size_t n, double share)
{
	return n ? samples[(size_t)ceil(n * share) - 1] : 0;
}

static void answer(uint64_t took, size_t n)
{
	qsort(samples, n, sizeof(*samples), compare);
	printf("ok requests=%lu ns=%lu p50=%lu p99=%lu p999=%lu max=%lu blocked=%lu blocked_ns=%lu blocked_max=%lu\n",
	       result.requests, took, percentile(n, 0.5), percentile(n, 0.99), percentile(n, 0.999), result.max,
	       result.blocked, result.blocked_ns, result.blocked_max);
}

static void do_open(double rate, double seconds)
{
	uint64_t start = now(), end = start + seconds * SECOND, late;
	double due = start;
	size_t n = 0;

	while ((due += -log(uniform()) / rate * SECOND) < end) {
		if (due > now())
			sleep_until(due);
		late = timed(due) - (uint64_t)due;
		if (n == MAX_SAMPLES)
			fail("too many requests");
		samples[n++] = late < UINT32_MAX ? late : UINT32_MAX;
	}
	answer(now() - start, n);
}

static void do_closed(double seconds)
{
	uint64_t start = now(), end = start + seconds * SECOND, at;

	for (at = start; at < end;)
		at = timed(at);
	answer(at - start, 0);
}

static void do_burst(unsigned long n, double every, double seconds)
{
	uint64_t start = now();

	for (double at = 0; at < seconds; at += every) {
		sleep_until(start + at * SECOND);
		for (unsigned long i = 0; i < n; i++)
			timed(now());
	}
	answer(now() - start, 0);
}

static const struct {
	const char *name;
	int arguments;
	void (*begin)(char **args);
	void (*request)(void);
} kinds[] = {
	{ "memcached", 3, begin_memcached, request_memcached },
	{ "reader", 1, begin_reader, request_reader },
	{ "burner", 0, begin_burner, request_burner },
};

int main(int argc, char **argv)
{
	double a, b, c;
	char line[256];

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (size_t i = 0; argc > 1 && i < sizeof(kinds) / sizeof(*kinds); i++) {
		if (!strcmp(argv[1], kinds[i].name) && argc - 2 == kinds[i].arguments) {
			request = kinds[i].request;
			kinds[i].begin(argv + 2);
		}
	}
	if (!request)
		fail("arguments");
	memset(samples, 1, sizeof(samples)); /* no page fault later on */
	printf("ready pid=%d\n", getpid());
	while (fgets(line, sizeof(line), stdin)) {
		memset(&result, 0, sizeof(result));
		random_state = SEED;
		if (sscanf(line, "open %lf %lf", &a, &b) == 2)
			do_open(a, b);
		else if (sscanf(line, "burst %lf %lf %lf", &a, &b, &c) == 3)
			do_burst(a, b, c);
		else if (sscanf(line, "closed %lf", &a) == 1)
			do_closed(a);
		else
			printf("error no command %s", line);
	}
	return 0;
}
