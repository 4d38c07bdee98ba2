// Memory: malloc under stress, mappings, brk, and what happens when there is no more.
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "check.h"

#define BLOCKS 1000

static uint32_t seed = 12345;

static uint32_t next_random(void)
{
    seed = seed * 1664525 + 1013904223;
    return seed >> 8;
}

static void check_malloc(void)
{
    static struct {
        unsigned char *p;
        size_t n;
        unsigned char fill;
    } blocks[BLOCKS];
    int damaged = 0;
    for (int round = 0; round < 20000; round++) {
        size_t i = next_random() % BLOCKS;
        for (size_t k = 0; k < blocks[i].n; k += 97)
            damaged += blocks[i].p[k] != blocks[i].fill;
        size_t n = next_random() % 100 == 0 ? next_random() % 300000 : next_random() % 3000;
        unsigned char *p =
            next_random() % 2 ? realloc(blocks[i].p, n + 1) : (free(blocks[i].p), malloc(n + 1));
        if (!p) {
            CHECK(!"out of memory");
            return;
        }
        blocks[i].p = p;
        blocks[i].n = n;
        blocks[i].fill = (unsigned char)round;
        memset(p, blocks[i].fill, n);
    }
    CHECK(damaged == 0);
    for (int i = 0; i < BLOCKS; i++)
        free(blocks[i].p);
}

static int all_zero(const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i])
            return 0;
    return 1;
}

static void check_mmap(void)
{
    const size_t n = 1 << 20;
    unsigned char *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED && all_zero(p, n));
    memset(p, 1, n);
    CHECK(munmap(p + 4096, 8192) == 0);
    unsigned char *q = mmap(p + 4096, 8192, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    CHECK(q == p + 4096 && all_zero(q, 8192) && p[0] == 1 && p[12288] == 1);
    CHECK(mmap(p, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED &&
          errno == EEXIST);
    CHECK(mmap(p, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p && all_zero(p, 4096));
    CHECK(madvise(p + 12288, 4096, MADV_DONTNEED) == 0 && all_zero(p + 12288, 4096));
    memset(p, 7, n);
    unsigned char *r = mremap(p, n, 2 * n, MREMAP_MAYMOVE);
    CHECK(r != MAP_FAILED && r[0] == 7 && r[n - 1] == 7 && all_zero(r + n, n));
    CHECK(mremap(r, 2 * n, n, 0) == r && munmap(r, n) == 0);
    CHECK(munmap(r, n) == 0); // a hole is no error
    CHECK(FAILS(munmap(r + 1, n), EINVAL));
    CHECK(mprotect(&seed - (uintptr_t)&seed % 4096 / 4, 4096, PROT_READ | PROT_WRITE) == 0);
}

// By the system call: musl's sbrk() refuses to move anything.
static void check_brk(void)
{
    unsigned long start = (unsigned long)syscall(SYS_brk, 0), end = start + 10000;
    CHECK((unsigned long)syscall(SYS_brk, end) == end && all_zero((void *)start, 10000));
    memset((void *)start, 3, 10000);
    CHECK((unsigned long)syscall(SYS_brk, start) == start);
    CHECK((unsigned long)syscall(SYS_brk, start + (1ul << 40)) == start);
    CHECK((unsigned long)syscall(SYS_brk, 4096) == start);
}

static void check_exhaustion(void)
{
    void *first = NULL;
    int n = 0;
    void *absurd = malloc((size_t)1 << 40);
    CHECK(absurd == NULL && errno == ENOMEM);
    free(absurd);
    for (void **p; (p = malloc(100000)); n++) {
        memset(p, 0xee, 100000);
        *p = first;
        first = p;
    }
    CHECK(errno == ENOMEM && n > 10);
    CHECK(mmap(NULL, 1 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED &&
          errno == ENOMEM);
    while (first) {
        void *next = *(void **)first;
        free(first);
        first = next;
    }
    void *again = malloc(1000000);
    CHECK(again != NULL);
    free(again);
}

static void check_pointers(void)
{
    static const unsigned long bad[] = {16, 0x30000, 0xd0000000, 0x7fffffffffff, -1ul};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK(FAILS(write(1, ADDRESS(bad[i]), 5), EFAULT));
    CHECK(FAILS(getrandom(ADDRESS(-4096ul), 8192, 0), EFAULT));
    CHECK(FAILS(access(ADDRESS(-1ul), F_OK), EFAULT) && FAILS(access(ADDRESS(0), F_OK), EFAULT));
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur >= 65536);
    // Most of the stack is usable.
    volatile unsigned char *deep = __builtin_alloca(limit.rlim_cur - 32768);
    deep[0] = 1;
    CHECK(deep[0] == 1);
}

static void check_random(void)
{
    unsigned char a[300], b[300];
    int counts[256] = {0}, distinct = 0;
    CHECK(getrandom(a, sizeof a, 0) == sizeof a && getrandom(b, sizeof b, 0) == sizeof b);
    CHECK(memcmp(a, b, sizeof a) != 0);
    for (size_t i = 0; i < sizeof a; i++)
        distinct += counts[a[i]]++ == 0;
    CHECK(distinct > 100);
}

int main(void)
{
    check_malloc();
    check_mmap();
    check_brk();
    check_exhaustion();
    check_pointers();
    check_random();
    return check_done("memory");
}
