// Owns the processes and connections of the stories about envpriv.
#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/io.h"

#define ANSWER_TIMEOUT_MS 10000
#define CONNECT_TRIES     400

char harness_instance[PRIVCTL_INSTANCE_MAX + 1];

static const char *build_folder(void)
{
    const char *build = getenv("ENVD_BUILD");
    return build ? build : ".";
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

int harness_enter(void)
{
    if (geteuid() != 0) {
        fprintf(stderr, "SKIPPED: needs root: envpriv makes taps, cgroups and namespaces\n");
        return 77;
    }
    if (access("/dev/kvm", R_OK | W_OK) != 0) {
        fprintf(stderr, "SKIPPED: there is no /dev/kvm here, and envpriv starts nothing without\n");
        return 77;
    }
    static const char digits[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    unsigned n = (unsigned)getpid();
    for (int i = 0; i < PRIVCTL_INSTANCE_MAX; i++, n /= 36)
        harness_instance[i] = digits[n % 36];
    // What a killed envpriv leaves behind becomes this process's, which can then see how it ended.
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (unshare(CLONE_NEWNET) < 0 || system("ip link set lo up") != 0) {
        perror("a network namespace of its own");
        return 1;
    }
    return 0;
}

_Noreturn void host_execute(const char *folder, const char *envvm, const char *user)
{
    char envpriv[512];
    snprintf(envpriv, sizeof envpriv, "%s/bin/envpriv", build_folder());
    prctl(PR_SET_PDEATHSIG, SIGTERM); // a failed story leaves nothing behind
    execl(envpriv, "envpriv", "--run", folder, "--envvm", envvm, "--user", user, "--instance",
          harness_instance, "--debug", (char *)NULL);
    perror(envpriv);
    _exit(127);
}

void host_launch(struct host *h, const char *envvm)
{
    h->sock = -1;
    h->pid = fork();
    assert_true(h->pid >= 0);
    if (h->pid == 0)
        host_execute(h->folder, envvm, "0");
}

int host_connect(const struct host *h)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/priv.sock", h->folder);
    for (int i = 0; i < CONNECT_TRIES; i++) {
        int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        assert_true(sock >= 0);
        if (connect(sock, (struct sockaddr *)&address, sizeof address) == 0)
            return sock;
        close(sock);
        if (waitpid(h->pid, NULL, WNOHANG) > 0)
            fail_msg("envpriv ended instead of listening");
        pause_ms(10);
    }
    fail_msg("envpriv does not listen");
    return -1;
}

void host_hello(struct host *h, int sock)
{
    h->sock = sock;
    struct privctl_message m = {.type = PRIVCTL_HELLO, .version = PRIVCTL_VERSION};
    struct answer a;
    host_ask(h, &m, NULL, 0, &a);
    assert_int_equal(a.m.type, PRIVCTL_HELLO_OK);
    assert_true(wire_view_equals(a.m.hello_ok.instance, harness_instance));
}

void host_start(struct host *h)
{
    *h = (struct host){.sock = -1};
    strcpy(h->folder, "/tmp/envpriv-story-XXXXXX");
    assert_non_null(mkdtemp(h->folder));
    snprintf(h->envvm, sizeof h->envvm, "%s/guest/test/jail_probe", build_folder());
    host_launch(h, h->envvm);
    host_hello(h, host_connect(h));
}

int host_end(struct host *h, int signal, bool remove)
{
    int status = 0;
    kill(h->pid, signal);
    assert_int_equal(waitpid(h->pid, &status, 0), h->pid);
    if (h->sock >= 0)
        close(h->sock);
    h->sock = -1;
    if (remove)
        assert_int_equal(rmdir(h->folder), 0); // so the socket and the lock are gone too
    return status;
}

static ssize_t receive(int sock, void *bytes, size_t cap, int *fds, size_t *n_fds)
{
    struct pollfd p = {.fd = sock, .events = POLLIN};
    assert_int_equal(poll(&p, 1, ANSWER_TIMEOUT_MS), 1);
    return io_recv_fds(sock, bytes, cap, fds, n_fds);
}

void host_receive(struct host *h, int sock, struct answer *ret)
{
    (void)h;
    ret->n_fds = ANSWER_FDS;
    ssize_t n = receive(sock, ret->bytes, sizeof ret->bytes, ret->fds, &ret->n_fds);
    assert_true(n > 0);
    struct wire_error wrong;
    assert_true(privctl_read(ret->bytes, (size_t)n, &ret->m, &wrong));
    size_t min, max;
    privctl_fds_allowed(ret->m.type, &min, &max);
    assert_in_range(ret->n_fds, min, max);
}

static void note_exit(struct host *h, const struct privctl_message *m)
{
    h->n_exits++;
    h->last_exit = m->entry.vm;
    h->last_wait_status = m->entry.wait_status;
}

void host_ask(struct host *h, struct privctl_message *m, const int *fds, size_t n_fds, struct answer *ret)
{
    static uint8_t bytes[PRIVCTL_DATAGRAM_MAX];
    struct wire_writer w;
    wire_writer_init(&w, bytes, sizeof bytes);
    m->tag = ++h->next_tag;
    if (m->type == PRIVCTL_SPAWN)
        h->last_exit = (struct id){0}; // an id may be used again
    privctl_write(&w, m);
    assert_false(w.overflow);
    assert_int_equal(io_send_fds(h->sock, bytes, w.pos, fds, n_fds), 0);
    for (;;) {
        host_receive(h, h->sock, ret);
        if (ret->m.type != PRIVCTL_EXITED)
            break;
        note_exit(h, &ret->m);
    }
    assert_int_equal(ret->m.tag, m->tag);
}

void host_ask_ok(struct host *h, struct privctl_message *m)
{
    struct answer a;
    host_ask(h, m, NULL, 0, &a);
    if (a.m.type == PRIVCTL_FAIL)
        fail_msg("%s: %.*s", privctl_type_name(m->type), (int)a.m.fail.text.len,
                 (const char *)a.m.fail.text.data);
    assert_int_equal(a.m.type, PRIVCTL_OK);
}

void host_ask_fails(struct host *h, struct privctl_message *m, const int *fds, size_t n_fds, int error,
                    const char *words)
{
    struct answer a;
    host_ask(h, m, fds, n_fds, &a);
    assert_int_equal(a.m.type, PRIVCTL_FAIL);
    char text[PRIVCTL_TEXT_MAX + 1];
    assert_true(wire_view_to_cstr(a.m.fail.text, text, sizeof text));
    if (!strstr(text, words))
        fail_msg("\"%s\" does not say \"%s\"", text, words);
    assert_int_equal(a.m.fail.error, error);
}

void host_await_exit(struct host *h, const struct id *vm)
{
    while (!id_equals(&h->last_exit, vm)) {
        struct answer a;
        host_receive(h, h->sock, &a);
        assert_int_equal(a.m.type, PRIVCTL_EXITED);
        note_exit(h, &a.m);
    }
}

void host_net_up(struct host *h, uint16_t net, uint32_t gateway)
{
    struct privctl_message m = {.type = PRIVCTL_NET_UP, .net = {net, gateway, HARNESS_PREFIX}};
    host_ask_ok(h, &m);
}

void guest_request(struct privctl_message *m, unsigned n)
{
    static const char config[] = "not for envpriv to read";
    *m = (struct privctl_message){.type = PRIVCTL_SPAWN};
    struct privctl_spawn *s = &m->spawn;
    s->vm.bytes[0] = 0xee;
    s->vm.bytes[15] = (uint8_t)n;
    s->vm.bytes[14] = (uint8_t)(n >> 8);
    strcpy(s->tenant, "acme");
    snprintf(s->name, sizeof s->name, "web-%u", n);
    s->memory_max_bytes = 64u << 20;
    s->cpu_weight = 50;
    s->cpu_percent = 150;
    s->pids_max = 20;
    s->net = HARNESS_NET;
    memcpy(s->mac, (uint8_t[]){0x02, 0x11, 0x22, 0x33, (uint8_t)(n >> 8), (uint8_t)n}, 6);
    s->ipv4 = HARNESS_GATEWAY + 1 + n;
    s->vm_config = (struct wire_view){(const uint8_t *)config, sizeof config};
}

// An anonymous file of len bytes, opened as asked.
static int file_of(size_t len, int flags)
{
    char path[64];
    int fd = memfd_create("story", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)len), 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int opened = open(path, flags | O_CLOEXEC);
    assert_true(opened >= 0);
    close(fd);
    return opened;
}

