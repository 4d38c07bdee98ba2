// Owns how an envvm is started: what the child does between clone and execve, in order. Called by spawn.c.
#include "jail.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "caps.h"
#include "common/checked.h"
#include "common/cleanup.h"
#include "common/io.h"
#include "proto/vmctl.h"

#define DESCRIPTORS_MAX 256 // sockets of streams to envd, KVM's, the devices'
#define SIGNALS_MAX     64
#define CHILDS_FDS      (VMCTL_STATM_FD + 1)

// A descriptor where none that a child arranges for envvm can replace it.
static int above_the_childs(int fd)
{
    return fcntl(fd, F_DUPFD_CLOEXEC, CHILDS_FDS);
}

// What the steps below work with, in the child.
struct child {
    const struct jail *jail;
    const struct jail_request *request;
};

static int enter_cgroup(const struct child *c)
{
    if (c->request->entry->version != CGROUP_V1)
        return 0; // version 2: born there
    for (unsigned i = 0; i < c->request->entry->n; i++)
        if (write(c->request->entry->fd[i], "0", 1) != 1)
            return -errno;
    return 0;
}

// In the order of their numbers: none replaces one that is still needed. What is above them is closed by the
// execve, whatever it is.
static int set_descriptors(const struct child *c)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (dup2(c->jail->null, fd) < 0)
            return -errno;
    if (dup2(c->request->control, VMCTL_FD) < 0 || fcntl(VMCTL_FD, F_SETFD, 0) < 0)
        return -errno;
    // While there is a /proc. It tells the sizes of this process and nothing else.
    int statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (statm < 0 || dup2(statm, VMCTL_STATM_FD) < 0 || fcntl(VMCTL_STATM_FD, F_SETFD, 0) < 0)
        return -errno;
    return syscall(SYS_close_range, CHILDS_FDS, ~0u, CLOSE_RANGE_CLOEXEC) < 0 ? -errno : 0;
}

static int leave_host(const struct child *c)
{
    int spare = c->jail->n_spare_nets > 0 ? c->jail->spare_nets[c->jail->n_spare_nets - 1] : -1;
    if (setns(c->jail->empty_root, CLONE_NEWNS) < 0 || (spare >= 0 && setns(spare, CLONE_NEWNET) < 0))
        return -errno;
    const int new_net = spare >= 0 ? 0 : CLONE_NEWNET;
    return unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | new_net) < 0 ? -errno : 0;
}

static int set_host_name(const struct child *c)
{
    return sethostname(c->request->host_name, strlen(c->request->host_name)) < 0 ? -errno : 0;
}

static int set_limits(const struct child *c)
{
    const struct {
        int resource;
        rlim_t value;
    } limits[] = {
        {RLIMIT_CORE, 0}, // a core would hold the guest's memory
        {RLIMIT_NOFILE, DESCRIPTORS_MAX},
        {RLIMIT_NPROC, c->request->pids_max},
        {RLIMIT_FSIZE, c->request->file_bytes_max}, // log and disks have the size they will ever have
        {RLIMIT_MEMLOCK, 0},
        {RLIMIT_MSGQUEUE, 0},
        {RLIMIT_SIGPENDING, SIGNALS_MAX},
        {RLIMIT_RTPRIO, 0},
    };
    for (unsigned i = 0; i < ARRAY_LEN(limits); i++) {
        struct rlimit limit;
        if (getrlimit(limits[i].resource, &limit) < 0)
            return -errno;
        if (limit.rlim_max > limits[i].value) // one that is tighter already cannot be raised
            limit.rlim_max = limits[i].value;
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(limits[i].resource, &limit) < 0)
            return -errno;
    }
    return 0;
}

static int empty_bounding_set(const struct child *c)
{
    (void)c;
    return caps_drop_bounding();
}

// The raw system calls: the C library's would signal threads that do not exist here.
static int change_user(const struct child *c)
{
    if (syscall(SYS_setgroups, 0, NULL) < 0 ||
        syscall(SYS_setresgid, c->request->uid, c->request->uid, c->request->uid) < 0 ||
        syscall(SYS_setresuid, c->request->uid, c->request->uid, c->request->uid) < 0)
        return -errno;
    return 0;
}

static int drop_capabilities(const struct child *c)
{
    (void)c;
    return caps_clear();
}

// The parent may have died before the signal was asked for. It sends that signal and turns into a zombie in
// one critical section of the task list's lock, which setsid() takes too: so if the signal came too late, the
// zombie shows by now.
static int die_with_parent(const struct child *c)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || setsid() < 0)
        return -errno;
    struct pollfd parent = {.fd = c->jail->parent, .events = POLLIN};
    int n = poll(&parent, 1, 0);
    return n < 0 ? -errno : n == 1 ? -EOWNERDEAD : 0;
}

