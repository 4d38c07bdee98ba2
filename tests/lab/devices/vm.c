// Owns a guest of a lab story: see vm.h. Everything that the control socket says is looked at while something
// is waited for, on one thread.
#include "vm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
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
#include "streams.h"

#define NS_PER_S 1000000000ull

static struct vmctl_stats last_stats;
static bool have_stats;

static void show_log(const struct vm *vm)
{
    static uint8_t data[VM_LOG_BYTES];
    uint8_t raw[LOGRING_HEADER];
    struct logring ring;
    struct logring_span spans[2];
    if (pread(vm->log, raw, sizeof raw, 0) != sizeof raw || logring_header_read(raw, &ring))
        return;
    const uint64_t from = ring.total > 8192 ? ring.total - 8192 : 0;
    const size_t n = logring_spans(&ring, from, (size_t)(ring.total - from), spans);
    for (size_t i = 0; i < n; i++)
        if (pread(vm->log, data, spans[i].len, (off_t)spans[i].file_offset) == (ssize_t)spans[i].len)
            (void)!write(STDERR_FILENO, data, spans[i].len);
}

void vm_die(struct vm *vm, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("\n--- the end of the guest's log:\n", stderr);
    show_log(vm);
    fputs("\n---\nFAIL: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    if (vm->pid > 0)
        kill(vm->pid, SIGKILL);
    exit(1);
}

// ---- making it ----

static struct wire_view view_of(const char *s)
{
    return (struct wire_view){.data = (const uint8_t *)s, .len = strlen(s)};
}

static int must_open(struct vm *vm, const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC);
    if (fd < 0)
        vm_die(vm, "open %s: %s", path, strerror(errno));
    return fd;
}

// In a network namespace of its own: nothing is left of it.
static int make_tap(struct vm *vm)
{
    if (unshare(CLONE_NEWNET) < 0)
        vm_die(vm, "unshare: %s", strerror(errno));
    int fd = must_open(vm, "/dev/net/tun", O_RDWR | O_NONBLOCK);
    struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, .ifr_name = "guest"};
    int header = 12;
    if (ioctl(fd, TUNSETIFF, &ifr) < 0 || ioctl(fd, TUNSETVNETHDRSZ, &header) < 0)
        vm_die(vm, "make a tap: %s", strerror(errno));
    return fd;
}

static int make_log(struct vm *vm)
{
    int fd = memfd_create("log", MFD_CLOEXEC);
    uint8_t raw[LOGRING_HEADER] = {0};
    const struct logring ring = {.capacity = VM_LOG_BYTES};
    logring_header_write(&ring, raw);
    if (fd < 0 || ftruncate(fd, LOGRING_HEADER + VM_LOG_BYTES) < 0 ||
        pwrite(fd, raw, sizeof raw, 0) != sizeof raw)
        vm_die(vm, "make a log: %s", strerror(errno));
    return fd;
}

static void send_config(struct vm *vm, const char *kernel, const char *initrd,
                        const struct vmctl_config *config)
{
    static uint8_t data[VMCTL_DATAGRAM_MAX];
    struct wire_writer w;
    wire_writer_init(&w, data, sizeof data);
    wire_write_u16(&w, VMCTL_CONFIG);
    wire_write_u16(&w, 0);
    vmctl_config_write(&w, config);
    vm->log = make_log(vm);
    const int fds[] = {must_open(vm, "/dev/kvm", O_RDWR), make_tap(vm), must_open(vm, kernel, O_RDONLY),
                       vm->log, must_open(vm, initrd, O_RDONLY)};
    const size_t n = sizeof fds / sizeof *fds;
    int rc = io_send_fds(vm->control, data, w.pos, fds, n);
    if (w.overflow || rc < 0)
        vm_die(vm, "send CONFIG: %s", strerror(-rc));
    for (size_t i = 0; i < n; i++)
        if (fds[i] != vm->log)
            close(fds[i]);
}

