// Tests of the program envvm as a process (server/vmm/main.c and all behind it): what it makes of
// configurations and descriptors, good and bad, what it says, how it ends, and what it holds while it runs.
// Tiny guests of its own. Needs root, for a tap, and /dev/kvm; skipped without.
#include "testing.h"

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/io.h"
#include "proto/cell.h"
#include "proto/logring.h"
#include "proto/vmctl.h"

#define LOG_CAPACITY (64u << 10)
#define CODE_OFFSET  0x100u // in the kernel's segment, after the header

#define SNIPPET(name) extern const uint8_t guest_##name[], guest_##name##_end[]
SNIPPET(exit_42);
SNIPPET(enter_program);
SNIPPET(spin);
SNIPPET(write_null);
SNIPPET(idle_rounds);
SNIPPET(hello);
SNIPPET(flood);

struct fixture {
    int control;
    pid_t pid;
    int fds[VMCTL_FDS_MAX]; // kvm, tap, kernel, program, log, archive
    size_t n_fds;
    struct vmctl_config config;
    // what came back
    enum vmctl_state states[8];
    size_t n_states;
    unsigned n_logs;
    unsigned n_stats, n_consoles; // of the latter those with a descriptor
    struct vmctl_message last;    // state
    struct vmctl_stats stats;
    char reason[VMCTL_REASON_MAX + 1];
};

static int tap_fd = -1, kvm_fd = -1;

// An ELF file of one segment, which begins with head and has code at CODE_OFFSET.
static int make_elf(uint64_t gpa, const void *head, size_t head_len, const uint8_t *code, const uint8_t *end)
{
    uint8_t file[0x2000] = {0};
    const size_t len = CODE_OFFSET + (size_t)(end - code);
    Elf64_Ehdr h = {.e_type = ET_EXEC,
                    .e_machine = EM_X86_64,
                    .e_version = EV_CURRENT,
                    .e_entry = gpa + CODE_OFFSET,
                    .e_phoff = sizeof h,
                    .e_phentsize = sizeof(Elf64_Phdr),
                    .e_phnum = 1};
    memcpy(h.e_ident, ELFMAG, SELFMAG);
    h.e_ident[EI_CLASS] = ELFCLASS64;
    h.e_ident[EI_DATA] = ELFDATA2LSB;
    h.e_ident[EI_VERSION] = EV_CURRENT;
    const Elf64_Phdr p = {.p_type = PT_LOAD,
                          .p_flags = PF_X | PF_R,
                          .p_offset = 0x1000,
                          .p_vaddr = gpa,
                          .p_filesz = len,
                          .p_memsz = len};
    memcpy(file, &h, sizeof h);
    memcpy(file + sizeof h, &p, sizeof p);
    memcpy(file + 0x1000, head, head_len);
    memcpy(file + 0x1000 + CODE_OFFSET, code, (size_t)(end - code));
    int fd = memfd_create("elf", MFD_CLOEXEC);
    assert_int_equal(write(fd, file, sizeof file), sizeof file);
    return fd;
}

static int make_kernel(const uint8_t *code, const uint8_t *end)
{
    const uint64_t entry = CELL_KERNEL_GPA + CODE_OFFSET;
    const struct cell_kernel_header header = {.magic = CELL_KERNEL_MAGIC,
                                              .version = CELL_VERSION,
                                              .entry = entry,
                                              .syscall_direct = entry,
                                              .syscall_saved = entry,
                                              .upcall = entry,
                                              .text_start = CELL_KERNEL_GPA,
                                              .text_end = CELL_KERNEL_GPA + 0x1000};
    return make_elf(CELL_KERNEL_GPA, &header, sizeof header, code, end);
}

static int make_log(void)
{
    uint8_t raw[32];
    const struct logring ring = {.capacity = LOG_CAPACITY};
    logring_header_write(&ring, raw);
    int fd = memfd_create("log", MFD_CLOEXEC);
    assert_int_equal(ftruncate(fd, LOGRING_HEADER + LOG_CAPACITY), 0);
    assert_int_equal(pwrite(fd, raw, sizeof raw, 0), sizeof raw);
    return fd;
}

static struct wire_view view(const char *s)
{
    return (struct wire_view){.data = (const uint8_t *)s, .len = strlen(s)};
}

#define KERNEL(name)  make_kernel(guest_##name, guest_##name##_end)
#define PROGRAM(name) make_elf(0x400000, "", 0, guest_##name, guest_##name##_end)

