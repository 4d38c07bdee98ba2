// Runs one program as a cell, or a Linux guest, without envpriv and envd: a tool for development and tests.
// Root only. Starts envvm with a control socket, hands it a configuration, shows the guest's log as it grows,
// and exits with the guest's status.
//
//   cellrun [options] -- program-argument-0 argument…
//   cellrun --linux --kernel FILE [options]
//     --envvm FILE     default: envvm beside cellrun
//     --kernel FILE    the cell kernel, or with --linux a bzImage or vmlinux (required)
//     --program FILE   the program (required for a cell)
//     --archive FILE   a cpio "newc" archive of read-only files
//     --linux          a Linux guest; with --initrd FILE, --cpus N, --cmdline WORDS, and disks in this order:
//     --disk FILE[:ro] a raw disk
//     --overlay BASE:FILE[:MIB]  a copy-on-write disk; an empty FILE becomes one, of the image's size or MIB
//     --memory MIB     default 32
//     --rate BYTES     log bytes per second, burst the same; default 0 = unlimited
//     --tap NAME       an existing tap; default: a new one in a network namespace of its own
//     --ip ADDRESS/PREFIX, --gateway ADDRESS, --mac AA:BB:CC:DD:EE:FF
//     -e KEY=VALUE     environment
//     --agent PROGRAM  serve the guest's vsock connections: a process each, the stream is its stdin
//     --stream-echo    echo what comes on the guest's vsock connections (default: close them)
//     --orders MS:ORDER,…  sends orders at these times: pause, resume, stats,
//                      console, balloon=MIB, quit
//     -v               tell states, streams and times on stderr
#include "cellrun.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/io.h"
#include "proto/logring.h"

#define LOG_CAPACITY (1u << 20)

static void die(const char *what)
{
    fprintf(stderr, "cellrun: %s: %s\n", what, strerror(errno));
    exit(125);
}

static int must_open(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC);
    if (fd < 0)
        die(path);
    return fd;
}

// ---- what envvm is given ----

static int open_tap(const char *name)
{
    if (!name && unshare(CLONE_NEWNET) < 0)
        die("unshare");
    int fd = must_open("/dev/net/tun", O_RDWR | O_NONBLOCK);
    struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    snprintf(ifr.ifr_name, sizeof ifr.ifr_name, "%s", name ? name : "cell%d");
    int header = 12;
    if (ioctl(fd, TUNSETIFF, &ifr) < 0 || ioctl(fd, TUNSETVNETHDRSZ, &header) < 0)
        die("make a tap");
    return fd;
}

static int make_log(void)
{
    int fd = memfd_create("log", MFD_CLOEXEC);
    uint8_t raw[32];
    const struct logring ring = {.capacity = LOG_CAPACITY};
    logring_header_write(&ring, raw);
    if (fd < 0 || ftruncate(fd, LOGRING_HEADER + LOG_CAPACITY) < 0 ||
        pwrite(fd, raw, sizeof raw, 0) != sizeof raw)
        die("make a log");
    return fd;
}

// In the order of proto/vmctl.h.
static size_t open_files(const struct run *r, int fds[VMCTL_FDS_MAX])
{
    size_t n = 0;
    fds[n++] = must_open("/dev/kvm", O_RDWR);
    fds[n++] = open_tap(r->tap);
    fds[n++] = must_open(r->kernel, O_RDONLY);
    if (r->config.kind == VMCTL_KIND_CELL)
        fds[n++] = must_open(r->program, O_RDONLY);
    fds[n++] = r->log;
    if (r->archive)
        fds[n++] = must_open(r->archive, O_RDONLY);
    if (r->initrd)
        fds[n++] = must_open(r->initrd, O_RDONLY);
    for (size_t i = 0; i < r->config.n_disks; i++) {
        const bool writes = r->config.disks[i].flags == 0;
        fds[n++] = must_open(r->disks[i].file, writes ? O_RDWR : O_RDONLY);
        if (r->disks[i].overlay)
            fds[n++] = must_open(r->disks[i].overlay, O_RDWR);
    }
    return n;
}

static void send_config(struct run *r)
{
    static uint8_t data[VMCTL_DATAGRAM_MAX];
    struct wire_writer w;
    wire_writer_init(&w, data, sizeof data);
    wire_write_u16(&w, VMCTL_CONFIG);
    wire_write_u16(&w, 0);
    vmctl_config_write(&w, &r->config);
    int fds[VMCTL_FDS_MAX];
    size_t n = open_files(r, fds);
    int rc = io_send_fds(r->control, data, w.pos, fds, n);
    if (w.overflow || rc < 0) {
        errno = -rc;
        die("send CONFIG");
    }
    for (size_t i = 0; i < n; i++)
        if (fds[i] != r->log)
            close(fds[i]);
}

