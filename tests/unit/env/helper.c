// Owns the part of envpriv, envvm and agent in the manager's tests.
#include "helper.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/io.h"
#include "proto/agent.h"

#define VIEW(s) ((struct wire_view){(const uint8_t *)(s), strlen(s)})

static void say(struct helper *h, const struct privctl_message *m, int fd)
{
    uint8_t data[2048];
    struct wire_writer w;
    if (h->sock < 0)
        return;
    wire_writer_init(&w, data, sizeof data);
    privctl_write(&w, m);
    assert_false(w.overflow);
    assert_int_equal(io_send_fds(h->sock, data, w.pos, &fd, fd >= 0 ? 1 : 0), 0);
}

static void say_fail(struct helper *h, uint32_t tag, const char *text)
{
    say(h, &(struct privctl_message){.type = PRIVCTL_FAIL, .tag = tag, .fail = {EIO, VIEW(text)}}, -1);
}

static void say_ok(struct helper *h, uint32_t tag)
{
    say(h, &(struct privctl_message){.type = PRIVCTL_OK, .tag = tag}, -1);
}

static struct helper_vm *vm_by_id(struct helper *h, const struct id *id)
{
    for (size_t i = 0; i < h->n_vms; i++)
        if (id_equals(&h->vms[i].id, id))
            return &h->vms[i];
    return NULL;
}

static void handle_spawn(struct helper *h, const struct privctl_message *m)
{
    int fds[2];
    if (h->refuse_spawn) {
        say_fail(h, m->tag, "there is no /dev/kvm: load kvm_intel or kvm_amd");
        return;
    }
    assert_true(h->n_vms < HELPER_VMS);
    h->spawn = m->spawn;
    struct helper_vm *vm = &h->vms[h->n_vms++];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
    *vm = (struct helper_vm){.id = m->spawn.vm, .control = fds[0], .daemon = fds[1], .agent = -1};
    fcntl(vm->control, F_SETFL, O_NONBLOCK);
    memcpy(vm->tenant, m->spawn.tenant, sizeof vm->tenant);
    memcpy(vm->name, m->spawn.name, sizeof vm->name);
    say(h, &(struct privctl_message){.type = PRIVCTL_SPAWN_OK, .tag = m->tag, .spawn_ok = {vm->id, 4242, 5}},
        vm->daemon);
}

static void handle_kill(struct helper *h, const struct privctl_message *m)
{
    struct helper_vm *vm = vm_by_id(h, &m->vm);
    h->kills++;
    say_ok(h, m->tag);
    if (vm && !vm->exited && !h->stubborn) {
        vm->killed = true;
        vm_exit(h, vm, 9);
    }
}

static void handle_list(struct helper *h, uint32_t tag)
{
    for (size_t i = 0; i < h->n_vms; i++) {
        struct helper_vm *vm = &h->vms[i];
        struct privctl_message m = {
            .type = PRIVCTL_LIST_ENTRY, .tag = tag, .entry = {.vm = vm->id, .pid = 4242, .uid = 5}};
        if (vm->forgotten)
            continue;
        memcpy(m.entry.tenant, vm->tenant, sizeof vm->tenant);
        memcpy(m.entry.name, vm->name, sizeof vm->name);
        m.entry.exited = vm->exited;
        m.entry.wait_status = vm->wait_status;
        say(h, &m, vm->daemon);
    }
    say_ok(h, tag);
}

