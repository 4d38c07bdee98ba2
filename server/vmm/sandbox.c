// Owns what envvm may still do once it is configured. Called by main. The filter is one table, a row per
// system call with its reason, assembled here: libseccomp takes 0.4 ms for the same, more than KVM takes for
// a virtual machine.
#include "sandbox.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/checked.h"

#define FDS_MAX     256u // a guest's connections, twice while they wait to be handed out; disks, doorbells, vCPUs
#define PROGRAM_MAX 512u
// What pthread_create() asks clone for: a thread of this process, never a process. musl adds a flag that
// Linux ignores.
#define THREAD_FLAGS   0x3d0f00u
#define CLONE_DETACHED 0x400000u

enum check { ANY, ONE_OF, NO_BITS, EQUALS, NO_SUCH_CALL };
// The last phase in which something is allowed. Filters add up, so what RUN needs, SETUP must allow too.
enum { SETUP = SANDBOX_SETUP, RUN = SANDBOX_RUN };

enum { STATM = VMCTL_STATM_FD };

// Which kinds of virtual machine.
enum { CELL = 1 << VMCTL_KIND_CELL, GUEST = 1 << VMCTL_KIND_LINUX, BOTH = CELL | GUEST };

struct value {
    uint32_t value;
    int last;
    int kinds;
};

// ioctl requests.
static const struct value requests[] = {
    {KVM_RUN, RUN, BOTH},                      // first: it is the hot one
    {KVM_IRQ_LINE, RUN, GUEST},                // devices' interrupts: hot, too
    {KVM_GET_REGS, RUN, BOTH},                 // fault reports
    {KVM_GET_SREGS, RUN, BOTH},                // set-up, fault reports, FS.base
    {KVM_SET_SREGS, RUN, CELL},                // set-up, FS.base
    {KVM_SET_SREGS, SETUP, GUEST},             // first instruction
    {KVM_KVMCLOCK_CTRL, RUN, GUEST},           // a pause, for the guest's watchdogs
    {KVM_GET_VCPU_EVENTS, RUN, GUEST},         // fault reports
    {KVM_GET_MP_STATE, RUN, GUEST},            // whether a vCPU will ever run again
    {KVM_GET_API_VERSION, SETUP, BOTH},        // host check
    {KVM_CHECK_EXTENSION, SETUP, BOTH},        // host check
    {KVM_CREATE_VM, SETUP, BOTH},              // the one VM
    {KVM_SET_TSS_ADDR, SETUP, BOTH},           // Intel CPUs want it
    {KVM_SET_USER_MEMORY_REGION, SETUP, BOTH}, // memory slots
    {KVM_CREATE_IRQCHIP, SETUP, GUEST},        // interrupt controllers
    {KVM_SET_GSI_ROUTING, SETUP, GUEST},       // interrupt controllers
    {KVM_CREATE_VCPU, SETUP, BOTH},            // the vCPUs
    {KVM_GET_VCPU_MMAP_SIZE, SETUP, BOTH},     // run page
    {KVM_GET_SUPPORTED_CPUID, SETUP, BOTH},    // CPUID table
    {KVM_SET_CPUID2, SETUP, BOTH},             // CPUID table
    {KVM_GET_MSRS, SETUP, BOTH},               // which flavour of KVM
    {KVM_SET_MSRS, SETUP, BOTH},               // system-call entry; what firmware sets
    {KVM_SET_XCRS, SETUP, BOTH},               // vector state
    {KVM_SET_REGS, SETUP, BOTH},               // first instruction
    {KVM_GET_TSC_KHZ, SETUP, CELL},            // clock page
    {KVM_SET_DEVICE_ATTR, SETUP, CELL},        // TSC offset
    {KVM_IOEVENTFD, SETUP, BOTH},              // doorbells
    {KVM_IRQFD, SETUP, GUEST},                 // the serial port's interrupt
    {TUNSETOFFLOAD, RUN, GUEST},               // what the driver of the NIC can take, when it says so
    {BLKGETSIZE64, SETUP, GUEST},              // size of a disk
};

struct rule {
    uint32_t nr;
    int last;
    int kinds;
    enum check check;
    unsigned arg;
    uint32_t value;  // EQUALS, NO_BITS
    uint32_t ignore; // EQUALS: bits that do not matter
};