void guest_files(int fds[3])
{
    fds[0] = file_of(4096, O_RDONLY);
    fds[1] = file_of(4096, O_RDONLY);
    fds[2] = file_of(LOG_BYTES, O_RDWR);
}

void guest_start_with(struct host *h, struct guest *g, struct privctl_message *m)
{
    int fds[3];
    guest_files(fds);
    struct answer a;
    host_ask(h, m, fds, 3, &a);
    if (a.m.type == PRIVCTL_FAIL)
        fail_msg("SPAWN: %.*s", (int)a.m.fail.text.len, (const char *)a.m.fail.text.data);
    assert_int_equal(a.m.type, PRIVCTL_SPAWN_OK);
    assert_true(id_equals(&a.m.spawn_ok.vm, &m->spawn.vm));
    *g = (struct guest){.vm = m->spawn.vm,
                        .pid = (pid_t)a.m.spawn_ok.pid,
                        .uid = a.m.spawn_ok.uid,
                        .ipv4 = m->spawn.ipv4,
                        .control = a.fds[0]};
    memcpy(g->mac, m->spawn.mac, sizeof g->mac);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
}

void guest_start(struct host *h, struct guest *g, unsigned n)
{
    struct privctl_message m;
    guest_request(&m, n);
    guest_start_with(h, g, &m);
}