static void handle(struct helper *h, const struct privctl_message *m)
{
    struct helper_vm *vm;
    switch (m->type) {
    case PRIVCTL_HELLO:
        say(h,
            &(struct privctl_message){.type = PRIVCTL_HELLO_OK,
                                      .tag = m->tag,
                                      .hello_ok = {PRIVCTL_VERSION, VIEW("test"),
                                                   h->kvm ? VIEW(h->kvm) : VIEW("hw"), VIEW("a test"),
                                                   VIEW("v2")}},
            -1);
        break;
    case PRIVCTL_LIST:
        handle_list(h, m->tag);
        break;
    case PRIVCTL_SPAWN:
        handle_spawn(h, m);
        break;
    case PRIVCTL_KILL:
        handle_kill(h, m);
        break;
    case PRIVCTL_FORGET:
        vm = vm_by_id(h, &m->vm);
        if (vm)
            vm->forgotten = true;
        say_ok(h, m->tag);
        break;
    case PRIVCTL_NET_UP:
        h->nets_up++;
        if (h->refuse_net)
            say_fail(h, m->tag, "no bridge could be made");
        else
            say_ok(h, m->tag);
        break;
    case PRIVCTL_NET_DOWN:
        h->nets_down++;
        say_ok(h, m->tag);
        break;
    default:
        fail_msg("envd sent %s", privctl_type_name(m->type));
    }
}

static void on_request(evutil_socket_t sock, short what, void *arg)
{
    static uint8_t data[PRIVCTL_DATAGRAM_MAX];
    struct helper *h = arg;
    struct privctl_message m;
    struct wire_error error;
    int fds[PRIVCTL_FDS_MAX];
    size_t n_fds = PRIVCTL_FDS_MAX;
    (void)what;
    ssize_t n = io_recv_fds(sock, data, sizeof data, fds, &n_fds);
    if (n <= 0) {
        helper_drop(h);
        return;
    }
    for (size_t i = 0; i < n_fds; i++)
        close(fds[i]);
    if (!privctl_read(data, (size_t)n, &m, &error))
        fail_msg("envd sent a malformed message: %s", error.what);
    if (m.type == PRIVCTL_SPAWN)
        h->n_spawn_fds = n_fds;
    if (!h->silent)
        handle(h, &m);
}

static void on_connection(evutil_socket_t listener, short what, void *arg)
{
    struct helper *h = arg;
    (void)what;
    helper_drop(h);
    h->sock = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (h->sock < 0)
        return;
    h->reading = event_new(h->d->f->base, h->sock, EV_READ | EV_PERSIST, on_request, h);
    event_add(h->reading, NULL);
}

void helper_start(struct helper *h, struct daemon *d)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    h->d = d;
    h->sock = -1;
    memcpy(sa.sun_path, d->priv, sizeof d->priv);
    unlink(d->priv);
    h->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(h->listener, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(listen(h->listener, 4), 0);
    h->accepting = event_new(d->f->base, h->listener, EV_READ | EV_PERSIST, on_connection, h);
    event_add(h->accepting, NULL);
}

void helper_drop(struct helper *h)
{
    if (h->sock < 0)
        return;
    event_free(h->reading);
    close(h->sock);
    h->sock = -1;
}

static void vm_close(struct helper_vm *vm)
{
    if (vm->control >= 0)
        close(vm->control);
    if (vm->agent >= 0)
        close(vm->agent);
    vm->control = vm->agent = -1;
}

void helper_stop(struct helper *h)
{
    helper_drop(h);
    if (h->accepting) {
        event_free(h->accepting);
        close(h->listener);
        h->accepting = NULL;
    }
    for (size_t i = 0; i < h->n_vms; i++) {
        vm_close(&h->vms[i]);
        close(h->vms[i].daemon);
    }
    h->n_vms = 0;
}

static const char *state_of(struct daemon *d, const char *environment)
{
    static char state[32];
    char path[160], tenant[NAME_CAP], name[NAME_CAP];
    assert_int_equal(sscanf(environment, "%63[^/]/%63s", tenant, name), 2);
    snprintf(path, sizeof path, "/v1/tenants/%s/environments/%s", tenant, name);
    call_ok(d, 200, "GET", path, NULL);
    snprintf(state, sizeof state, "%s", text_at("status.state"));
    return state;
}

void helper_until(struct helper *h, const char *environment, const char *state)
{
    uint64_t end = io_monotonic_ns() + 30000000000ull;
    for (;;) {
        const char *now = state_of(h->d, environment);
        if (strcmp(now, state) == 0)
            return;
        if (io_monotonic_ns() > end)
            fail_msg("%s is %s, not %s, after 30 s", environment, now, state);
    }
}

