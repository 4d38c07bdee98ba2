// For guest test programs: CHECK(condition) counts and names failures; check_done() is main's result.
#pragma once

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int check_failures;

static inline unsigned long check_opaque(unsigned long n)
{
    __asm__ volatile("" : "+r"(n));
    return n;
}

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            printf("FAILED %s:%d: %s (errno %d, %s)\n", __FILE__, __LINE__, #condition, errno,               \
                   strerror(errno));                                                                         \
            check_failures++;                                                                                \
        }                                                                                                    \
    } while (0)

// An address that the compiler knows nothing about.
#define ADDRESS(n) ((void *)check_opaque(n))

// True when the call failed with this errno.
#define FAILS(call, wanted) (errno = 0, (call) == -1 && errno == (wanted))

static int check_done(const char *name)
{
    printf("%s: %s\n", name, check_failures ? "FAILED" : "ok");
    return check_failures ? 1 : 0;
}