static void replace(int *slot, int fd)
{
    close(*slot);
    *slot = fd;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->fds[0] = dup(kvm_fd);
    f->fds[1] = dup(tap_fd);
    f->fds[2] = KERNEL(exit_42);
    f->fds[3] = PROGRAM(exit_42);
    f->fds[4] = make_log();
    f->n_fds = 5;
    f->config.tenant = view("acme");
    f->config.name = view("web");
    f->config.n_vcpus = 1;
    f->config.memory_mib = VMCTL_MEMORY_MIN_MIB;
    f->config.mac[0] = 2;
    f->config.n_args = 1;
    f->config.args[0] = view("web");
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    f->control = pair[0];
    f->pid = fork();
    if (f->pid == 0) {
        if (pair[1] == VMCTL_FD)
            fcntl(pair[1], F_SETFD, 0);
        else
            dup2(pair[1], VMCTL_FD);
        dup2(open("/proc/self/statm", O_RDONLY), VMCTL_STATM_FD);
        execl(ENVVM, "envvm", (char *)NULL);
        _exit(124);
    }
    close(pair[1]);
    *state = f;
    return f->pid > 0 ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    if (f->pid > 0) {
        kill(f->pid, SIGKILL);
        waitpid(f->pid, NULL, 0);
    }
    for (size_t i = 0; i < f->n_fds; i++)
        close(f->fds[i]);
    close(f->control);
    free(f);
    return 0;
}

static void send_config(struct fixture *f)
{
    static uint8_t data[VMCTL_DATAGRAM_MAX];
    struct wire_writer w;
    wire_writer_init(&w, data, sizeof data);
    wire_write_u16(&w, VMCTL_CONFIG);
    wire_write_u16(&w, 0);
    vmctl_config_write(&w, &f->config);
    assert_int_equal(io_send_fds(f->control, data, w.pos, f->fds, f->n_fds), 0);
}

static void send_order(struct fixture *f, const struct vmctl_message *m)
{
    uint8_t data[64];
    struct wire_writer w;
    wire_writer_init(&w, data, sizeof data);
    vmctl_write(&w, m);
    assert_int_equal(io_send_fds(f->control, data, w.pos, NULL, 0), 0);
}

static void send_type(struct fixture *f, enum vmctl_type type)
{
    send_order(f, &(struct vmctl_message){.type = type});
}

static void send_quit(struct fixture *f)
{
    send_type(f, VMCTL_QUIT);
}

// Takes one message. False at the end of the socket.
static bool take(struct fixture *f)
{
    static uint8_t data[2048];
    struct pollfd p = {.fd = f->control, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 10000), 1);
    size_t n_fds = 1;
    int fd;
    ssize_t n = io_recv_fds(f->control, data, sizeof data, &fd, &n_fds);
    if (n <= 0)
        return false;
    struct vmctl_message m;
    struct wire_error wrong;
    assert_true(vmctl_read(data, (size_t)n, &m, &wrong));
    if (n_fds > 0)
        close(fd);
    if (m.type == VMCTL_LOG)
        f->n_logs++;
    if (m.type == VMCTL_STATS_IS) {
        f->n_stats++;
        f->stats = m.stats;
    }
    if (m.type == VMCTL_CONSOLE)
        f->n_consoles += n_fds > 0;
    if (m.type != VMCTL_STATE)
        return true;
    f->last = m;
    assert_true(wire_view_to_cstr(m.state.reason, f->reason, sizeof f->reason));
    if (f->n_states < 8)
        f->states[f->n_states++] = m.state.state;
    return true;
}

static void await_state(struct fixture *f, enum vmctl_state state)
{
    while (f->n_states == 0 || f->states[f->n_states - 1] != state)
        if (!take(f))
            fail_msg("the socket ended before state %s", vmctl_state_name(state));
}

