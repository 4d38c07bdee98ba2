// System call numbers to handlers, and what happens around each call.
#include <asm/unistd_64.h>
#include <linux/errno.h>

#include "base/kernel.h"
#include "base/wait.h"
#include "sys/handlers.h"

// Generated from the kernel's headers: [number] = "name".
static const char *const names[] = {
#include "syscall_names.h"
};

static syscall_fn *const table[] = {
    [__NR_brk] = sys_brk,
    [__NR_mmap] = sys_mmap,
    [__NR_munmap] = sys_munmap,
    [__NR_mprotect] = sys_mprotect,
    [__NR_madvise] = sys_madvise,
    [__NR_mremap] = sys_mremap,
    [__NR_msync] = sys_nothing,
    [__NR_mlock] = sys_nothing,
    [__NR_mlock2] = sys_nothing,
    [__NR_munlock] = sys_nothing,
    [__NR_mlockall] = sys_nothing,
    [__NR_munlockall] = sys_nothing,

    [__NR_read] = sys_read,
    [__NR_write] = sys_write,
    [__NR_readv] = sys_readv,
    [__NR_writev] = sys_writev,
    [__NR_pread64] = sys_pread64,
    [__NR_pwrite64] = sys_pwrite64,
    [__NR_preadv] = sys_preadv,
    [__NR_pwritev] = sys_pwritev,
    [__NR_lseek] = sys_lseek,
    [__NR_close] = sys_close,
    [__NR_close_range] = sys_close_range,
    [__NR_dup] = sys_dup,
    [__NR_dup2] = sys_dup2,
    [__NR_dup3] = sys_dup3,
    [__NR_fcntl] = sys_fcntl,
    [__NR_ioctl] = sys_ioctl,
    [__NR_sendfile] = sys_sendfile,
    [__NR_getdents64] = sys_getdents64,
    [__NR_ftruncate] = sys_ftruncate,
    [__NR_fallocate] = sys_fallocate,
    [__NR_fsync] = sys_fsync,
    [__NR_fdatasync] = sys_fsync,
    [__NR_flock] = sys_fsync,
    [__NR_fadvise64] = sys_fsync,
    [__NR_readahead] = sys_fsync,
    [__NR_syncfs] = sys_fsync,
    [__NR_sync] = sys_nothing,
    [__NR_copy_file_range] = sys_absent,
    [__NR_splice] = sys_absent,

    [__NR_stat] = sys_stat,
    [__NR_lstat] = sys_lstat,
    [__NR_fstat] = sys_fstat,
    [__NR_newfstatat] = sys_newfstatat,
    [__NR_statx] = sys_statx,
    [__NR_statfs] = sys_statfs,
    [__NR_fstatfs] = sys_fstatfs,

    [__NR_open] = sys_open,
    [__NR_openat] = sys_openat,
    [__NR_openat2] = sys_absent,
    [__NR_creat] = sys_creat,
    [__NR_access] = sys_access,
    [__NR_faccessat] = sys_faccessat,
    [__NR_faccessat2] = sys_faccessat,
    [__NR_readlink] = sys_readlink,
    [__NR_readlinkat] = sys_readlinkat,
    [__NR_getcwd] = sys_getcwd,
    [__NR_chdir] = sys_chdir,
    [__NR_fchdir] = sys_fchdir,
    [__NR_truncate] = sys_truncate,
    [__NR_umask] = sys_umask,

    [__NR_mkdir] = sys_mkdir,
    [__NR_mkdirat] = sys_mkdirat,
    [__NR_rmdir] = sys_rmdir,
    [__NR_unlink] = sys_unlink,
    [__NR_unlinkat] = sys_unlinkat,
    [__NR_rename] = sys_rename,
    [__NR_renameat] = sys_renameat,
    [__NR_renameat2] = sys_renameat2,
    [__NR_symlink] = sys_symlink,
    [__NR_symlinkat] = sys_symlinkat,
    [__NR_link] = sys_forbidden,
    [__NR_linkat] = sys_forbidden,
    [__NR_mknod] = sys_forbidden,
    [__NR_mknodat] = sys_forbidden,
    [__NR_chmod] = sys_chmod,
    [__NR_fchmod] = sys_fchmod,
    [__NR_fchmodat] = sys_fchmodat,
    [__NR_chown] = sys_chown,
    [__NR_lchown] = sys_chown,
    [__NR_fchown] = sys_fchown,
    [__NR_fchownat] = sys_fchownat,
    [__NR_utimensat] = sys_utimensat,

    [__NR_clock_gettime] = sys_clock_gettime,
    [__NR_clock_getres] = sys_clock_getres,
    [__NR_gettimeofday] = sys_gettimeofday,
    [__NR_time] = sys_time,
    [__NR_nanosleep] = sys_nanosleep,
    [__NR_clock_nanosleep] = sys_clock_nanosleep,
    [__NR_times] = sys_times,
    [__NR_getrusage] = sys_getrusage,

    [__NR_poll] = sys_poll,
    [__NR_ppoll] = sys_ppoll,
    [__NR_select] = sys_select,
    [__NR_pselect6] = sys_pselect6,
    [__NR_epoll_create] = sys_epoll_create,
    [__NR_epoll_create1] = sys_epoll_create1,
    [__NR_epoll_ctl] = sys_epoll_ctl,
    [__NR_epoll_wait] = sys_epoll_wait,
    [__NR_epoll_pwait] = sys_epoll_wait,

    [__NR_pipe] = sys_pipe,
    [__NR_pipe2] = sys_pipe2,
    [__NR_eventfd] = sys_eventfd,
    [__NR_eventfd2] = sys_eventfd2,
    [__NR_timerfd_create] = sys_timerfd_create,
    [__NR_timerfd_settime] = sys_timerfd_settime,
    [__NR_timerfd_gettime] = sys_timerfd_gettime,

    [__NR_socket] = sys_socket,
    [__NR_connect] = sys_connect,
    [__NR_sendto] = sys_sendto,
    [__NR_recvfrom] = sys_recvfrom,
    [__NR_sendmsg] = sys_sendmsg,
    [__NR_recvmsg] = sys_recvmsg,
    [__NR_shutdown] = sys_shutdown,
    [__NR_getsockopt] = sys_getsockopt,
    [__NR_setsockopt] = sys_setsockopt,
    [__NR_getsockname] = sys_getsockname,
    [__NR_getpeername] = sys_getpeername,
    [__NR_bind] = sys_no_listener,
    [__NR_listen] = sys_no_listener,
    [__NR_accept] = sys_no_listener,
    [__NR_accept4] = sys_no_listener,

    [__NR_exit] = sys_exit,
    [__NR_exit_group] = sys_exit,
    [__NR_uname] = sys_uname,
    [__NR_sysinfo] = sys_sysinfo,
    [__NR_getpid] = sys_one,
    [__NR_gettid] = sys_one,
    [__NR_getppid] = sys_nothing,
    [__NR_getpgrp] = sys_one,
    [__NR_getpgid] = sys_one,
    [__NR_getsid] = sys_one,
    [__NR_setpgid] = sys_nothing,
    [__NR_setsid] = sys_one,
    [__NR_getuid] = sys_nothing,
    [__NR_geteuid] = sys_nothing,
    [__NR_getgid] = sys_nothing,
    [__NR_getegid] = sys_nothing,
    [__NR_getresuid] = sys_getresid,
    [__NR_getresgid] = sys_getresid,
    [__NR_setuid] = sys_nothing,
    [__NR_setgid] = sys_nothing,
    [__NR_setgroups] = sys_nothing,
    [__NR_getgroups] = sys_getgroups,
    [__NR_prlimit64] = sys_prlimit64,
    [__NR_getrlimit] = sys_getrlimit,
    [__NR_setrlimit] = sys_nothing,
    [__NR_arch_prctl] = sys_arch_prctl,
    [__NR_set_tid_address] = sys_set_tid_address,
    [__NR_set_robust_list] = sys_nothing,
    [__NR_rseq] = sys_absent,
    [__NR_futex] = sys_futex,
    [__NR_sched_yield] = sys_nothing,
    [__NR_sched_getaffinity] = sys_sched_getaffinity,
    [__NR_sched_setaffinity] = sys_nothing,
    [__NR_membarrier] = sys_membarrier,
    [__NR_getcpu] = sys_getcpu,
    [__NR_getrandom] = sys_getrandom,
    [__NR_prctl] = sys_prctl,
    [__NR_wait4] = sys_wait4,
    [__NR_getpriority] = sys_nothing,
    [__NR_setpriority] = sys_nothing,

    [__NR_rt_sigaction] = sys_rt_sigaction,
    [__NR_rt_sigprocmask] = sys_rt_sigprocmask,
    [__NR_rt_sigpending] = sys_rt_sigpending,
    [__NR_sigaltstack] = sys_sigaltstack,
    [__NR_kill] = sys_kill,
    [__NR_tkill] = sys_tkill,
    [__NR_tgkill] = sys_tgkill,
    [__NR_pause] = sys_pause,
    [__NR_rt_sigsuspend] = sys_pause,
};