// Starts a program with fd as its descriptor `as`. posix_spawn() copies nothing, so figures are the program's
// own.
pid_t spawn_with_fd(const char *path, const char *name, int fd, int as)
{
    char argv0[64];
    snprintf(argv0, sizeof argv0, "%s", name);
    char *const argv[] = {argv0, NULL};
    posix_spawn_file_actions_t actions;
    pid_t pid;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fd, as);
    if (as == VMCTL_FD) // opened by the child: it is its own
        posix_spawn_file_actions_addopen(&actions, VMCTL_STATM_FD, "/proc/self/statm", O_RDONLY, 0);
    int rc = posix_spawn(&pid, path, &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (rc != 0) {
        errno = rc;
        die(path);
    }
    return pid;
}

static void spawn(struct run *r)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        die("socketpair");
    const int size = 1 << 20;
    setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    r->control = pair[0];
    send_config(r);
    r->started_ns = io_monotonic_ns();
    r->pid = spawn_with_fd(r->envvm, "envvm", pair[1], VMCTL_FD);
    close(pair[1]);
}

// ---- orders ----

static const struct {
    const char *name;
    enum vmctl_type type;
} orders[] = {
    {"pause", VMCTL_PAUSE},     {"resume", VMCTL_RESUME},   {"stats", VMCTL_STATS},
    {"console", VMCTL_CONSOLE}, {"balloon", VMCTL_BALLOON}, {"quit", VMCTL_QUIT},
};

static void send_order(struct run *r, const char *text)
{
    uint8_t data[64];
    struct wire_writer w;
    wire_writer_init(&w, data, sizeof data);
    for (size_t i = 0; i < sizeof orders / sizeof orders[0]; i++) {
        const size_t len = strlen(orders[i].name);
        if (strncmp(text, orders[i].name, len) != 0)
            continue;
        struct vmctl_message m = {.type = orders[i].type};
        if (text[len] == '=')
            m.balloon_target_mib = (uint32_t)atoi(text + len + 1);
        vmctl_write(&w, &m);
    }
    io_send_fds(r->control, data, w.pos, NULL, 0);
}

// Sends what is due. Returns the milliseconds until the next, or -1.
static int give_orders(struct run *r)
{
    while (r->orders && *r->orders) {
        const int64_t now_ms = (int64_t)((io_monotonic_ns() - r->started_ns) / 1000000u);
        char *colon = strchr(r->orders, ':');
        const int64_t at_ms = atoll(r->orders);
        if (!colon)
            return -1;
        if (at_ms > now_ms)
            return (int)(at_ms - now_ms);
        send_order(r, colon + 1);
        char *comma = strchr(colon, ',');
        r->orders = comma ? comma + 1 : NULL;
    }
    return -1;
}

static int serve(struct run *r)
{
    for (;;) {
        struct pollfd p[1 + STREAMS_MAX] = {{.fd = r->control, .events = POLLIN}};
        const size_t n = r->n_streams;
        for (size_t i = 0; i < n; i++)
            p[1 + i] = (struct pollfd){.fd = r->streams[i], .events = POLLIN};
        if (poll(p, 1 + n, give_orders(r)) < 0)
            die("poll");
        for (size_t i = n; i-- > 0;)
            if (p[1 + i].revents)
                echo(r, i);
        if (p[0].revents) {
            int status = handle_control(r);
            if (status >= 0)
                return status;
        }
    }
}

static void show_usage(const struct run *r)
{
    char path[64], text[4096] = "";
    snprintf(path, sizeof path, "/proc/%d/status", (int)r->pid);
    ssize_t n = io_read_file(path, text, sizeof text - 1);
    text[n > 0 ? n : 0] = '\0';
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        if (strncmp(line, "Rss", 3) == 0 || strncmp(line, "VmRSS", 5) == 0 || strncmp(line, "VmHWM", 5) == 0)
            fprintf(stderr, "cellrun: envvm %s\n", line);
}

int main(int argc, char **argv)
{
    static struct run r;
    static char beside[4096];
    ssize_t n = readlink("/proc/self/exe", beside, sizeof beside - 8);
    char *slash = n > 0 ? strrchr(beside, '/') : NULL;
    if (slash)
        snprintf(slash + 1, 8, "envvm");
    r.envvm = beside;
    parse_command_line(&r, argc, argv);
    signal(SIGPIPE, SIG_IGN);
    r.log = make_log();
    spawn(&r);
    int status = serve(&r);
    show_log(&r);
    if (r.verbose)
        show_usage(&r);
    close(r.control);
    waitpid(r.pid, NULL, 0);
    return status;
}