static int await_end(struct fixture *f)
{
    while (take(f))
        continue;
    int status;
    assert_int_equal(waitpid(f->pid, &status, 0), f->pid);
    f->pid = 0;
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void assert_failed(struct fixture *f, enum vmctl_cause cause, const char *contains, int exit_status)
{
    assert_int_equal(await_end(f), exit_status);
    assert_int_equal(f->last.state.state, VMCTL_FAILED);
    assert_int_equal(f->last.state.cause, cause);
    if (!strstr(f->reason, contains))
        fail_msg("\"%s\" does not contain \"%s\"", f->reason, contains);
}

static struct logring log_text(struct fixture *f, char *out, size_t cap)
{
    uint8_t raw[LOGRING_HEADER];
    struct logring ring;
    assert_int_equal(pread(f->fds[4], raw, sizeof raw, 0), sizeof raw);
    assert_null(logring_header_read(raw, &ring));
    size_t n = ring.total < cap - 1 ? (size_t)ring.total : cap - 1;
    assert_int_equal(pread(f->fds[4], out, n, LOGRING_HEADER), n);
    out[n] = '\0';
    return ring;
}

// ---- good ways ----

static void a_guest_boots_runs_and_exits(void **state)
{
    struct fixture *f = *state;
    send_config(f);
    assert_int_equal(await_end(f), 0);
    assert_int_equal(f->n_states, 3);
    assert_int_equal(f->states[0], VMCTL_BOOTING);
    assert_int_equal(f->states[1], VMCTL_RUNNING);
    assert_int_equal(f->states[2], VMCTL_EXITED);
    assert_int_equal(f->last.state.code, 42);
}

static void the_log_is_whole_when_the_exit_is_known(void **state)
{
    struct fixture *f = *state;
    replace(&f->fds[2], KERNEL(hello));
    send_config(f);
    await_state(f, VMCTL_EXITED);
    char text[64];
    log_text(f, text, sizeof text);
    assert_string_equal(text, "hello\n");
    assert_true(f->n_logs >= 1);
    assert_int_equal(f->last.state.code, 7);
}

static void a_flood_is_limited_dropped_and_told(void **state)
{
    struct fixture *f = *state;
    replace(&f->fds[2], KERNEL(flood));
    f->config.log_bytes_per_s = 1000;
    f->config.log_burst_bytes = 8192;
    send_config(f);
    assert_int_equal(await_end(f), 0);
    static char text[LOG_CAPACITY + 1];
    const struct logring ring = log_text(f, text, sizeof text);
    assert_in_range(ring.dropped, 500 * 4096 - 60000, 500 * 4096 - 8192);
    assert_in_range(ring.total, 8192, 60000);
    assert_non_null(strstr(text, "bytes dropped: more than 1000 bytes per second"));
    assert_in_range(f->n_logs, 1, 510); // never more than one a round
}

static void a_spinning_guest_can_be_told_to_quit(void **state)
{
    struct fixture *f = *state;
    replace(&f->fds[2], KERNEL(enter_program));
    replace(&f->fds[3], PROGRAM(spin));
    send_config(f);
    await_state(f, VMCTL_RUNNING);
    usleep(20000);
    send_quit(f);
    assert_int_equal(await_end(f), 0);
    assert_int_equal(f->last.state.state, VMCTL_EXITED);
    assert_string_equal(f->reason, "stopped by the host");
}

static void an_idle_guest_stands_still_and_goes_on(void **state)
{
    struct fixture *f = *state;
    replace(&f->fds[2], KERNEL(idle_rounds));
    send_config(f);
    await_state(f, VMCTL_RUNNING);
    send_type(f, VMCTL_PAUSE);
    await_state(f, VMCTL_PAUSED);
    send_type(f, VMCTL_PAUSE); // and says so again
    f->n_states = 0;
    await_state(f, VMCTL_PAUSED);
    send_type(f, VMCTL_RESUME);
    await_state(f, VMCTL_RUNNING);
    send_quit(f);
    assert_int_equal(await_end(f), 0);
}

// Its thread has no time to wake up between the two.
static void a_spinning_guest_released_for_a_moment_says_that_it_stands_still(void **state)
{
    struct fixture *f = *state;
    replace(&f->fds[2], KERNEL(enter_program));
    replace(&f->fds[3], PROGRAM(spin));
    send_config(f);
    await_state(f, VMCTL_RUNNING);
    for (int i = 0; i < 50; i++) {
        send_type(f, VMCTL_PAUSE);
        f->n_states = 0;
        await_state(f, VMCTL_PAUSED);
        send_type(f, VMCTL_RESUME);
        send_type(f, VMCTL_PAUSE);
        await_state(f, VMCTL_RUNNING);
        await_state(f, VMCTL_PAUSED);
    }
    send_quit(f);
    assert_int_equal(await_end(f), 0);
    assert_int_equal(f->last.state.state, VMCTL_EXITED);
}

static void an_idle_guest_ends_when_nobody_is_there(void **state)
{
    struct fixture *f = *state;
    replace(&f->fds[2], KERNEL(idle_rounds));
    send_config(f);
    await_state(f, VMCTL_RUNNING);
    shutdown(f->control, SHUT_RDWR);
    int status;
    assert_int_equal(waitpid(f->pid, &status, 0), f->pid);
    f->pid = 0;
    assert_true(WIFEXITED(status));
}

// Tells of its state once more, behind all that was ordered before.
static void await_next_state(struct fixture *f, enum vmctl_state state)
{
    f->n_states = 0;
    await_state(f, state);
    assert_int_equal(f->n_states, 1);
}

static void orders_in_any_order_and_twice_are_followed(void **state)
{
    struct fixture *f = *state;
    replace(&f->fds[2], KERNEL(enter_program));
    replace(&f->fds[3], PROGRAM(spin));
    send_config(f);
    await_state(f, VMCTL_RUNNING);
    send_type(f, VMCTL_RESUME); // it runs
    await_next_state(f, VMCTL_RUNNING);
    send_type(f, VMCTL_PAUSE);
    await_next_state(f, VMCTL_PAUSED);
    send_type(f, VMCTL_PAUSE);
    await_next_state(f, VMCTL_PAUSED);
    send_type(f, VMCTL_STATS);
    send_type(f, VMCTL_CONSOLE);
    send_type(f, VMCTL_QUERY);
    await_next_state(f, VMCTL_PAUSED);
    while (f->n_stats == 0 || f->n_consoles == 0)
        assert_true(take(f));
    send_type(f, VMCTL_RESUME);
    await_next_state(f, VMCTL_RUNNING);
    send_type(f, VMCTL_PAUSE); // a change of mind: it has run before it is held
    send_type(f, VMCTL_RESUME);
    await_next_state(f, VMCTL_RUNNING);
    send_quit(f);
    assert_int_equal(await_end(f), 0);
    assert_string_equal(f->reason, "stopped by the host");
}

// The guest has no driver for any of its devices.
static void orders_to_devices_without_a_driver_harm_nobody(void **state)
{
    struct fixture *f = *state;
    replace(&f->fds[2], KERNEL(enter_program));
    replace(&f->fds[3], PROGRAM(spin));
    send_config(f);
    await_state(f, VMCTL_RUNNING);
    const struct vmctl_message resize = {.type = VMCTL_RESIZE, .resize = {.columns = 80, .rows = 25}};
    const struct vmctl_message balloon = {.type = VMCTL_BALLOON, .balloon_target_mib = 1};
    for (int i = 0; i < 3; i++) {
        send_order(f, &resize);
        send_order(f, &balloon);
        send_type(f, VMCTL_CONSOLE);
        send_type(f, VMCTL_STATS);
    }
    while (f->n_consoles < 1 || f->n_stats < 1)
        assert_true(take(f));
    send_type(f, VMCTL_QUERY);
    await_next_state(f, VMCTL_RUNNING);
    send_quit(f);
    assert_int_equal(await_end(f), 0);
}

static void a_paused_guest_can_be_told_to_quit(void **state)
{
    struct fixture *f = *state;
    replace(&f->fds[2], KERNEL(enter_program));
    replace(&f->fds[3], PROGRAM(spin));
    send_config(f);
    await_state(f, VMCTL_RUNNING);
    send_type(f, VMCTL_PAUSE);
    await_next_state(f, VMCTL_PAUSED);
    send_quit(f);
    assert_int_equal(await_end(f), 0);
    assert_int_equal(f->last.state.state, VMCTL_EXITED);
}

// ---- what it holds while it runs ----

static void read_proc(struct fixture *f, const char *name, char *out, size_t cap)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)f->pid, name);
    ssize_t n = io_read_file(path, out, cap - 1);
    assert_true(n > 0);
    out[n] = '\0';
}

