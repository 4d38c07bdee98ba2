// Every system call that is served; the table is in sys/table.c. Grouped by the file that serves them.
#pragma once

#include "sys/syscall.h"

// sys/table.c: 0 without doing anything; -ENOSYS without a word, for calls that programs only try; -EPERM
syscall_fn sys_nothing, sys_absent, sys_forbidden;
// sys/memory.c
syscall_fn sys_brk, sys_mmap, sys_munmap, sys_mprotect, sys_madvise, sys_mremap;
// sys/files.c
syscall_fn sys_read, sys_write, sys_readv, sys_writev, sys_pread64, sys_pwrite64, sys_preadv, sys_pwritev,
    sys_lseek, sys_close, sys_close_range, sys_dup, sys_dup2, sys_dup3, sys_fcntl, sys_ioctl, sys_sendfile,
    sys_getdents64, sys_ftruncate, sys_fallocate, sys_fsync;
// sys/stat.c
syscall_fn sys_stat, sys_lstat, sys_fstat, sys_newfstatat, sys_statx, sys_statfs, sys_fstatfs;
// sys/paths.c
syscall_fn sys_open, sys_openat, sys_creat, sys_access, sys_faccessat, sys_readlink, sys_readlinkat,
    sys_getcwd, sys_chdir, sys_fchdir, sys_truncate, sys_umask;
// sys/names.c
syscall_fn sys_mkdir, sys_mkdirat, sys_rmdir, sys_unlink, sys_unlinkat, sys_rename, sys_renameat,
    sys_renameat2, sys_symlink, sys_symlinkat, sys_chmod, sys_fchmod, sys_fchmodat, sys_chown, sys_fchown,
    sys_fchownat, sys_utimensat;
// sys/time.c
syscall_fn sys_clock_gettime, sys_clock_getres, sys_gettimeofday, sys_time, sys_nanosleep,
    sys_clock_nanosleep, sys_times, sys_getrusage;
// sys/poll.c
syscall_fn sys_poll, sys_ppoll, sys_select, sys_pselect6, sys_epoll_create, sys_epoll_create1, sys_epoll_ctl,
    sys_epoll_wait;
// sys/events.c
syscall_fn sys_pipe, sys_pipe2, sys_eventfd, sys_eventfd2, sys_timerfd_create, sys_timerfd_settime,
    sys_timerfd_gettime;
// sys/socket.c
syscall_fn sys_socket, sys_connect, sys_sendto, sys_recvfrom, sys_sendmsg, sys_recvmsg, sys_shutdown,
    sys_getsockopt, sys_setsockopt, sys_getsockname, sys_getpeername, sys_no_listener;
// sys/process.c
syscall_fn sys_exit, sys_uname, sys_sysinfo, sys_one, sys_getresid, sys_prlimit64, sys_getrlimit,
    sys_arch_prctl, sys_set_tid_address, sys_futex, sys_sched_getaffinity, sys_getrandom, sys_prctl,
    sys_getgroups, sys_wait4, sys_getcpu, sys_membarrier;
// sys/signal.c
syscall_fn sys_rt_sigaction, sys_rt_sigprocmask, sys_rt_sigpending, sys_sigaltstack, sys_kill, sys_tkill,
    sys_tgkill, sys_pause;