static int settle(const struct child *c)
{
    (void)c;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    umask(0077);
    sigset_t none;
    sigemptyset(&none);
    if (signal(SIGPIPE, SIG_DFL) == SIG_ERR || sigprocmask(SIG_SETMASK, &none, NULL) < 0)
        return -errno;
    return 0;
}

static const struct step {
    const char *what;
    int (*run)(const struct child *c);
} steps[] = {
    {"enter its control group", enter_cgroup}, // first: all that follows is charged to it
    {"arrange its descriptors", set_descriptors},
    {"leave the host's files and network", leave_host},
    {"set its host name", set_host_name},
    {"set its resource limits", set_limits},
    {"empty its capability bounding set", empty_bounding_set}, // needs what the next step takes
    {"become its own user", change_user},
    {"drop its capabilities", drop_capabilities},
    {"tie its life to envpriv's", die_with_parent}, // after the change of user, which would undo it
    {"settle", settle},
};

// envd learns of a failure as if envvm had said it.
static _Noreturn void child_fail(int control, const char *what, int rc)
{
    char reason[VMCTL_REASON_MAX + 1];
    int len = snprintf(reason, sizeof reason, "the jail could not %s: %s", what, strerror(-rc));
    uint8_t datagram[VMCTL_REASON_MAX + 64];
    struct wire_writer w;
    wire_writer_init(&w, datagram, sizeof datagram);
    const struct vmctl_message m = {
        .type = VMCTL_STATE,
        .state = {VMCTL_FAILED, VMCTL_CAUSE_HOST, 0, {(const uint8_t *)reason, (size_t)len}},
    };
    vmctl_write(&w, &m);
    io_send_fds(control, datagram, w.pos, NULL, 0);
    // CONFIG is on its way. Unread, it would turn the end of this process into a reset, and envd's next read
    // into an error.
    char byte;
    ssize_t ignored = recv(control, &byte, 1, 0);
    (void)ignored;
    _exit(JAIL_EXIT_STATUS);
}

static _Noreturn void run_child(const struct child *c)
{
    for (unsigned i = 0; i < ARRAY_LEN(steps); i++) {
        int rc = steps[i].run(c);
        if (rc < 0)
            child_fail(c->request->control, steps[i].what, rc);
    }
    const char *const argv[] = {"envvm", c->request->title, NULL};
    const char *const env[] = {NULL};
    syscall(SYS_execveat, c->jail->envvm, "", argv, env, AT_EMPTY_PATH);
    child_fail(VMCTL_FD, "execute envvm", -errno);
}

int jail_spawn(struct jail *j, const struct jail_request *r, pid_t *ret_pid, struct err *err)
{
    struct clone_args args = {.flags = CLONE_NEWPID, .exit_signal = SIGCHLD};
    if (r->entry->version == CGROUP_V2) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (uint64_t)r->entry->fd[0];
    }
    long pid = syscall(SYS_clone3, &args, sizeof args);
    if (pid == 0)
        run_child(&(struct child){j, r});
    if (pid < 0)
        return err_errno(err, -errno, "start a process for envvm");
    if (j->n_spare_nets > 0)
        close(j->spare_nets[--j->n_spare_nets]); // the child's now
    *ret_pid = (pid_t)pid;
    return 0;
}

bool jail_wants_spare(const struct jail *j)
{
    return j->n_spare_nets < JAIL_SPARE_NETS;
}

void jail_make_spare(struct jail *j)
{
    if (!jail_wants_spare(j) || unshare(CLONE_NEWNET) < 0)
        return;
    int made = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    int fd = made < 0 ? -1 : above_the_childs(made);
    cleanup_close(&made);
    if (setns(j->host_net, CLONE_NEWNET) < 0)
        abort(); // anything else would be done to the wrong network
    if (fd >= 0)
        j->spare_nets[j->n_spare_nets++] = fd;
}