static void assert_status(const char *status, const char *key, const char *value)
{
    char line[64];
    snprintf(line, sizeof line, "\n%s:\t%s\n", key, value);
    if (!strstr(status, line))
        fail_msg("%s is not %s", key, value);
}

static void start_idling(struct fixture *f)
{
    replace(&f->fds[2], KERNEL(idle_rounds));
    send_config(f);
    await_state(f, VMCTL_RUNNING);
}

static void what_the_guest_has_of_its_memory_is_told(void **state)
{
    struct fixture *f = *state;
    start_idling(f);
    send_type(f, VMCTL_STATS);
    while (f->n_stats == 0)
        assert_true(take(f));
    assert_int_equal(f->stats.guest_memory_bytes, (uint64_t)VMCTL_MEMORY_MIN_MIB << 20);
    assert_in_range(f->stats.rss_bytes, 4096, f->stats.guest_memory_bytes);
}

static void a_running_envvm_has_no_rights_left(void **state)
{
    struct fixture *f = *state;
    start_idling(f);
    static char status[8192];
    read_proc(f, "status", status, sizeof status);
    assert_status(status, "CapInh", "0000000000000000");
    assert_status(status, "CapPrm", "0000000000000000");
    assert_status(status, "CapEff", "0000000000000000");
    assert_status(status, "CapAmb", "0000000000000000");
    assert_status(status, "NoNewPrivs", "1");
    assert_status(status, "Seccomp", "2");
}

