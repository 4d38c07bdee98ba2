// Owns one control socket to an envvm. Called by env.c; must not know an environment's states.
#include "env/vm_link.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/io.h"

#define PER_ROUND 32                      // datagrams before others have their turn
#define DRAIN_MAX 4096                    // what may have piled up while nobody read
#define IN_MAX    (VMCTL_REASON_MAX + 64) // envvm sends nothing longer

struct vm_link {
    int fd;
    struct event *readable;
    struct vm_link_cb cb;
    void *arg;
    bool ended;
    bool *freed; // set when the link is freed within its own callbacks
};

static void link_end(struct vm_link *link, const char *reason)
{
    link->ended = true;
    event_del(link->readable);
    link->cb.on_end(link->arg, reason);
}

static void dispatch_state(struct vm_link *link, const struct vmctl_message *m)
{
    char reason[VMCTL_REASON_MAX + 1];
    if (wire_view_to_cstr(m->state.reason, reason, sizeof reason))
        link->cb.on_state(link->arg, m->state.state, m->state.cause, m->state.code, reason);
}

static void handle(struct vm_link *link, const struct vmctl_message *m, int *fd)
{
    if (m->type == VMCTL_STATE && *fd < 0)
        dispatch_state(link, m);
    else if (m->type == VMCTL_STREAM && *fd >= 0)
        link->cb.on_stream(link->arg, m->stream.guest_port, m->stream.host_port, take_fd(fd));
    else if (m->type == VMCTL_LOG && *fd < 0)
        link->cb.on_log(link->arg, m->log_total);
    else if (m->type == VMCTL_CONSOLE)
        link->cb.on_console(link->arg, take_fd(fd));
    else if (m->type == VMCTL_STATS_IS && *fd < 0)
        link->cb.on_stats(link->arg, &m->stats);
    else
        link_end(link, "envvm sent a message out of direction, or with the wrong descriptors");
}

// False when there is nothing more to read now, or ever.
static bool receive_one(struct vm_link *link)
{
    uint8_t untrusted[IN_MAX];
    struct vmctl_message m;
    struct wire_error error;
    int fds[1];
    size_t n_fds = 1;
    ssize_t n = io_recv_fds(link->fd, untrusted, sizeof untrusted, fds, &n_fds);
    if (n == -EAGAIN)
        return false;
    if (n <= 0) {
        link_end(link, n == -EMSGSIZE ? "envvm sent a message that is too long" : NULL);
        return false;
    }
    _cleanup_close_ int fd = n_fds > 0 ? fds[0] : -1;
    if (!vmctl_read(untrusted, (size_t)n, &m, &error)) {
        link_end(link, "envvm sent a malformed message");
        return false;
    }
    handle(link, &m, &fd);
    return true;
}

static void receive(struct vm_link *link, int max)
{
    bool freed = false;
    bool *outer = link->freed;
    link->freed = &freed;
    for (int i = 0; i < max && !link->ended; i++) {
        bool more = receive_one(link);
        if (freed) {
            if (outer)
                *outer = true;
            return;
        }
        if (!more)
            break;
    }
    link->freed = outer;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    receive(arg, PER_ROUND);
}

struct vm_link *vm_link_new(struct event_base *base, int fd, const struct vm_link_cb *cb, void *arg)
{
    struct vm_link *link = calloc(1, sizeof *link);
    if (!link)
        return NULL;
    *link = (struct vm_link){.fd = fd, .cb = *cb, .arg = arg};
    link->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, link);
    if (!link->readable || fcntl(fd, F_SETFL, O_NONBLOCK) < 0 || event_add(link->readable, NULL) < 0) {
        if (link->readable)
            event_free(link->readable);
        free(link);
        return NULL;
    }
    return link;
}

void vm_link_free(struct vm_link *link)
{
    if (!link)
        return;
    if (link->freed)
        *link->freed = true;
    event_free(link->readable);
    close(link->fd);
    free(link);
}

static int send_message(struct vm_link *link, const struct vmctl_message *m)
{
    uint8_t data[16];
    struct wire_writer w;
    wire_writer_init(&w, data, sizeof data);
    vmctl_write(&w, m);
    return link->ended ? -ENOTCONN : io_send_fds(link->fd, data, w.pos, NULL, 0);
}

static int send_simple(struct vm_link *link, enum vmctl_type type)
{
    return send_message(link, &(struct vmctl_message){.type = type});
}

int vm_link_console(struct vm_link *link)
{
    return send_simple(link, VMCTL_CONSOLE);
}

int vm_link_resize(struct vm_link *link, uint16_t columns, uint16_t rows)
{
    return send_message(link, &(struct vmctl_message){.type = VMCTL_RESIZE, .resize = {columns, rows}});
}

int vm_link_query(struct vm_link *link)
{
    return send_simple(link, VMCTL_QUERY);
}

int vm_link_pause(struct vm_link *link)
{
    return send_simple(link, VMCTL_PAUSE);
}

int vm_link_resume(struct vm_link *link)
{
    return send_simple(link, VMCTL_RESUME);
}

int vm_link_stats(struct vm_link *link)
{
    return send_simple(link, VMCTL_STATS);
}

int vm_link_quit(struct vm_link *link)
{
    return send_simple(link, VMCTL_QUIT);
}

void vm_link_drain(struct vm_link *link)
{
    receive(link, DRAIN_MAX);
}
