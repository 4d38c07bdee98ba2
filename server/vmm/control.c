// Owns the control socket. Called by machine; knows what the messages are, not what makes them.
#include "control.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "common/io.h"
#include "proto/wire.h"

#define DATAGRAM_CAP (VMCTL_REASON_MAX + 64u) // STATE is the longest

int control_init(struct control *c, int fd, struct err *err)
{
    *c = (struct control){.fd = fd, .console_fd = -1};
    const int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return err_errno(err, -errno, "make the control socket non-blocking");
    return 0;
}

static void drop_console(struct control *c)
{
    if (c->console_due && c->console_fd >= 0)
        close(c->console_fd);
    c->console_due = false;
}

void control_done(struct control *c)
{
    drop_console(c);
    for (; c->n_streams > 0; c->n_streams--) {
        close(c->streams[c->first_stream].fd);
        c->first_stream = (c->first_stream + 1) % CONTROL_STREAMS_MAX;
    }
    loop_remove(c->source);
    c->source = NULL;
}

// 0 when the message is on its way or nobody is there to get it, -EAGAIN when there is no room.
static int send_message(struct control *c, const struct vmctl_message *m, int fd)
{
    uint8_t data[DATAGRAM_CAP];
    struct wire_writer w;
    wire_writer_init(&w, data, sizeof data);
    vmctl_write(&w, m);
    if (w.overflow)
        return 0; // a bug: reasons are cut to VMCTL_REASON_MAX
    int rc = io_send_fds(c->fd, data, w.pos, &fd, fd >= 0 ? 1 : 0);
    if (rc == -EAGAIN || rc == -ENOBUFS || rc == -ENOMEM || rc == -ETOOMANYREFS)
        return -EAGAIN;
    if (rc < 0)
        c->gone = true;
    return 0;
}

static int send_log(struct control *c)
{
    if (!c->log_due)
        return 0;
    const struct vmctl_message m = {.type = VMCTL_LOG, .log_total = c->log_total};
    if (send_message(c, &m, -1) < 0)
        return -EAGAIN;
    c->log_due = false;
    return 0;
}

static int send_state(struct control *c)
{
    if (!c->state_due)
        return 0;
    const struct outcome *o = &c->state;
    struct vmctl_message m = {.type = VMCTL_STATE};
    m.state.state = o->state;
    m.state.cause = o->cause;
    m.state.code = o->code;
    m.state.reason = (struct wire_view){.data = (const uint8_t *)o->reason, .len = strlen(o->reason)};
    if (send_message(c, &m, -1) < 0)
        return -EAGAIN;
    c->state_due = false;
    return 0;
}

static int send_streams(struct control *c)
{
    while (c->n_streams > 0) {
        const struct control_stream *s = &c->streams[c->first_stream];
        struct vmctl_message m = {.type = VMCTL_STREAM};
        m.stream.guest_port = s->guest_port;
        m.stream.host_port = s->host_port;
        if (send_message(c, &m, s->fd) < 0)
            return -EAGAIN;
        close(s->fd);
        c->first_stream = (c->first_stream + 1) % CONTROL_STREAMS_MAX;
        c->n_streams--;
    }
    return 0;
}

static int send_stats(struct control *c)
{
    if (!c->stats_due)
        return 0;
    struct vmctl_message m = {.type = VMCTL_STATS_IS};
    c->ops->stats(c->arg, &m.stats);
    if (send_message(c, &m, -1) < 0)
        return -EAGAIN;
    c->stats_due = false;
    return 0;
}

static int send_console(struct control *c)
{
    const struct vmctl_message m = {.type = VMCTL_CONSOLE};
    if (c->console_due && send_message(c, &m, c->console_fd) < 0)
        return -EAGAIN;
    drop_console(c);
    return 0;
}

// Sends what can be sent, and asks for EPOLLOUT when something stays. The log goes before the state: whoever
// learns that a guest has ended knows its whole log.
static void flush(struct control *c)
{
    const bool all_sent = send_log(c) == 0 && send_state(c) == 0 && send_streams(c) == 0 &&
                          send_stats(c) == 0 && send_console(c) == 0;
    if (c->source)
        loop_modify(c->source, EPOLLIN | (all_sent ? 0 : EPOLLOUT));
}

void control_set_state(struct control *c, const struct outcome *state)
{
    c->state = *state;
    c->state_due = true;
    flush(c);
}

