// Owns the first bytes of a guest's stream. Called by env/ and libevent; must not know sessions.
#include "route/arrival.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"

struct arrival {
    int fd;
    struct event *readable;
    struct arrival_cb cb;
    void *arg;
    size_t len;
    uint8_t head[ARRIVAL_HEAD_MAX];
};

void arrival_free(struct arrival *a)
{
    if (!a)
        return;
    if (a->readable)
        event_free(a->readable);
    if (a->fd >= 0)
        close(a->fd);
    free(a);
}

static void end(struct arrival *a)
{
    a->cb.on_closed(a->arg, a);
    arrival_free(a);
}

// A header that is none is for the session to complain about.
static bool is_attach(const struct arrival *a)
{
    struct agent_header h;
    return !agent_header_read(a->head, &h) && h.type == AGENT_ATTACH;
}

static void hand_over_attach(struct arrival *a)
{
    struct agent_header h;
    struct agent_frame f;
    struct wire_error error;
    if (agent_header_read(a->head, &h) || !agent_frame_read(&h, a->head + AGENT_HEADER_LEN, &f, &error)) {
        end(a);
        return;
    }
    event_del(a->readable);
    a->cb.on_attach(a->arg, a, take_fd(&a->fd), &f.session.token);
    arrival_free(a);
}

static void hand_over_agent(struct arrival *a)
{
    event_del(a->readable);
    a->cb.on_agent(a->arg, a, take_fd(&a->fd), a->head, a->len);
    arrival_free(a);
}

// Reads no more than the frame that is looked for: what follows ATTACH belongs to the session's client.
static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    struct arrival *a = arg;
    size_t wanted = a->len < AGENT_HEADER_LEN ? AGENT_HEADER_LEN : ARRIVAL_HEAD_MAX;
    ssize_t n = what & EV_TIMEOUT ? 0 : recv(a->fd, a->head + a->len, wanted - a->len, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        end(a);
        return;
    }
    a->len += (size_t)n;
    if (a->len == AGENT_HEADER_LEN && !is_attach(a))
        hand_over_agent(a);
    else if (a->len == ARRIVAL_HEAD_MAX)
        hand_over_attach(a);
}

struct arrival *arrival_new(struct event_base *base, int fd, uint32_t timeout_ms, const struct arrival_cb *cb,
                            void *arg)
{
    const struct timeval tv = {timeout_ms / 1000, (suseconds_t)(timeout_ms % 1000) * 1000};
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return NULL;
    struct arrival *a = calloc(1, sizeof *a);
    if (!a)
        return NULL;
    *a = (struct arrival){.fd = -1, .cb = *cb, .arg = arg};
    a->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, a);
    if (!a->readable || event_add(a->readable, &tv) < 0) {
        arrival_free(a);
        return NULL;
    }
    a->fd = fd;
    return a;
}