static void a_running_envvm_holds_only_its_own_descriptors(void **state)
{
    struct fixture *f = *state;
    start_idling(f);
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd", (int)f->pid);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    const char *stray = NULL;
    static char target[256];
    struct dirent *d;
    while (!stray && (d = readdir(dir))) {
        ssize_t n = readlinkat(dirfd(dir), d->d_name, target, sizeof target - 1);
        if (n < 0 || atoi(d->d_name) < VMCTL_FD)
            continue;
        target[n] = '\0';
        static const char *const expected[] = {"socket:",    "/dev/kvm",    "/dev/net/tun",
                                               "/memfd:log", "anon_inode:", "/proc/"};
        bool known = false;
        for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++)
            known = known || strncmp(target, expected[i], strlen(expected[i])) == 0;
        stray = known ? NULL : target;
    }
    closedir(dir);
    if (stray)
        fail_msg("a descriptor is %s", stray);
}

// ---- Linux guests: booted in tests/lab ----

static void make_linux(struct fixture *f)
{
    f->config.kind = VMCTL_KIND_LINUX;
    f->config.memory_mib = 64;
    f->config.n_args = 0;
    close(f->fds[3]); // the log follows the kernel
    f->fds[3] = f->fds[4];
    f->n_fds = 4;
}

static void a_linux_guest_is_refused_without_hardware_virtualization(void **state)
{
    struct fixture *f = *state;
    if (access("/sys/module/kvm_pvm", F_OK) < 0)
        skip();
    make_linux(f);
    send_config(f);
    assert_failed(f, VMCTL_CAUSE_KVM, "no hardware virtualization", 1);
    assert_non_null(strstr(f->reason, "a stock Linux kernel cannot run without it"));
    assert_non_null(strstr(f->reason, "use a host with VT-x or AMD-V"));
    f->fds[3] = -1;
}

static void a_linux_guest_wants_a_descriptor_for_each_file(void **state)
{
    struct fixture *f = *state;
    make_linux(f);
    f->config.has_initrd = true;
    f->config.n_disks = 1;
    f->config.disks[0].flags = VMCTL_DISK_OVERLAY;
    send_config(f);
    assert_failed(f, VMCTL_CAUSE_CONFIG, "CONFIG came with 4 descriptors, 7 are needed", 2);
    f->fds[3] = -1;
}

// ---- bad ways ----

static void a_datagram_that_is_no_config_fails(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(io_send_fds(f->control, "\x02\0\0\0", 4, NULL, 0), 0);
    assert_failed(f, VMCTL_CAUSE_CONFIG, "is not CONFIG", 2);
}

static void a_config_that_is_garbage_fails(void **state)
{
    struct fixture *f = *state;
    const uint8_t garbage[] = {VMCTL_CONFIG, 0, 0, 0, 0xff, 0xff, 0xff};
    assert_int_equal(io_send_fds(f->control, garbage, sizeof garbage, f->fds, f->n_fds), 0);
    assert_failed(f, VMCTL_CAUSE_CONFIG, "CONFIG at byte", 2);
}

static void no_config_at_all_ends_it(void **state)
{
    struct fixture *f = *state;
    shutdown(f->control, SHUT_WR);
    assert_failed(f, VMCTL_CAUSE_CONFIG, "closed before CONFIG came", 2);
}