int64_t sys_nothing(const uint64_t a[6])
{
    (void)a;
    return 0;
}

int64_t sys_absent(const uint64_t a[6])
{
    (void)a;
    return -ENOSYS;
}

int64_t sys_forbidden(const uint64_t a[6])
{
    (void)a;
    return -EPERM;
}

// Says once per number what the program asks for and does not get.
static int64_t unsupported(uint64_t number)
{
    static uint64_t said[ARRAY_LEN(names) / 64 + 1];
    size_t slot = number < ARRAY_LEN(names) ? number : ARRAY_LEN(names); // one for all that have no name
    if (said[slot / 64] >> (slot % 64) & 1)
        return -ENOSYS;
    said[slot / 64] |= 1ull << (slot % 64);
    kernel_log("system call %s (%lu) is not supported",
               slot < ARRAY_LEN(names) && names[slot] ? names[slot] : "without a name", number);
    return -ENOSYS;
}

int64_t syscall_dispatch(uint64_t number, const uint64_t a[6])
{
    syscall_fn *handler = number < ARRAY_LEN(table) ? table[number] : NULL;
    int64_t rc = handler ? handler(a) : unsupported(number);
    syscall_return_to_program();
    return rc;
}

void upcall_serve(void)
{
    wait_poll();
    syscall_return_to_program();
}

// envvm sets `pending` and then looks whether the kernel is in; the kernel says that it leaves and then looks
// at `pending`.
void syscall_return_to_program(void)
{
    struct cell_shared *shared = cell_shared();
    wait_run_timers();
    for (;;) {
        shared->in_kernel = 0;
        memory_fence();
        if (!shared->pending)
            return;
        shared->in_kernel = 1;
        wait_poll();
        wait_run_timers();
    }
}
