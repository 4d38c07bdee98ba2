// A static program in envvm's place: reports what it sees from inside the jail, and does what a hostile envvm
// could try with its tap and its log. Started by envpriv; talks to the stories (envpriv_story.c) on
// descriptor 3.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "probe.h"

#define CONTROL      3
#define STATM        4
#define VNET_HEADER  12
#define FDS_PASSED   8
#define FD_TAP       1 // among those that come with CONFIG
#define FD_LOG       4
#define NULL_MAJOR   1
#define NULL_MINOR   3
#define CHUNK        4096
#define DATAGRAM_MAX (200 * 1024)

#define CAP_VERSION_3 0x20080522 // linux/capability.h, which musl comes without

extern char **environ;

static unsigned char datagram[DATAGRAM_MAX];
static int passed[FDS_PASSED];
static uint32_t n_passed;
static uint32_t config_len;

static int receive_config(void)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof passed)];
    } control;
    struct iovec iov = {.iov_base = datagram, .iov_len = sizeof datagram};
    struct msghdr m = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control};
    ssize_t n;
    struct pollfd p = {.fd = CONTROL, .events = POLLIN};
    while (poll(&p, 1, -1) < 0)
        ;
    n = recvmsg(CONTROL, &m, MSG_CMSG_CLOEXEC);
    if (n <= 0)
        return -1;
    config_len = (uint32_t)n;
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    if (c && c->cmsg_type == SCM_RIGHTS) {
        n_passed = (uint32_t)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(passed, CMSG_DATA(c), n_passed * sizeof(int));
    }
    return 0;
}

static uint64_t caps_in(int option, int sub)
{
    uint64_t set = 0;
    for (unsigned long cap = 0; cap < PROBE_CAPS_MAX; cap++) {
        int has = sub ? prctl(option, sub, cap, 0, 0) : prctl(option, cap, 0, 0, 0);
        if (has == 1)
            set |= 1ull << cap;
    }
    return set;
}

static void report_caps(struct probe_report *r)
{
    struct {
        uint32_t version;
        int pid;
    } head = {CAP_VERSION_3, 0};
    struct {
        uint32_t effective, permitted, inheritable;
    } data[2] = {{~0u, ~0u, ~0u}, {~0u, ~0u, ~0u}};
    syscall(SYS_capget, &head, data);
    r->caps_effective = data[0].effective | (uint64_t)data[1].effective << 32;
    r->caps_permitted = data[0].permitted | (uint64_t)data[1].permitted << 32;
    r->caps_inheritable = data[0].inheritable | (uint64_t)data[1].inheritable << 32;
    r->caps_bounding = caps_in(PR_CAPBSET_READ, 0);
    r->caps_ambient = caps_in(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET);
}

static int32_t try_open(const char *path, int flags)
{
    int fd = open(path, flags, 0600);
    if (fd < 0)
        return -errno;
    close(fd);
    return 0;
}

static void report_files(struct probe_report *r)
{
    r->n_root_entries = -1;
    DIR *d = opendir("/");
    if (d) {
        r->n_root_entries = 0;
        for (struct dirent *e; (e = readdir(d));)
            r->n_root_entries += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
        closedir(d);
    }
    r->make_in_root = try_open("/file", O_CREAT | O_WRONLY);
    r->open_proc = try_open("/proc", O_RDONLY);
    r->up_and_out = try_open("../../../etc", O_RDONLY);
    for (int fd = 0; fd < PROBE_FDS_MAX; fd++)
        r->n_fds += fcntl(fd, F_GETFD) >= 0;
    char sizes[128];
    r->has_statm = pread(STATM, sizes, sizeof sizes, 0) > 0;
    for (int fd = 0; fd < 3; fd++) {
        struct stat st;
        r->stdio[fd] =
            fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(NULL_MAJOR, NULL_MINOR);
    }
}

static uint64_t limit_of(int resource)
{
    struct rlimit l;
    return getrlimit(resource, &l) == 0 ? l.rlim_max : 0;
}

