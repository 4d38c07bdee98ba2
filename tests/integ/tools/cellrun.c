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
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
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
#include "proto/vmctl.h"

#define LOG_CAPACITY (1u << 20)
#define STREAMS_MAX  32u

struct disk {
    const char *file, *overlay; // overlay NULL: none
};

struct run {
    const char *initrd;
    struct disk disks[VMCTL_DISKS_MAX];
    const char *envvm, *kernel, *program, *archive, *tap, *agent;
    struct vmctl_config config;
    char *orders; // what is left of them
    bool echo, verbose;
    int control, log;
    uint64_t shown; // bytes of the log already printed
    uint64_t started_ns;
    int streams[STREAMS_MAX];
    size_t n_streams;
    pid_t pid;
};

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

static struct wire_view view_of(const char *s)
{
    return (struct wire_view){.data = (const uint8_t *)s, .len = strlen(s)};
}

// ---- command line ----

enum {
    OPT_ENVVM = 256,
    OPT_KERNEL,
    OPT_PROGRAM,
    OPT_ARCHIVE,
    OPT_MEMORY,
    OPT_RATE,
    OPT_TAP,
    OPT_IP,
    OPT_GATEWAY,
    OPT_MAC,
    OPT_ECHO,
    OPT_AGENT,
    OPT_LINUX,
    OPT_INITRD,
    OPT_CPUS,
    OPT_CMDLINE,
    OPT_DISK,
    OPT_OVERLAY,
    OPT_ORDERS
};

static const struct option options[] = {
    {"envvm", 1, NULL, OPT_ENVVM},      {"kernel", 1, NULL, OPT_KERNEL},
    {"program", 1, NULL, OPT_PROGRAM},  {"archive", 1, NULL, OPT_ARCHIVE},
    {"memory", 1, NULL, OPT_MEMORY},    {"rate", 1, NULL, OPT_RATE},
    {"tap", 1, NULL, OPT_TAP},          {"ip", 1, NULL, OPT_IP},
    {"gateway", 1, NULL, OPT_GATEWAY},  {"mac", 1, NULL, OPT_MAC},
    {"stream-echo", 0, NULL, OPT_ECHO}, {"agent", 1, NULL, OPT_AGENT},
    {"linux", 0, NULL, OPT_LINUX},      {"initrd", 1, NULL, OPT_INITRD},
    {"cpus", 1, NULL, OPT_CPUS},        {"cmdline", 1, NULL, OPT_CMDLINE},
    {"disk", 1, NULL, OPT_DISK},        {"overlay", 1, NULL, OPT_OVERLAY},
    {"orders", 1, NULL, OPT_ORDERS},    {NULL, 0, NULL, 0},
};

static uint32_t parse_ipv4(const char *text)
{
    struct in_addr a;
    if (inet_pton(AF_INET, text, &a) != 1) {
        fprintf(stderr, "cellrun: not an IPv4 address: %s\n", text);
        exit(125);
    }
    return ntohl(a.s_addr);
}

static void parse_ip_and_prefix(const char *text, struct vmctl_config *c)
{
    char address[32];
    snprintf(address, sizeof address, "%s", text);
    char *slash = strchr(address, '/');
    c->prefix = 24;
    if (slash) {
        *slash = '\0';
        c->prefix = (uint8_t)atoi(slash + 1);
    }
    c->ipv4 = parse_ipv4(address);
}

static void parse_mac(const char *text, uint8_t mac[6])
{
    unsigned m[6];
    if (sscanf(text, "%x:%x:%x:%x:%x:%x", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5]) != 6) {
        fprintf(stderr, "cellrun: not a MAC address: %s\n", text);
        exit(125);
    }
    for (int i = 0; i < 6; i++)
        mac[i] = (uint8_t)m[i];
}

static struct vmctl_disk *add_disk(struct run *r, struct disk **ret)
{
    if (r->config.n_disks == VMCTL_DISKS_MAX) {
        fprintf(stderr, "cellrun: more than %d disks\n", VMCTL_DISKS_MAX);
        exit(125);
    }
    *ret = &r->disks[r->config.n_disks];
    return &r->config.disks[r->config.n_disks++];
}

static void parse_disk(struct run *r, char *text)
{
    struct disk *disk;
    struct vmctl_disk *config = add_disk(r, &disk);
    const size_t len = strlen(text);
    if (len > 3 && strcmp(text + len - 3, ":ro") == 0) {
        config->flags = VMCTL_DISK_READ_ONLY;
        text[len - 3] = '\0';
    }
    disk->file = text;
}