void helper_run_ms(struct helper *h, unsigned ms)
{
    uint64_t end = io_monotonic_ns() + ms * 1000000ull;
    while (io_monotonic_ns() < end) {
        event_base_loop(h->d->f->base, EVLOOP_NONBLOCK);
        usleep(500);
    }
}

struct helper_vm *helper_vm(struct helper *h, const char *environment)
{
    for (size_t i = h->n_vms; i > 0; i--) {
        char name[2 * NAME_CAP];
        snprintf(name, sizeof name, "%s/%s", h->vms[i - 1].tenant, h->vms[i - 1].name);
        if (strcmp(name, environment) == 0)
            return &h->vms[i - 1];
    }
    fail_msg("no virtual machine was spawned for %s", environment);
    return NULL;
}

// --- envvm ---

static void vm_say(struct helper_vm *vm, const struct vmctl_message *m, int fd)
{
    uint8_t data[1024];
    struct wire_writer w;
    wire_writer_init(&w, data, sizeof data);
    vmctl_write(&w, m);
    assert_int_equal(io_send_fds(vm->control, data, w.pos, &fd, fd >= 0 ? 1 : 0), 0);
}

void vm_state(struct helper_vm *vm, enum vmctl_state state, enum vmctl_cause cause, int32_t code,
              const char *reason)
{
    vm_say(vm, &(struct vmctl_message){.type = VMCTL_STATE, .state = {state, cause, code, VIEW(reason)}}, -1);
}

void vm_stats(struct helper_vm *vm, const struct vmctl_stats *stats)
{
    vm_say(vm, &(struct vmctl_message){.type = VMCTL_STATS_IS, .stats = *stats}, -1);
}

void vm_pass_stream(struct helper_vm *vm, int fd)
{
    vm_say(vm, &(struct vmctl_message){.type = VMCTL_STREAM, .stream = {5000, AGENT_VSOCK_PORT}}, fd);
    close(fd);
}

int vm_stream(struct helper_vm *vm)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    vm_pass_stream(vm, fds[1]);
    return fds[0];
}

int vm_console(struct helper_vm *vm)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    vm_say(vm, &(struct vmctl_message){.type = VMCTL_CONSOLE}, fds[1]);
    close(fds[1]);
    return fds[0];
}

void vm_no_console(struct helper_vm *vm)
{
    vm_say(vm, &(struct vmctl_message){.type = VMCTL_CONSOLE}, -1);
}

void vm_connect(struct helper_vm *vm)
{
    int fd = vm_stream(vm);
    if (vm->agent >= 0)
        close(vm->agent);
    vm->agent = fd;
}

void vm_hello(struct helper_vm *vm)
{
    vm_hello_with(vm, 0);
}

void vm_hello_with(struct helper_vm *vm, uint32_t capabilities)
{
    uint8_t data[256];
    struct wire_writer w;
    struct agent_frame hello = {.type = AGENT_HELLO,
                                .hello = {AGENT_VERSION, AGENT_VERSION, capabilities, VIEW("test agent")}};
    vm_connect(vm);
    wire_writer_init(&w, data, sizeof data);
    agent_frame_write(&w, &hello);
    assert_int_equal(write(vm->agent, data, w.pos), w.pos);
}

void vm_exit(struct helper *h, struct helper_vm *vm, int32_t wait_status)
{
    vm_close(vm);
    vm->exited = true;
    vm->wait_status = wait_status;
    say(h,
        &(struct privctl_message){.type = PRIVCTL_EXITED,
                                  .entry = {.vm = vm->id, .wait_status = wait_status}},
        -1);
}

enum vmctl_type vm_order(struct helper_vm *vm)
{
    uint8_t data[1024];
    enum vmctl_type newest = 0;
    for (;;) {
        ssize_t n = read(vm->control, data, sizeof data);
        if (n <= 0)
            return newest;
        newest = vmctl_type_of(data, (size_t)n);
    }
}
