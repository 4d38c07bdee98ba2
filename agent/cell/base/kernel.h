// What every part of the cell kernel may use: the pages shared with envvm, its ports, the log, giving up. The
// kernel is single threaded and never interrupted: an upcall happens only while the program runs.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/cell.h"

#define ARRAY_LEN(a)  (sizeof(a) / sizeof((a)[0]))
#define PAGE_BYTES    4096u
#define NS_PER_SECOND 1000000000ull
#define NEVER         UINT64_MAX

// Large memory that a start does not touch: kept apart, so that what it does touch lies on few pages.
#define KERNEL_COLD __attribute__((section(".bss.cold"), aligned(64)))

static inline const struct cell_boot *cell_boot(void)
{
    return (const struct cell_boot *)(uintptr_t)CELL_BOOT_GPA;
}

static inline struct cell_shared *cell_shared(void)
{
    return (struct cell_shared *)(uintptr_t)CELL_SHARED_GPA;
}

static inline void port_out(uint16_t port, uint32_t value)
{
    __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

// Orders what this vCPU wrote before what it reads next, as envvm's threads see it.
static inline void memory_fence(void)
{
    __asm__ volatile("mfence" : : : "memory");
}

static inline void compiler_barrier(void)
{
    __asm__ volatile("" : : : "memory");
}

static inline uint64_t page_round_up(uint64_t bytes)
{
    return (bytes + PAGE_BYTES - 1) & ~(uint64_t)(PAGE_BYTES - 1);
}

// One line of the environment's log, "cell: <text>". Dropped when the console has no room at the moment.
__attribute__((format(printf, 1, 2))) void kernel_log(const char *format, ...);
// Tells envvm why and stops the vCPU for good.
__attribute__((format(printf, 1, 2), noreturn)) void kernel_panic(const char *format, ...);