static void a_missing_descriptor_fails(void **state)
{
    struct fixture *f = *state;
    close(f->fds[--f->n_fds]);
    send_config(f);
    assert_failed(f, VMCTL_CAUSE_CONFIG, "CONFIG came with 4 descriptors", 2);
}

static void a_descriptor_of_the_wrong_kind_fails(void **state)
{
    struct fixture *f = *state;
    replace(&f->fds[0], open("/dev/null", O_RDWR));
    send_config(f);
    assert_failed(f, VMCTL_CAUSE_CONFIG, "descriptor 0 of CONFIG is not /dev/kvm", 2);
}

static void a_program_that_cannot_be_loaded_fails_with_its_reason(void **state)
{
    struct fixture *f = *state;
    replace(&f->fds[3], open("/bin/ls", O_RDONLY)); // position independent, dynamically linked
    send_config(f);
    assert_failed(f, VMCTL_CAUSE_PROGRAM, "the program is dynamically linked: link it with -static", 1);
}

static void a_kernel_that_is_none_fails(void **state)
{
    struct fixture *f = *state;
    replace(&f->fds[2], PROGRAM(exit_42));
    send_config(f);
    assert_failed(f, VMCTL_CAUSE_CONFIG, "the kernel has a segment", 1);
}

static void a_log_that_is_none_fails(void **state)
{
    struct fixture *f = *state;
    replace(&f->fds[4], memfd_create("log", MFD_CLOEXEC));
    send_config(f);
    assert_failed(f, VMCTL_CAUSE_CONFIG, "the log is no log ring", 1);
}

static void a_faulting_guest_fails_with_its_reason(void **state)
{
    struct fixture *f = *state;
    replace(&f->fds[2], KERNEL(enter_program));
    replace(&f->fds[3], PROGRAM(write_null));
    send_config(f);
    assert_failed(f, VMCTL_CAUSE_GUEST_FAULT, "page fault in the program: write to 0x8, a NULL pointer", 1);
}

// A tap of this test's own, in a network namespace that goes away with it.
static const char *prepare(void)
{
    kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm_fd < 0)
        return "needs /dev/kvm";
    if (unshare(CLONE_NEWNET) < 0)
        return "needs root, for a tap";
    tap_fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, .ifr_name = "cell0"};
    int header = 12;
    if (tap_fd < 0 || ioctl(tap_fd, TUNSETIFF, &ifr) < 0 || ioctl(tap_fd, TUNSETVNETHDRSZ, &header) < 0)
        return "needs /dev/net/tun";
    return NULL;
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const char *missing = prepare();
    if (missing) {
        printf("SKIPPED: %s (%s)\n", missing, strerror(errno));
        return 77;
    }
    const struct CMUnitTest tests[] = {
        CASE(a_guest_boots_runs_and_exits),
        CASE(the_log_is_whole_when_the_exit_is_known),
        CASE(a_flood_is_limited_dropped_and_told),
        CASE(a_spinning_guest_can_be_told_to_quit),
        CASE(an_idle_guest_stands_still_and_goes_on),
        CASE(a_spinning_guest_released_for_a_moment_says_that_it_stands_still),
        CASE(an_idle_guest_ends_when_nobody_is_there),
        CASE(orders_in_any_order_and_twice_are_followed),
        CASE(orders_to_devices_without_a_driver_harm_nobody),
        CASE(what_the_guest_has_of_its_memory_is_told),
        CASE(a_paused_guest_can_be_told_to_quit),
        CASE(a_running_envvm_has_no_rights_left),
        CASE(a_running_envvm_holds_only_its_own_descriptors),
        CASE(a_linux_guest_is_refused_without_hardware_virtualization),
        CASE(a_linux_guest_wants_a_descriptor_for_each_file),
        CASE(a_datagram_that_is_no_config_fails),
        CASE(a_config_that_is_garbage_fails),
        CASE(no_config_at_all_ends_it),
        CASE(a_missing_descriptor_fails),
        CASE(a_descriptor_of_the_wrong_kind_fails),
        CASE(a_program_that_cannot_be_loaded_fails_with_its_reason),
        CASE(a_kernel_that_is_none_fails),
        CASE(a_log_that_is_none_fails),
        CASE(a_faulting_guest_fails_with_its_reason),
    };
    return cmocka_run_group_tests_name("vmm/envvm", tests, NULL, NULL);
}