void guest_end(struct host *h, struct guest *g)
{
    struct privctl_message m = {.type = PRIVCTL_KILL, .vm = g->vm};
    host_ask_ok(h, &m);
    host_await_exit(h, &g->vm);
    m = (struct privctl_message){.type = PRIVCTL_FORGET, .vm = g->vm};
    host_ask_ok(h, &m);
    close(g->control);
}

size_t guest_ask(const struct guest *g, char command, const void *data, size_t len, void *ret, size_t cap)
{
    uint8_t bytes[1 + PROBE_FRAME_MAX] = {(uint8_t)command};
    assert_true(len <= PROBE_FRAME_MAX);
    if (len > 0)
        memcpy(bytes + 1, data, len);
    assert_int_equal(io_send_fds(g->control, bytes, 1 + len, NULL, 0), 0);
    size_t n_fds = 0;
    ssize_t n = receive(g->control, ret, cap, NULL, &n_fds);
    assert_true(n > 0);
    return (size_t)n;
}

int32_t guest_ask_number(const struct guest *g, char command, const void *data, size_t len)
{
    int32_t value;
    assert_int_equal(guest_ask(g, command, data, len, &value, sizeof value), sizeof value);
    return value;
}

static unsigned count_entries(const char *folder, const char *prefix)
{
    DIR *d = opendir(folder);
    unsigned n = 0;
    for (struct dirent *e; d && (e = readdir(d));)
        n += strncmp(e->d_name, prefix, strlen(prefix)) == 0;
    if (d)
        closedir(d);
    return n;
}

static unsigned count_lines(const char *command)
{
    FILE *f = popen(command, "r");
    assert_non_null(f);
    unsigned n = 0;
    for (int c; (c = fgetc(f)) != EOF;)
        n += c == '\n';
    pclose(f);
    return n;
}

unsigned leftovers(void)
{
    static const char *const cgroups[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/cpu", "/sys/fs/cgroup/memory",
                                          "/sys/fs/cgroup/pids"};
    char text[128];
    // /sys belongs to the namespace that it was mounted in, so the links are asked for, not looked up there.
    snprintf(text, sizeof text, "ip -o link show | grep -o 'ev%s[bt][0-9]*'", harness_instance);
    unsigned n = count_lines(text);
    snprintf(text, sizeof text, "nft list tables | grep envd_%s", harness_instance);
    n += count_lines(text);
    snprintf(text, sizeof text, "envd-%s", harness_instance);
    for (unsigned i = 0; i < sizeof cgroups / sizeof cgroups[0]; i++)
        n += count_entries(cgroups[i], text);
    return n;
}