static void parse_overlay(struct run *r, char *text)
{
    struct disk *disk;
    struct vmctl_disk *config = add_disk(r, &disk);
    config->flags = VMCTL_DISK_OVERLAY;
    disk->file = strtok(text, ":");
    disk->overlay = strtok(NULL, ":");
    const char *mib = strtok(NULL, ":");
    config->bytes = mib ? (uint64_t)atoll(mib) << 20 : 0;
    if (!disk->overlay) {
        fprintf(stderr, "cellrun: --overlay wants BASE:FILE\n");
        exit(125);
    }
}

// True when it was one of Linux guests' own.
static bool parse_linux_option(struct run *r, int opt)
{
    struct vmctl_config *c = &r->config;
    switch (opt) {
    case OPT_LINUX:
        c->kind = VMCTL_KIND_LINUX;
        return true;
    case OPT_INITRD:
        r->initrd = optarg;
        c->has_initrd = true;
        return true;
    case OPT_CPUS:
        c->n_vcpus = (uint8_t)atoi(optarg);
        return true;
    case OPT_CMDLINE:
        c->cmdline = view_of(optarg);
        return true;
    case OPT_DISK:
        parse_disk(r, optarg);
        return true;
    case OPT_OVERLAY:
        parse_overlay(r, optarg);
        return true;
    default:
        return false;
    }
}

static void parse_option(struct run *r, int opt)
{
    if (parse_linux_option(r, opt))
        return;
    struct vmctl_config *c = &r->config;
    switch (opt) {
    case OPT_ENVVM:
        r->envvm = optarg;
        break;
    case OPT_KERNEL:
        r->kernel = optarg;
        break;
    case OPT_PROGRAM:
        r->program = optarg;
        break;
    case OPT_ARCHIVE:
        r->archive = optarg;
        break;
    case OPT_MEMORY:
        c->memory_mib = (uint32_t)atoi(optarg);
        break;
    case OPT_RATE:
        c->log_bytes_per_s = c->log_burst_bytes = (uint32_t)atoi(optarg);
        break;
    case OPT_TAP:
        r->tap = optarg;
        break;
    case OPT_IP:
        parse_ip_and_prefix(optarg, c);
        break;
    case OPT_GATEWAY:
        c->gateway = parse_ipv4(optarg);
        break;
    case OPT_MAC:
        parse_mac(optarg, c->mac);
        break;
    case OPT_ECHO:
        r->echo = true;
        break;
    case OPT_ORDERS:
        r->orders = optarg;
        break;
    case OPT_AGENT:
        r->agent = optarg;
        break;
    case 'v':
        r->verbose = true;
        break;
    case 'e':
        if (c->n_env < VMCTL_ARGS_MAX)
            c->env[c->n_env++] = view_of(optarg);
        break;
    default:
        fprintf(stderr, "usage: cellrun --kernel FILE --program FILE [options] -- argument…\n"
                        "       cellrun --linux --kernel FILE [options]\n");
        exit(125);
    }
}