static const struct rule rules[] = {
    {SYS_ioctl, RUN, BOTH, ONE_OF, 1, 0, 0},             // KVM: see requests
    {SYS_futex, RUN, BOTH, ANY, 0, 0, 0},                // idle vCPU, locks
    {SYS_epoll_pwait2, RUN, BOTH, ANY, 0, 0, 0},         // the loop
    {SYS_read, RUN, BOTH, ANY, 0, 0, 0},                 // eventfds, tap, streams
    {SYS_write, RUN, BOTH, ANY, 0, 0, 0},                // eventfds, tap, streams, last words on stderr
    {SYS_readv, RUN, BOTH, ANY, 0, 0, 0},                // tap, streams into guest buffers
    {SYS_writev, RUN, BOTH, ANY, 0, 0, 0},               // tap, streams from guest buffers
    {SYS_pread64, SETUP, BOTH, ANY, 0, 0, 0},            // ELF headers, log header
    {SYS_pwrite64, RUN, BOTH, ANY, 0, 0, 0},             // log
    {SYS_sendmsg, RUN, BOTH, ANY, 0, 0, 0},              // control socket, streams
    {SYS_recvmsg, RUN, BOTH, ANY, 0, 0, 0},              // control socket, streams
    {SYS_sendto, RUN, BOTH, ANY, 0, 0, 0},               // streams
    {SYS_recvfrom, RUN, BOTH, ANY, 0, 0, 0},             // streams
    {SYS_socketpair, RUN, BOTH, ANY, 0, 0, 0},           // a guest's connection
    {SYS_shutdown, RUN, BOTH, ANY, 0, 0, 0},             // a guest's connection
    {SYS_close, RUN, BOTH, ANY, 0, 0, 0},                // streams, loaded files
    {SYS_epoll_ctl, RUN, BOTH, ANY, 0, 0, 0},            // streams come and go
    {SYS_epoll_create1, SETUP, BOTH, ANY, 0, 0, 0},      // the loop
    {SYS_eventfd2, SETUP, BOTH, ANY, 0, 0, 0},           // doorbells
    {SYS_poll, RUN, BOTH, ANY, 0, 0, 0},                 // last words on a full control socket
    {SYS_clock_gettime, RUN, BOTH, ANY, 0, 0, 0},        // where the vDSO cannot answer
    {SYS_getrandom, RUN, BOTH, ANY, 0, 0, 0},            // boot page, rng device, stack canaries
    {SYS_fstat, SETUP, BOTH, ANY, 0, 0, 0},              // lengths of files
    {SYS_newfstatat, SETUP, BOTH, ANY, 0, 0, 0},         // the same: glibc's fstat()
    {SYS_fcntl, SETUP, BOTH, EQUALS, 1, 4, 0},           // F_SETFL: non-blocking
    {SYS_mmap, RUN, BOTH, NO_BITS, 2, PROT_EXEC, 0},     // guest memory, thread stack, malloc
    {SYS_mprotect, RUN, BOTH, NO_BITS, 2, PROT_EXEC, 0}, // stack guard, malloc
    {SYS_munmap, RUN, BOTH, ANY, 0, 0, 0},               // thread stack, malloc, the end
    {SYS_brk, RUN, BOTH, ANY, 0, 0, 0},                  // malloc
    {SYS_madvise, RUN, BOTH, ANY, 0, 0, 0},              // a thread's end, malloc, what a guest gives back
    {SYS_preadv, RUN, BOTH, EQUALS, 0, STATM, 0},        // figures: how much of the guest's memory is there
    {SYS_rt_sigaction, RUN, BOTH, ANY, 0, 0, 0},         // kick signal
    {SYS_rt_sigprocmask, RUN, BOTH, ANY, 0, 0, 0},       // kick signal, thread start and end
    {SYS_rt_sigreturn, RUN, BOTH, ANY, 0, 0, 0},         // kick signal
    {SYS_tgkill, RUN, BOTH, ANY, 0, 0, 0},               // kick signal
    {SYS_gettid, RUN, BOTH, ANY, 0, 0, 0},               // kick signal: whom
    {SYS_getpid, RUN, BOTH, ANY, 0, 0, 0},               // kick signal: whom
    {SYS_restart_syscall, RUN, BOTH, ANY, 0, 0, 0},      // after a stop signal
    {SYS_clone, RUN, BOTH, EQUALS, 0, THREAD_FLAGS, CLONE_DETACHED}, // the vCPU thread
    {SYS_clone3, RUN, BOTH, NO_SUCH_CALL, 0, 0, 0}, // its flags cannot be checked: glibc falls back to clone
    {SYS_set_robust_list, RUN, BOTH, ANY, 0, 0, 0}, // a thread's start
    {SYS_rseq, RUN, BOTH, ANY, 0, 0, 0},            // a thread's start
    {SYS_seccomp, SETUP, BOTH, ANY, 0, 0, 0},       // the next phase
    {SYS_exit, RUN, BOTH, ANY, 0, 0, 0},            // a thread's end
    {SYS_exit_group, RUN, BOTH, ANY, 0, 0, 0},      // the end
    // Disks of Linux guests.
    {SYS_io_uring_enter, RUN, GUEST, ANY, 0, 0, 0},      // disks; what may be submitted is fixed before
    {SYS_io_uring_setup, SETUP, GUEST, ANY, 0, 0, 0},    // a ring for each disk
    {SYS_io_uring_register, SETUP, GUEST, ANY, 0, 0, 0}, // its restrictions and its eventfd
    {SYS_flock, RUN, GUEST, ANY, 0, 0, 0},               // one writer for each disk
    {SYS_ftruncate, SETUP, GUEST, ANY, 0, 0, 0},         // a new overlay
    {SYS_fsync, SETUP, GUEST, ANY, 0, 0, 0},             // a new overlay
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    // The sanitizers' run time; such builds are for tests only.
    {SYS_sigaltstack, RUN, BOTH, ANY, 0, 0, 0},
    {SYS_sched_yield, RUN, BOTH, ANY, 0, 0, 0},
    {SYS_prctl, RUN, BOTH, ANY, 0, 0, 0},
    {SYS_readlink, RUN, BOTH, ANY, 0, 0, 0},
    {SYS_openat, RUN, BOTH, NO_SUCH_CALL, 0, 0, 0},
    {SYS_sched_getaffinity, RUN, BOTH, ANY, 0, 0, 0},
    {SYS_getrlimit, RUN, BOTH, ANY, 0, 0, 0},
    {SYS_prlimit64, RUN, BOTH, ANY, 0, 0, 0},
    {SYS_gettimeofday, RUN, BOTH, ANY, 0, 0, 0},
    {SYS_clock_nanosleep, RUN, BOTH, ANY, 0, 0, 0},
    {SYS_nanosleep, RUN, BOTH, ANY, 0, 0, 0},
#endif
};