void control_set_log(struct control *c, uint64_t total)
{
    c->log_total = total;
    c->log_due = true;
    flush(c);
}

int control_add_stream(struct control *c, uint32_t guest_port, uint32_t host_port, int fd)
{
    if (c->gone || c->n_streams == CONTROL_STREAMS_MAX) {
        close(fd);
        return c->gone ? -EPIPE : -EAGAIN;
    }
    c->streams[(c->first_stream + c->n_streams++) % CONTROL_STREAMS_MAX] =
        (struct control_stream){.guest_port = guest_port, .host_port = host_port, .fd = fd};
    flush(c);
    return 0;
}

void control_finish(struct control *c, int timeout_ms)
{
    const uint64_t end_ns = io_monotonic_ns() + (uint64_t)timeout_ms * 1000000u;
    while (!c->gone && (send_log(c) < 0 || send_state(c) < 0)) {
        if (io_monotonic_ns() >= end_ns)
            return;
        struct pollfd p = {.fd = c->fd, .events = POLLOUT};
        poll(&p, 1, timeout_ms);
    }
}

static void handle_query(struct control *c, const struct vmctl_message *m)
{
    (void)m;
    c->state_due = true;
    c->log_due = true;
}

static void handle_quit(struct control *c, const struct vmctl_message *m)
{
    (void)m;
    c->ops->quit(c->arg);
}

static void handle_pause(struct control *c, const struct vmctl_message *m)
{
    (void)m;
    if (c->ops->pause)
        c->ops->pause(c->arg);
}

static void handle_resume(struct control *c, const struct vmctl_message *m)
{
    (void)m;
    if (c->ops->resume)
        c->ops->resume(c->arg);
}

static void handle_console(struct control *c, const struct vmctl_message *m)
{
    (void)m;
    drop_console(c);
    const int fd = c->ops->console ? c->ops->console(c->arg) : -1;
    c->console_fd = fd >= 0 ? fd : -1;
    c->console_due = true;
}

static void handle_resize(struct control *c, const struct vmctl_message *m)
{
    if (c->ops->resize)
        c->ops->resize(c->arg, m->resize.columns, m->resize.rows);
}

static void handle_balloon(struct control *c, const struct vmctl_message *m)
{
    if (c->ops->balloon)
        c->ops->balloon(c->arg, m->balloon_target_mib);
}

static void handle_stats(struct control *c, const struct vmctl_message *m)
{
    (void)m;
    c->stats_due = c->ops->stats;
}

static void (*const handlers[VMCTL_TYPE_COUNT])(struct control *c, const struct vmctl_message *m) = {
    [VMCTL_QUERY] = handle_query,     [VMCTL_QUIT] = handle_quit,       [VMCTL_PAUSE] = handle_pause,
    [VMCTL_RESUME] = handle_resume,   [VMCTL_CONSOLE] = handle_console, [VMCTL_RESIZE] = handle_resize,
    [VMCTL_BALLOON] = handle_balloon, [VMCTL_STATS] = handle_stats,
};

// One datagram. False when the socket has nothing more, or nobody is there any more.
static bool receive_one(struct control *c)
{
    uint8_t data[64];
    size_t n_fds = 0;
    int no_fds[1];
    ssize_t n = io_recv_fds(c->fd, data, sizeof data, no_fds, &n_fds);
    if (n == -EAGAIN)
        return false;
    if (n == -EMSGSIZE)
        return true; // nothing that envvm knows is that long
    if (n <= 0) {
        c->gone = true;
        c->ops->quit(c->arg);
        return false;
    }
    struct vmctl_message m;
    struct wire_error wrong;
    if (vmctl_read(data, (size_t)n, &m, &wrong) && handlers[m.type])
        handlers[m.type](c, &m);
    return true;
}

static void on_control(void *arg, uint32_t events)
{
    struct control *c = arg;
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        receive_one(c);
    if (c->gone) {
        loop_remove(c->source);
        c->source = NULL;
        return;
    }
    flush(c);
}

int control_watch(struct control *c, struct loop *loop, const struct control_ops *ops, void *arg)
{
    c->ops = ops;
    c->arg = arg;
    c->source = loop_add(loop, c->fd, EPOLLIN, on_control, c);
    if (!c->source)
        return -errno;
    loop_keep_awake(c->source); // how else would a resume be heard
    return 0;
}