// There is no loader in an empty root.
static int check_static(int fd, const char *path, struct err *err)
{
    Elf64_Ehdr header;
    if (pread(fd, &header, sizeof header, 0) != sizeof header ||
        memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_machine != EM_X86_64 ||
        header.e_phentsize != sizeof(Elf64_Phdr))
        return err_set(err, -ENOEXEC, "%s is not an x86-64 program", path);
    for (unsigned i = 0; i < header.e_phnum; i++) {
        Elf64_Phdr p;
        if (pread(fd, &p, sizeof p, (off_t)(header.e_phoff + i * sizeof p)) != sizeof p)
            return err_set(err, -ENOEXEC, "%s ends before its program headers do", path);
        if (p.p_type == PT_INTERP)
            return err_set(err, -ENOEXEC,
                           "%s needs a dynamic loader, and its jail has none: use the release build's envvm, "
                           "which is static",
                           path);
    }
    return 0;
}

static int open_envvm(const char *path, int *ret_fd, struct err *err)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, -errno, "open %s", path);
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_errno(err, -errno, "look at %s", path);
    if (!S_ISREG(st.st_mode) || !(st.st_mode & S_IXOTH))
        return err_set(
            err, -EACCES,
            "%s cannot be executed by everybody, as it must be: every environment has its own user "
            "(chmod 755)",
            path);
    int rc = check_static(fd, path, err);
    if (rc < 0)
        return rc;
    *ret_fd = above_the_childs(fd);
    return *ret_fd < 0 ? err_errno(err, -errno, "keep %s open", path) : 0;
}

// In a child, in a new mount namespace: nothing is left but an empty read-only tmpfs.
static int empty_the_root(void)
{
    static const char place[] = "/proc"; // any folder will do, and this one is everywhere
    if (mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("empty", place, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
              "size=4k,nr_inodes=2,mode=0555") < 0 ||
        chdir(place) < 0)
        return -errno;
    // pivot_root(2), "pivot_root(".", ".")": the old root ends up on top of the new one and is taken off.
    return syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 ? -errno : 0;
}

static int empty_root_child(int reply)
{
    if (unshare(CLONE_NEWNS) < 0)
        return -errno;
    int ns = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC); // while there is a /proc
    if (ns < 0)
        return -errno;
    int rc = empty_the_root();
    return rc < 0 ? rc : io_send_fds(reply, "", 1, &ns, 1);
}

// The namespace lives on in the descriptor that the child hands over. Every envvm gets a copy of it: copying
// one mount is quicker than copying the host's and taking them off again, for each.
static int make_empty_root(int *ret_fd, struct err *err)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_errno(err, -errno, "make a socket pair");
    _cleanup_close_ int ours = pair[0];
    _cleanup_close_ int theirs = pair[1];
    pid_t pid = fork();
    if (pid < 0)
        return err_errno(err, -errno, "fork");
    if (pid == 0)
        _exit(-empty_root_child(theirs));
    cleanup_close(&theirs);
    theirs = -1;

    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    char byte;
    _cleanup_close_ int ns = -1;
    size_t n_fds = 1;
    if (io_recv_fds(ours, &byte, 1, &ns, &n_fds) != 1 || n_fds != 1)
        return err_errno(err, WIFEXITED(status) && WEXITSTATUS(status) ? -WEXITSTATUS(status) : -EPERM,
                         "make an empty root (envpriv has to run as root, with CAP_SYS_ADMIN)");
    *ret_fd = above_the_childs(ns);
    return *ret_fd < 0 ? err_errno(err, -errno, "keep the empty root") : 0;
}

static int open_self(void)
{
    _cleanup_close_ int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    return fd < 0 ? -1 : above_the_childs(fd);
}

void jail_init(struct jail *j)
{
    *j = (struct jail){.envvm = -1, .null = -1, .parent = -1, .empty_root = -1, .host_net = -1};
}

int jail_open(struct jail *j, const char *envvm_path, struct err *err)
{
    jail_init(j);
    int rc = open_envvm(envvm_path, &j->envvm, err);
    if (rc == 0)
        rc = make_empty_root(&j->empty_root, err);
    if (rc == 0 && (j->null = open("/dev/null", O_RDWR | O_CLOEXEC)) < 0)
        rc = err_errno(err, -errno, "open /dev/null");
    if (rc == 0 && (j->parent = open_self()) < 0)
        rc = err_errno(err, -errno, "open a handle on this process");
    if (rc == 0 && (j->host_net = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)) < 0)
        rc = err_errno(err, -errno, "open this process's network namespace");
    if (rc < 0)
        jail_close(j);
    return rc;
}

void jail_close(struct jail *j)
{
    cleanup_close(&j->envvm);
    cleanup_close(&j->null);
    cleanup_close(&j->empty_root);
    cleanup_close(&j->parent);
    cleanup_close(&j->host_net);
    while (j->n_spare_nets > 0)
        close(j->spare_nets[--j->n_spare_nets]);
    jail_init(j);
}
