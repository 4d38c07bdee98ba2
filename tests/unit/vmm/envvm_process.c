// See envvm_process.h.
#include "envvm_process.h"

#include <errno.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include "proto/cell.h"

#define CODE_OFFSET 0x100u // in the kernel's segment, after the header

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

int make_kernel(const uint8_t *code, const uint8_t *end)
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

int make_program(const uint8_t *code, const uint8_t *end)
{
    return make_elf(0x400000, "", 0, code, end);
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

void replace(int *slot, int fd)
{
    close(*slot);
    *slot = fd;
}

int envvm_setup(void **state)
{
    struct envvm *f = calloc(1, sizeof *f);
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

int envvm_teardown(void **state)
{
    struct envvm *f = *state;
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

void send_config(struct envvm *f)
{
    static uint8_t data[VMCTL_DATAGRAM_MAX];
    struct wire_writer w;
    wire_writer_init(&w, data, sizeof data);
    wire_write_u16(&w, VMCTL_CONFIG);
    wire_write_u16(&w, 0);
    vmctl_config_write(&w, &f->config);
    assert_int_equal(io_send_fds(f->control, data, w.pos, f->fds, f->n_fds), 0);
}

void send_order(struct envvm *f, const struct vmctl_message *m)
{
    uint8_t data[64];
    struct wire_writer w;
    wire_writer_init(&w, data, sizeof data);
    vmctl_write(&w, m);
    assert_int_equal(io_send_fds(f->control, data, w.pos, NULL, 0), 0);
}

void send_type(struct envvm *f, enum vmctl_type type)
{
    send_order(f, &(struct vmctl_message){.type = type});
}

void send_quit(struct envvm *f)
{
    send_type(f, VMCTL_QUIT);
}

bool take(struct envvm *f)
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

void await_state(struct envvm *f, enum vmctl_state state)
{
    while (f->n_states == 0 || f->states[f->n_states - 1] != state)
        if (!take(f))
            fail_msg("the socket ended before state %s", vmctl_state_name(state));
}

int await_end(struct envvm *f)
{
    while (take(f))
        continue;
    int status;
    assert_int_equal(waitpid(f->pid, &status, 0), f->pid);
    f->pid = 0;
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
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

bool envvm_prepare(void)
{
    const char *missing = prepare();
    if (missing)
        printf("SKIPPED: %s (%s)\n", missing, strerror(errno));
    return !missing;
}