struct assembler {
    int phase, kind;
    struct sock_filter code[PROGRAM_MAX];
    unsigned short n;
    bool too_far; // a jump did not fit into its 8 bits
};

static void emit(struct assembler *a, uint16_t code, uint32_t k, uint8_t if_true, uint8_t if_false)
{
    if (a->n < PROGRAM_MAX)
        a->code[a->n++] = (struct sock_filter){.code = code, .jt = if_true, .jf = if_false, .k = k};
}

static void emit_load(struct assembler *a, uint32_t offset)
{
    emit(a, BPF_LD | BPF_W | BPF_ABS, offset, 0, 0);
}

static void emit_return(struct assembler *a, uint32_t action)
{
    emit(a, BPF_RET | BPF_K, action, 0, 0);
}

// The low half: requests, protections and clone flags are 32 bits wide.
static uint32_t arg_offset(unsigned arg)
{
    return (uint32_t)(offsetof(struct seccomp_data, args) + arg * sizeof(uint64_t));
}

static bool request_allowed(const struct value *v, const struct assembler *a)
{
    return v->last >= a->phase && (v->kinds & a->kind);
}

static uint8_t count_requests(const struct assembler *a)
{
    uint8_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(requests); i++)
        n += request_allowed(&requests[i], a);
    return n;
}

// load; equal to the first: to the allow at the end; … ; kill; allow
static void emit_one_of(struct assembler *a, unsigned arg)
{
    uint8_t left = count_requests(a);
    emit_load(a, arg_offset(arg));
    for (size_t i = 0; i < ARRAY_LEN(requests); i++)
        if (request_allowed(&requests[i], a))
            emit(a, BPF_JMP | BPF_JEQ | BPF_K, requests[i].value, left--, 0);
    emit_return(a, SECCOMP_RET_KILL_PROCESS);
    emit_return(a, SECCOMP_RET_ALLOW);
}

static void emit_check(struct assembler *a, const struct rule *r)
{
    switch (r->check) {
    case ANY:
        break;
    case NO_SUCH_CALL:
        emit_return(a, SECCOMP_RET_ERRNO | ENOSYS);
        return;
    case ONE_OF:
        emit_one_of(a, r->arg);
        return;
    case NO_BITS:
        emit_load(a, arg_offset(r->arg));
        emit(a, BPF_JMP | BPF_JSET | BPF_K, r->value, 0, 1);
        emit_return(a, SECCOMP_RET_KILL_PROCESS);
        break;
    case EQUALS:
        emit_load(a, arg_offset(r->arg));
        emit(a, BPF_ALU | BPF_AND | BPF_K, ~r->ignore, 0, 0);
        emit(a, BPF_JMP | BPF_JEQ | BPF_K, r->value, 1, 0);
        emit_return(a, SECCOMP_RET_KILL_PROCESS);
        break;
    }
    emit_return(a, SECCOMP_RET_ALLOW);
}

