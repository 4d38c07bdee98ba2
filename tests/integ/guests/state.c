// What the kernel must not touch: thread-local data, vector registers, flags and the red zone, across system
// calls and across upcalls. With an argument, computes for that many seconds without any system call (upcalls
// come from whoever sends frames to this environment meanwhile).
#include <immintrin.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

static __thread int counter = 42;
static __thread char buffer[100] = "thread local";

static void check_tls(void)
{
    for (int i = 0; i < 1000; i++)
        counter++;
    CHECK(counter == 1042 && !strcmp(buffer, "thread local"));
}

// Six arguments and all registers that a system call must preserve.
static void check_registers(void)
{
    register uint64_t rbx __asm__("rbx") = 0xb1, r12 __asm__("r12") = 0xb2, r13 __asm__("r13") = 0xb3;
    register uint64_t r14 __asm__("r14") = 0xb4, r15 __asm__("r15") = 0xb5;
    register uint64_t r10 __asm__("r10") = 4, r8 __asm__("r8") = 5, r9 __asm__("r9") = 6;
    uint64_t rdi = 1, rsi = 2, rdx = 3, rax = SYS_getpid, flags;
    __asm__ volatile("std\n\tstc\n\tsyscall\n\tpushfq\n\tpop %[flags]\n\tcld"
                     : "+a"(rax), "+D"(rdi), "+S"(rsi), "+d"(rdx), "+r"(r10), "+r"(r8), "+r"(r9), "+r"(rbx),
                       "+r"(r12), "+r"(r13), "+r"(r14), "+r"(r15), [flags] "=&r"(flags)
                     :
                     : "rcx", "r11", "memory", "cc");
    CHECK(rax == 1 && rdi == 1 && rsi == 2 && rdx == 3 && r10 == 4 && r8 == 5 && r9 == 6);
    CHECK(rbx == 0xb1 && r12 == 0xb2 && r13 == 0xb3 && r14 == 0xb4 && r15 == 0xb5);
    CHECK((flags & 0x401) == 0x401);
}

static void check_vectors(void)
{
    __m128i x = _mm_set_epi32(1, 2, 3, 4), y;
    uint64_t rax = SYS_getpid;
    for (int i = 0; i < 1000; i++) {
        __asm__ volatile("movdqa %[x], %%xmm7\n\tsyscall\n\tmovdqa %%xmm7, %[y]"
                         : [y] "=x"(y), "+a"(rax)
                         : [x] "x"(x)
                         : "rcx", "r11", "memory", "xmm7");
        rax = SYS_getpid;
        if (_mm_movemask_epi8(_mm_cmpeq_epi32(x, y)) != 0xffff) {
            CHECK(!"xmm7 changed");
            return;
        }
    }
    unsigned control = 0x1f80 | 0x6000, after = 0; // another rounding mode
    _mm_setcsr(control);
    getppid();
    after = _mm_getcsr();
    _mm_setcsr(0x1f80);
    CHECK(after == control);
}

// One round of work on registers, vectors and the red zone whose result is known.
__attribute__((target("avx2"), noinline)) static uint64_t work_avx(uint64_t seed)
{
    __m256i a = _mm256_set1_epi64x((long long)seed), b = _mm256_set_epi64x(4, 3, 2, 1);
    for (int i = 0; i < 200000; i++) {
        a = _mm256_add_epi64(a, b);
        b = _mm256_xor_si256(_mm256_slli_epi64(b, 1), _mm256_srli_epi64(a, 3));
    }
    return (uint64_t)(_mm256_extract_epi64(a, 0) ^ _mm256_extract_epi64(a, 3) ^ _mm256_extract_epi64(b, 2));
}

__attribute__((noinline)) static uint64_t work(uint64_t seed)
{
    uint64_t spilled[8]; // in the red zone: this is a leaf
    double f = 1.0;
    for (int i = 0; i < 8; i++)
        spilled[i] = seed + (uint64_t)i;
    for (int i = 0; i < 200000; i++) {
        spilled[i % 8] = spilled[(i + 3) % 8] * 6364136223846793005u + (uint64_t)i;
        f = f * 1.0000001 + 0.5;
    }
    uint64_t sum = (uint64_t)f;
    for (int i = 0; i < 8; i++)
        sum ^= spilled[i];
    return sum;
}

static uint64_t read_tsc(void)
{
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

static void compute_for(unsigned seconds)
{
    struct timespec start, now;
    int avx = __builtin_cpu_supports("avx2");
    uint64_t wanted = work(1), wanted_avx = avx ? work_avx(1) : 0, rounds = 0, wrong = 0;
    // How many ticks a second has, measured once: the loop below makes no system call.
    clock_gettime(CLOCK_MONOTONIC, &start);
    uint64_t tsc = read_tsc();
    do
        clock_gettime(CLOCK_MONOTONIC, &now);
    while ((now.tv_sec - start.tv_sec) * 1000000000l + now.tv_nsec - start.tv_nsec < 20000000);
    uint64_t end = read_tsc() + (read_tsc() - tsc) * 50 * seconds;
    printf("computing\n");
    fflush(stdout);
    while (read_tsc() < end) {
        wrong += work(1) != wanted;
        wrong += avx && work_avx(1) != wanted_avx;
        rounds++;
    }
    CHECK(wrong == 0 && rounds > 0);
}

int main(int argc, char **argv)
{
    check_tls();
    check_registers();
    check_vectors();
    if (argc > 1)
        compute_for((unsigned)atoi(argv[1]));
    return check_done("state");
}