static void parse_command_line(struct run *r, int argc, char **argv)
{
    struct vmctl_config *c = &r->config;
    c->tenant = view_of("test");
    c->name = view_of("cell");
    c->n_vcpus = 1;
    c->memory_mib = 32;
    memcpy(c->mac, (const uint8_t[]){0x52, 0x54, 0, 0, 0, 2}, sizeof c->mac);
    for (int opt; (opt = getopt_long(argc, argv, "+e:v", options, NULL)) != -1;)
        parse_option(r, opt);
    for (; optind < argc && c->n_args < VMCTL_ARGS_MAX; optind++)
        c->args[c->n_args++] = view_of(argv[optind]);
    const bool is_linux = c->kind == VMCTL_KIND_LINUX;
    if (!r->kernel || (!is_linux && !r->program))
        parse_option(r, '?');
    if (c->n_args == 0 && !is_linux)
        c->args[c->n_args++] = view_of(r->program);
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
static pid_t spawn_with_fd(const char *path, const char *name, int fd, int as)
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

// ---- while it runs ----

static void show_log(struct run *r)
{
    uint8_t raw[LOGRING_HEADER];
    struct logring ring;
    if (pread(r->log, raw, sizeof raw, 0) != sizeof raw || logring_header_read(raw, &ring))
        return;
    if (r->shown < logring_oldest(&ring))
        r->shown = logring_oldest(&ring);
    struct logring_span spans[2];
    size_t n = logring_spans(&ring, r->shown, (size_t)(ring.total - r->shown), spans);
    for (size_t i = 0; i < n; i++) {
        uint8_t data[65536];
        for (size_t done = 0; done < spans[i].len;) {
            size_t want = spans[i].len - done < sizeof data ? spans[i].len - done : sizeof data;
            ssize_t got = pread(r->log, data, want, (off_t)(spans[i].file_offset + done));
            if (got <= 0 || io_write_all(STDOUT_FILENO, data, (size_t)got) < 0)
                return;
            done += (size_t)got;
        }
    }
    if (r->verbose && r->shown == 0 && ring.total > 0)
        fprintf(stderr, "cellrun: first output after %.3f ms\n",
                (double)(io_monotonic_ns() - r->started_ns) / 1e6);
    r->shown = ring.total;
}

static int handle_state(struct run *r, const struct vmctl_message *m)
{
    if (r->verbose || m->state.state == VMCTL_FAILED)
        fprintf(stderr, "cellrun: %s%s%s code %d%s%.*s (%.3f ms)\n", vmctl_state_name(m->state.state),
                m->state.cause ? " " : "", m->state.cause ? vmctl_cause_name(m->state.cause) : "",
                m->state.code, m->state.reason.len ? ": " : "", (int)m->state.reason.len,
                (const char *)m->state.reason.data, (double)(io_monotonic_ns() - r->started_ns) / 1e6);
    if (m->state.state == VMCTL_EXITED)
        return m->state.code;
    return m->state.state == VMCTL_FAILED ? 126 : -1;
}

static void handle_stream(struct run *r, const struct vmctl_message *m, int fd)
{
    if (r->verbose)
        fprintf(stderr, "cellrun: stream, guest port %u, host port %u\n", m->stream.guest_port,
                m->stream.host_port);
    if (r->agent) {
        fcntl(fd, F_SETFL, 0); // blocking
        spawn_with_fd(r->agent, r->agent, fd, STDIN_FILENO);
    }
    if (r->echo && r->n_streams < STREAMS_MAX)
        r->streams[r->n_streams++] = fd;
    else
        close(fd);
}

static void show_stats(const struct vmctl_stats *s)
{
    fprintf(
        stderr,
        "cellrun: stats cpu_ns=%llu rss=%llu memory=%llu balloon=%llu rx=%llu tx=%llu reads=%llu writes=%llu "
        "read_bytes=%llu write_bytes=%llu flushes=%llu\n",
        (unsigned long long)s->cpu_ns, (unsigned long long)s->rss_bytes,
        (unsigned long long)s->guest_memory_bytes, (unsigned long long)s->balloon_bytes,
        (unsigned long long)s->net_rx_packets, (unsigned long long)s->net_tx_packets,
        (unsigned long long)s->disk_reads, (unsigned long long)s->disk_writes,
        (unsigned long long)s->disk_read_bytes, (unsigned long long)s->disk_write_bytes,
        (unsigned long long)s->disk_flushes);
}

// -1 while the guest runs, then its status.
static int handle_control(struct run *r)
{
    uint8_t data[2048];
    int fds[1];
    size_t n_fds = 1;
    ssize_t n = io_recv_fds(r->control, data, sizeof data, fds, &n_fds);
    if (n <= 0) {
        fprintf(stderr, "cellrun: envvm went away without a word\n");
        return 127;
    }
    struct vmctl_message m;
    struct wire_error wrong;
    if (!vmctl_read(data, (size_t)n, &m, &wrong)) {
        fprintf(stderr, "cellrun: envvm sent garbage: %s\n", wrong.what);
        return 127;
    }
    if (m.type == VMCTL_STREAM && n_fds == 1)
        handle_stream(r, &m, fds[0]);
    if (m.type == VMCTL_LOG)
        show_log(r);
    if (m.type == VMCTL_STATS_IS)
        show_stats(&m.stats);
    if (m.type == VMCTL_CONSOLE)
        fprintf(stderr, "cellrun: console%s\n", n_fds == 1 ? "" : " refused");
    if (m.type == VMCTL_CONSOLE && n_fds == 1)
        close(fds[0]);
    return m.type == VMCTL_STATE ? handle_state(r, &m) : -1;
}

static void echo(struct run *r, size_t i)
{
    char data[65536];
    ssize_t n = recv(r->streams[i], data, sizeof data, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    // The copy may wait for the guest to read: this is a test tool, a guest that does not read harms itself
    // only.
    fcntl(r->streams[i], F_SETFL, 0);
    if (n > 0 && io_write_all(r->streams[i], data, (size_t)n) == 0)
        return;
    close(r->streams[i]);
    r->streams[i] = r->streams[--r->n_streams];
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
