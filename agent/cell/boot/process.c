// See process.h.
#include "boot/process.h"

#include <linux/auxvec.h>

#include "agent.h"
#include "base/clock.h"
#include "base/kernel.h"
#include "base/random.h"
#include "base/string.h"
#include "drivers/console.h"
#include "fs/file.h"
#include "mem/pages.h"
#include "sys/memory.h"
#include "sys/syscall.h"

#define STACK_MAX       (8u << 20)
#define STACK_MIN       (64u << 10)
#define SIGNAL_TERM     15
#define HWCAP2_FSGSBASE 2
#define SIGNAL_STACK    4096 // AT_MINSIGSTKSZ: signals are not delivered, but libraries size buffers by it
#define TICKS_PER_S     100
#define FINISH_NS       (200 * 1000000ull)

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

__attribute__((noreturn)) void enter_program(uint64_t entry, uint64_t stack);

static uint64_t stack_bytes;
static uint64_t end_ns; // 0: nobody asked for an end

// Grows down from the top, as the program will.
struct stack {
    uint64_t *at;
    uint64_t *limit;
};

static void push(struct stack *s, uint64_t v)
{
    if (s->at == s->limit)
        kernel_panic("the arguments do not fit the stack");
    *--s->at = v;
}

static void push_aux(struct stack *s, uint64_t type, uint64_t value)
{
    push(s, value);
    push(s, type);
}

// The addresses of n strings that follow one another from *at; *at ends after the last. Pushed backwards by
// the caller.
static const char *skip_strings(const char *at, uint32_t n)
{
    while (n--)
        at += strlen(at) + 1;
    return at;
}

// Pushes the addresses of the n strings at `first`, and the NULL that ends them, so that they read forwards.
static void push_strings(struct stack *s, const char *first, uint32_t n)
{
    push(s, 0);
    if ((uint64_t)(s->at - s->limit) <= n)
        kernel_panic("the arguments do not fit the stack");
    s->at -= n;
    for (uint32_t i = 0; i < n; i++) {
        s->at[i] = (uintptr_t)first;
        first += strlen(first) + 1;
    }
}

static void push_auxv(struct stack *s, const struct cell_boot *boot, uint64_t random, uint64_t platform)
{
    push_aux(s, AT_NULL, 0);
    push_aux(s, AT_EXECFN, (uintptr_t)process_name());
    push_aux(s, AT_PLATFORM, platform);
    push_aux(s, AT_MINSIGSTKSZ, SIGNAL_STACK);
    push_aux(s, AT_RANDOM, random);
    push_aux(s, AT_SECURE, 0);
    push_aux(s, AT_EGID, 0);
    push_aux(s, AT_GID, 0);
    push_aux(s, AT_EUID, 0);
    push_aux(s, AT_UID, 0);
    push_aux(s, AT_ENTRY, boot->program_entry);
    push_aux(s, AT_FLAGS, 0);
    push_aux(s, AT_BASE, 0);
    push_aux(s, AT_PHNUM, boot->program_phnum);
    push_aux(s, AT_PHENT, boot->program_phent);
    push_aux(s, AT_PHDR, boot->program_phdr);
    push_aux(s, AT_CLKTCK, TICKS_PER_S);
    push_aux(s, AT_PAGESZ, PAGE_BYTES);
    push_aux(s, AT_HWCAP, boot->hwcap);
    push_aux(s, AT_HWCAP2, boot->cpu_has_fsgsbase ? HWCAP2_FSGSBASE : 0);
}

// The stack as a new program finds it (System V ABI for x86-64, 3.4.1). Strings stay where envvm put them.
static uint64_t build_stack(uintptr_t bottom, uintptr_t top)
{
    const struct cell_boot *boot = cell_boot();
    struct stack s = {(uint64_t *)top, (uint64_t *)bottom + 64};
    uint64_t platform_text[2] = {0}, random[2];
    memcpy(platform_text, "x86_64", 6);
    random_bytes(random, sizeof random);
    push(&s, 0);
    push(&s, platform_text[0]);
    uint64_t platform_at = (uintptr_t)s.at;
    push(&s, random[1]);
    push(&s, random[0]);
    uint64_t random_at = (uintptr_t)s.at;
    // argc must lie at a multiple of 16: one word of padding when what follows is odd.
    if ((boot->n_args + boot->n_env + 3) % 2)
        push(&s, 0);
    push_auxv(&s, boot, random_at, platform_at);
    const char *args = (const char *)(uintptr_t)CELL_ARGS_GPA;
    push_strings(&s, skip_strings(args, boot->n_args), boot->n_env);
    push_strings(&s, args, boot->n_args);
    push(&s, boot->n_args);
    return (uintptr_t)s.at;
}

void process_start(void)
{
    const struct cell_boot *boot = cell_boot();
    stack_bytes = pages_total() * PAGE_BYTES / 4 & ~(uint64_t)(PAGE_BYTES - 1);
    if (stack_bytes > STACK_MAX)
        stack_bytes = STACK_MAX;
    uintptr_t bottom = stack_bytes < STACK_MIN ? 0 : pages_map(stack_bytes / PAGE_BYTES);
    if (!bottom)
        kernel_panic("no memory for the program's stack: %zu KiB are free",
                     pages_free_count() * PAGE_BYTES / 1024);
    memory_init(boot->program_end, boot->heap_start);
    clock_start();
    uint64_t stack = build_stack(bottom, bottom + stack_bytes);
    syscall_return_to_program();
    enter_program(boot->program_entry, stack);
}

void process_exit(int status)
{
    agent_program_ended();
    files_close_all();
    agent_finish(FINISH_NS);
    console_flush();
    for (;;)
        port_out(CELL_PORT_EXIT, (uint32_t)status & 0xff);
}

void process_kill(int signal)
{
    process_exit(128 + signal);
}

void process_end_by(uint64_t monotonic_ns)
{
    if (!end_ns || monotonic_ns < end_ns)
        end_ns = monotonic_ns;
}

uint64_t process_end_ns(void)
{
    return end_ns ? end_ns : NEVER;
}

void process_check_end(uint64_t now_ns)
{
    if (!end_ns || now_ns < end_ns)
        return;
    end_ns = 0; // the exit waits, and waiting looks here
    process_kill(SIGNAL_TERM);
}

uint64_t process_stack_bytes(void)
{
    return stack_bytes;
}

const char *process_name(void)
{
    return cell_boot()->n_args ? (const char *)(uintptr_t)CELL_ARGS_GPA : "";
}