static void report_process(struct probe_report *r, const char *title)
{
    r->uid = getuid();
    r->euid = geteuid();
    r->gid = getgid();
    r->egid = getegid();
    r->n_groups = getgroups(0, NULL);
    r->pid = getpid();
    r->parent = getppid();
    r->session = getsid(0);
    r->no_new_privs = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
    prctl(PR_GET_PDEATHSIG, &r->death_signal, 0, 0, 0);
    r->limit_files = limit_of(RLIMIT_NOFILE);
    r->limit_file_bytes = limit_of(RLIMIT_FSIZE);
    r->limit_processes = limit_of(RLIMIT_NPROC);
    r->limit_core = limit_of(RLIMIT_CORE);
    r->limit_locked = limit_of(RLIMIT_MEMLOCK);
    r->file_mask = umask(0);
    sigset_t blocked;
    sigprocmask(SIG_SETMASK, NULL, &blocked);
    for (int s = 1; s < 32; s++)
        r->n_blocked_signals += sigismember(&blocked, s) == 1;
    struct utsname u;
    if (uname(&u) == 0)
        memcpy(r->host_name, u.nodename, sizeof r->host_name);
    strncpy(r->title, title ? title : "", sizeof r->title - 1);
    r->has_environment = environ[0] != NULL;
}

static void report(const char *title)
{
    struct probe_report r = {.n_config_fds = n_passed, .config_len = config_len};
    memcpy(r.config, datagram, sizeof r.config < config_len ? sizeof r.config : config_len);
    report_process(&r, title);
    report_caps(&r);
    report_files(&r);
    struct if_nameindex *links = if_nameindex();
    for (struct if_nameindex *l = links; l && l->if_index; l++)
        r.n_interfaces++;
    send(CONTROL, &r, sizeof r, 0);
}

static void answer(int32_t value)
{
    send(CONTROL, &value, sizeof value, 0);
}

static void send_frame(const unsigned char *frame, size_t len)
{
    unsigned char bytes[VNET_HEADER + PROBE_FRAME_MAX] = {0};
    if (len > PROBE_FRAME_MAX) {
        answer(-EMSGSIZE);
        return;
    }
    memcpy(bytes + VNET_HEADER, frame, len);
    answer(write(passed[FD_TAP], bytes, VNET_HEADER + len) < 0 ? -errno : 0);
}

static void receive_frame(void)
{
    unsigned char bytes[VNET_HEADER + PROBE_FRAME_MAX];
    struct pollfd p = {.fd = passed[FD_TAP], .events = POLLIN};
    ssize_t n = poll(&p, 1, PROBE_WAIT_MS) == 1 ? read(passed[FD_TAP], bytes, sizeof bytes) : 0;
    if (n > VNET_HEADER)
        send(CONTROL, bytes + VNET_HEADER, (size_t)n - VNET_HEADER, 0);
    else
        send(CONTROL, "", 1, 0);
}

static void fill_log(void)
{
    static const unsigned char chunk[CHUNK];
    signal(SIGXFSZ, SIG_IGN);
    int32_t rc = 0;
    for (off_t at = 0; rc == 0 && at < (off_t)1 << 30; at += CHUNK)
        if (pwrite(passed[FD_LOG], chunk, CHUNK, at) < 0)
            rc = -errno;
    answer(rc);
}

int main(int argc, char **argv)
{
    if (receive_config() < 0)
        return 2;
    unsigned char command[1 + PROBE_FRAME_MAX];
    for (;;) {
        struct pollfd p = {.fd = CONTROL, .events = POLLIN};
        poll(&p, 1, -1);
        ssize_t n = recv(CONTROL, command, sizeof command, 0);
        if (n <= 0)
            return 0;
        switch (command[0]) {
        case PROBE_REPORT:
            report(argc > 1 ? argv[1] : NULL);
            break;
        case PROBE_FRAME:
            send_frame(command + 1, (size_t)n - 1);
            break;
        case PROBE_RECEIVE:
            receive_frame();
            break;
        case PROBE_FILL_LOG:
            fill_log();
            break;
        case PROBE_EXIT:
            return n > 1 ? command[1] : 0;
        }
    }
}