// A search tree over sorted[0..n): few steps per call. And few for the kernel, which tries every number
// beforehand: that is most of what installing a filter takes.
static void emit_tree(struct assembler *a, const struct rule *const *sorted, size_t n)
{
    if (n == 1) {
        emit(a, BPF_JMP | BPF_JEQ | BPF_K, sorted[0]->nr, 1, 0);
        emit_return(a, SECCOMP_RET_KILL_PROCESS);
        emit_check(a, sorted[0]);
        return;
    }
    const size_t half = n / 2;
    const unsigned short branch = a->n;
    emit(a, BPF_JMP | BPF_JGE | BPF_K, sorted[half]->nr, 0, 0);
    emit_tree(a, sorted, half);
    const unsigned over = a->n - branch - 1u;
    a->too_far = a->too_far || over > UINT8_MAX;
    if (branch < PROGRAM_MAX)
        a->code[branch].jt = (uint8_t)over;
    emit_tree(a, sorted + half, n - half);
}

static void assemble(struct assembler *a)
{
    const struct rule *sorted[ARRAY_LEN(rules)];
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        if (rules[i].last < a->phase || !(rules[i].kinds & a->kind))
            continue;
        size_t at = n++;
        for (; at > 0 && sorted[at - 1]->nr > rules[i].nr; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = &rules[i];
    }
    a->n = 0;
    a->too_far = false;
    emit_load(a, offsetof(struct seccomp_data, arch));
    emit(a, BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0);
    emit_return(a, SECCOMP_RET_KILL_PROCESS);
    emit_load(a, offsetof(struct seccomp_data, nr));
    emit_tree(a, sorted, n); // x32 calls have numbers of their own, which no rule has
}

int sandbox_enter(enum sandbox_phase phase, enum vmctl_kind kind, struct err *err)
{
    struct assembler a;
    a.phase = (int)phase;
    a.kind = 1 << kind;
    assemble(&a);
    if (a.n == PROGRAM_MAX || a.too_far)
        return err_set(err, -E2BIG, "the system-call filter is too long");
    const struct sock_fprog program = {.len = a.n, .filter = a.code};
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
        return err_errno(err, -errno, "install the system-call filter");
    return 0;
}

// ---- descriptors, capabilities, limits ----

static int compare_fds(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

static int close_fds(unsigned first, unsigned last)
{
    return (int)syscall(SYS_close_range, first, last, 0); // musl has no wrapper
}

// Everything above stderr that is not kept.
static int close_others(const int *keep, unsigned n, struct err *err)
{
    int sorted[32];
    if (n > ARRAY_LEN(sorted))
        return err_set(err, -E2BIG, "too many descriptors to keep");
    for (unsigned i = 0; i < n; i++)
        sorted[i] = keep[i];
    qsort(sorted, n, sizeof sorted[0], compare_fds);
    unsigned first = STDERR_FILENO + 1;
    for (unsigned i = 0; i < n; i++) {
        if (sorted[i] < (int)first)
            continue; // -1, or a standard one
        if ((unsigned)sorted[i] > first && close_fds(first, (unsigned)sorted[i] - 1) < 0)
            return err_errno(err, -errno, "close other descriptors");
        first = (unsigned)sorted[i] + 1;
    }
    if (close_fds(first, ~0u) < 0)
        return err_errno(err, -errno, "close other descriptors");
    return 0;
}

static int drop_capabilities(struct err *err)
{
    // The bounding set stays as envpriv left it: it matters for execve() only, which no_new_privs and the
    // filter rule out.
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    const struct __user_cap_data_struct none[2] = {0};
    if (syscall(SYS_capset, &head, none) < 0)
        return err_errno(err, -errno, "drop capabilities");
    return 0;
}

static int lower_limit(int resource, uint64_t value, const char *name, struct err *err)
{
    struct rlimit limit; // by number: glibc's prototypes have an enum that musl lacks
    // envpriv may have set a tighter one, which cannot be raised.
    if (syscall(SYS_prlimit64, 0, resource, NULL, &limit) == 0 && limit.rlim_max <= value)
        return 0;
    limit = (struct rlimit){.rlim_cur = value, .rlim_max = value};
    if (syscall(SYS_prlimit64, 0, resource, &limit, NULL) < 0)
        return err_errno(err, -errno, "lower the limit %s to %llu", name, (unsigned long long)value);
    return 0;
}

int sandbox_drop(const int *keep, unsigned n, enum vmctl_kind kind, uint64_t max_log_bytes, struct err *err)
{
    int rc = close_others(keep, n, err);
    if (rc == 0)
        rc = drop_capabilities(err);
    if (rc == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        rc = err_errno(err, -errno, "set no_new_privs");
    if (rc == 0)
        rc = lower_limit(RLIMIT_CORE, 0, "CORE", err); // guest memory must not end up in a file
    if (rc == 0)
        rc = lower_limit(RLIMIT_NOFILE, FDS_MAX, "NOFILE", err);
    // Disks may be of any size.
    if (rc == 0 && kind == VMCTL_KIND_CELL)
        rc = lower_limit(RLIMIT_FSIZE, max_log_bytes, "FSIZE", err); // no file grows
    return rc;
}