static void spawn(struct vm *vm, const char *envvm, int fd)
{
    char name[] = "envvm";
    char *const argv[] = {name, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fd, VMCTL_FD);
    posix_spawn_file_actions_addopen(&actions, VMCTL_STATM_FD, "/proc/self/statm", O_RDONLY,
                                     0); // the child's
    int rc = posix_spawn(&vm->pid, envvm, &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (rc != 0)
        vm_die(vm, "start %s: %s", envvm, strerror(rc));
}

void vm_start(struct vm *vm, const char *envvm, const char *kernel, const char *initrd, uint32_t memory_mib,
              uint8_t n_vcpus)
{
    static struct vmctl_config config;
    int pair[2];
    *vm = (struct vm){.control = -1, .log = -1, .console = -1};
    config.kind = VMCTL_KIND_LINUX;
    config.tenant = view_of("test");
    config.name = view_of("linux");
    config.n_vcpus = n_vcpus;
    config.memory_mib = memory_mib;
    config.cmdline = view_of("quiet");
    config.has_initrd = true;
    memcpy(config.mac, (const uint8_t[]){0x52, 0x54, 0, 0, 0, 2}, sizeof config.mac);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        vm_die(vm, "socketpair: %s", strerror(errno));
    vm->control = pair[0];
    send_config(vm, kernel, initrd, &config);
    spawn(vm, envvm, pair[1]);
    close(pair[1]);
}

// ---- the control socket ----

static void say(struct vm *vm, const struct vmctl_message *m)
{
    uint8_t data[256];
    struct wire_writer w;
    wire_writer_init(&w, data, sizeof data);
    vmctl_write(&w, m);
    int rc = io_send_fds(vm->control, data, w.pos, NULL, 0);
    if (w.overflow || rc < 0)
        vm_die(vm, "control message %d: %s", (int)m->type, strerror(-rc));
}

static void handle_control(struct vm *vm)
{
    uint8_t data[2048];
    int fds[1];
    size_t n_fds = 1;
    struct vmctl_message m;
    struct wire_error wrong;
    ssize_t n = io_recv_fds(vm->control, data, sizeof data, fds, &n_fds);
    if (n <= 0)
        vm_die(vm, "envvm went away without a word");
    if (!vmctl_read(data, (size_t)n, &m, &wrong))
        vm_die(vm, "envvm sent garbage: %s", wrong.what);
    if (m.type == VMCTL_STREAM && n_fds == 1) {
        streams_serve(fds[0]);
    } else if (m.type == VMCTL_CONSOLE && n_fds == 1) {
        if (vm->console >= 0)
            close(vm->console);
        vm->console = fds[0];
    } else if (m.type == VMCTL_STATS_IS) {
        last_stats = m.stats;
        have_stats = true;
    } else if (m.type == VMCTL_STATE && (m.state.state == VMCTL_FAILED || m.state.state == VMCTL_EXITED)) {
        vm_die(vm, "the guest ended: %s %s: %.*s", vmctl_state_name(m.state.state),
               vmctl_cause_name(m.state.cause), (int)m.state.reason.len, (const char *)m.state.reason.data);
    }
}

// Serves the control socket until fd (or nothing, for -1) is readable. False when that takes longer.
static bool wait_readable(struct vm *vm, int fd, uint64_t deadline_ns)
{
    const uint64_t now = io_monotonic_ns();
    struct pollfd p[2] = {{.fd = vm->control, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
    if (now >= deadline_ns)
        return false;
    if (poll(p, 2, (int)((deadline_ns - now) / 1000000u) + 1) > 0 && p[0].revents)
        handle_control(vm);
    return p[1].revents != 0;
}

struct vmctl_stats vm_stats(struct vm *vm)
{
    const uint64_t deadline = io_monotonic_ns() + 10 * NS_PER_S;
    have_stats = false;
    say(vm, &(struct vmctl_message){.type = VMCTL_STATS});
    while (!have_stats && io_monotonic_ns() < deadline)
        wait_readable(vm, -1, deadline);
    if (!have_stats)
        vm_die(vm, "no STATS within 10 s");
    return last_stats;
}

void vm_resize(struct vm *vm, uint16_t columns, uint16_t rows)
{
    say(vm, &(struct vmctl_message){.type = VMCTL_RESIZE, .resize = {.columns = columns, .rows = rows}});
}

void vm_balloon(struct vm *vm, uint32_t target_mib)
{
    say(vm, &(struct vmctl_message){.type = VMCTL_BALLOON, .balloon_target_mib = target_mib});
}

void vm_stop(struct vm *vm)
{
    int status;
    say(vm, &(struct vmctl_message){.type = VMCTL_QUIT});
    waitpid(vm->pid, &status, 0);
    close(vm->control);
    close(vm->console);
    close(vm->log);
}

// ---- the console ----

void vm_type(struct vm *vm, const char *text)
{
    fcntl(vm->console, F_SETFL, 0); // blocking
    if (io_write_all(vm->console, text, strlen(text)) < 0)
        vm_die(vm, "type on the console: %s", strerror(errno));
}

void vm_expect(struct vm *vm, const char *text, char *out, size_t cap, unsigned timeout_s)
{
    const uint64_t deadline = io_monotonic_ns() + timeout_s * NS_PER_S;
    size_t len = 0;
    out[0] = '\0';
    while (!strstr(out, text)) {
        if (!wait_readable(vm, vm->console, deadline)) {
            if (io_monotonic_ns() >= deadline)
                vm_die(vm, "no \"%s\" on the console within %u s, but: %s", text, timeout_s, out);
            continue;
        }
        if (len == cap - 1) { // keep the newer half
            memmove(out, out + len / 2, len - len / 2);
            len -= len / 2;
        }
        ssize_t n = read(vm->console, out + len, cap - 1 - len);
        if (n <= 0)
            vm_die(vm, "the console ended");
        len += (size_t)n;
        out[len] = '\0';
        for (char *nul; (nul = memchr(out, '\0', len)) != NULL;)
            *nul = '?';
    }
}

void vm_shell(struct vm *vm, const char *command, char *out, size_t cap, unsigned timeout_s)
{
    static unsigned n;
    char line[1024], end[32];
    n++;
    // What is typed is echoed: the sum is not in it.
    snprintf(line, sizeof line, "%s; echo; echo end$((%u*7))_\n", command, n);
    snprintf(end, sizeof end, "end%u_", n * 7);
    vm_type(vm, line);
    vm_expect(vm, end, out, cap, timeout_s);
    // Without the echo of what was typed and the mark.
    char *from = strstr(out, "))_"), *to = strstr(out, end);
    from = from && from < to ? from + 3 : out;
    *to = '\0';
    memmove(out, from, (size_t)(to - from) + 1);
}

void vm_attach(struct vm *vm)
{
    const int old = vm->console;
    const uint64_t deadline = io_monotonic_ns() + 10 * NS_PER_S;
    vm->console = -1;
    say(vm, &(struct vmctl_message){.type = VMCTL_CONSOLE});
    while (vm->console < 0 && io_monotonic_ns() < deadline)
        wait_readable(vm, -1, deadline);
    if (vm->console < 0)
        vm_die(vm, "no CONSOLE within 10 s");
    if (old >= 0)
        close(old);
}
