// Owns the two ends of a relay and which of them are read. Called by api/ and libevent.
#include "relay/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/buffer.h>

#define REASON_CAP 128

struct end {
    struct relay *relay;
    struct bufferevent *bev;
    bool gone; // takes and gives nothing any more
};

struct relay {
    struct end ends[2]; // by enum relay_from
    struct event *timer;
    struct event *start; // deferred: what came with the client's request
    struct event *over;  // deferred: on_end, then free
    bool finishing;
    bool told;
    bool *freed; // set when the relay is freed within on_end
    struct relay_cb cb;
    void *arg;
    char reason[REASON_CAP];
};

static struct end *other_of(struct end *end)
{
    struct relay *relay = end->relay;
    return end == &relay->ends[RELAY_CLIENT] ? &relay->ends[RELAY_GUEST] : &relay->ends[RELAY_CLIENT];
}

static size_t queued_for(const struct end *end)
{
    return end->gone ? 0 : evbuffer_get_length(bufferevent_get_output(end->bev));
}

static void set_timer(struct relay *relay, uint32_t ms)
{
    const struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};
    evtimer_add(relay->timer, &tv);
}

// The only place that turns reading on and off.
static void arm(struct relay *relay)
{
    for (int i = 0; i < 2; i++) {
        struct end *end = &relay->ends[i];
        if (!end->gone && !relay->finishing && queued_for(other_of(end)) < RELAY_BUFFER)
            bufferevent_enable(end->bev, EV_READ);
        else
            bufferevent_disable(end->bev, EV_READ);
    }
    if (relay->finishing && queued_for(&relay->ends[0]) == 0 && queued_for(&relay->ends[1]) == 0)
        event_active(relay->over, EV_TIMEOUT, 0);
}

void relay_finish(struct relay *relay, const char *reason)
{
    if (!relay->finishing) {
        relay->finishing = true;
        snprintf(relay->reason, sizeof relay->reason, "%s", reason);
        set_timer(relay, RELAY_FLUSH_MS);
    }
    arm(relay);
}

static void pass(struct end *end)
{
    struct relay *relay = end->relay;
    struct end *to = other_of(end);
    if (relay->finishing || to->gone)
        return;
    const char *wrong =
        relay->cb.pass(relay->arg, end == &relay->ends[RELAY_CLIENT] ? RELAY_CLIENT : RELAY_GUEST,
                       bufferevent_get_input(end->bev), bufferevent_get_output(to->bev));
    if (wrong)
        relay_finish(relay, wrong);
    else
        arm(relay);
}

static void on_read(struct bufferevent *bev, void *arg)
{
    (void)bev;
    pass(arg);
}

// There is room again. What pass() left behind for want of it has its turn, too.
static void on_write(struct bufferevent *bev, void *arg)
{
    (void)bev;
    struct end *other = other_of(arg);
    if (!other->gone && evbuffer_get_length(bufferevent_get_input(other->bev)) > 0)
        pass(other);
    else
        arm(other->relay);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    struct end *end = arg;
    struct relay *relay = end->relay;
    (void)what;
    end->gone = true;
    bufferevent_disable(bev, EV_READ | EV_WRITE);
    relay_finish(relay, end == &relay->ends[RELAY_CLIENT] ? "the client left" : "the guest closed it");
}

// While the client is not read nobody would notice that it has left.
static bool client_has_left(struct relay *relay)
{
    struct end *client = &relay->ends[RELAY_CLIENT];
    struct pollfd p = {.fd = bufferevent_getfd(client->bev), .events = POLLRDHUP};
    return !client->gone && !(bufferevent_get_enabled(client->bev) & EV_READ) && poll(&p, 1, 0) > 0 &&
           (p.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct relay *relay = arg;
    if (relay->finishing) { // it did not take the rest in time
        event_active(relay->over, EV_TIMEOUT, 0);
        return;
    }
    if (client_has_left(relay)) {
        relay->ends[RELAY_CLIENT].gone = true;
        relay_finish(relay, "the client left");
        return;
    }
    set_timer(relay, RELAY_PROBE_MS);
}

static void on_over(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct relay *relay = arg;
    bool freed = false;
    if (relay->told)
        return;
    relay->told = true;
    relay->freed = &freed;
    relay->cb.on_end(relay->arg, relay->reason);
    if (freed)
        return;
    relay->freed = NULL;
    relay_free(relay);
}

static void take_end(struct relay *relay, enum relay_from which, struct bufferevent *bev)
{
    struct end *end = &relay->ends[which];
    *end = (struct end){.relay = relay, .bev = bev};
    bufferevent_setcb(bev, on_read, on_write, on_event, end);
    bufferevent_setwatermark(bev, EV_READ, 0, 0);
    bufferevent_setwatermark(bev, EV_WRITE, RELAY_BUFFER / 4, 0);
    bufferevent_enable(bev, EV_WRITE);
}

// Bytes that came with the client's request are there, and no event will say so.
static void on_start(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct relay *relay = arg;
    if (evbuffer_get_length(bufferevent_get_input(relay->ends[RELAY_CLIENT].bev)) > 0)
        pass(&relay->ends[RELAY_CLIENT]);
}

static void free_events(struct relay *relay)
{
    struct event *events[] = {relay->timer, relay->start, relay->over};
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++)
        if (events[i])
            event_free(events[i]);
}

int relay_new(struct event_base *base, struct bufferevent *client, int guest_fd, const struct relay_cb *cb,
              void *arg, struct relay **ret)
{
    int flags = fcntl(guest_fd, F_GETFL);
    if (flags < 0 || fcntl(guest_fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return -errno;
    struct relay *relay = calloc(1, sizeof *relay);
    if (!relay)
        return -ENOMEM;
    *relay = (struct relay){.cb = *cb, .arg = arg};
    relay->timer = evtimer_new(base, on_timer, relay);
    relay->start = event_new(base, -1, 0, on_start, relay);
    relay->over = event_new(base, -1, 0, on_over, relay);
    // Without BEV_OPT_CLOSE_ON_FREE: the descriptor is the caller's until nothing can fail any more.
    struct bufferevent *guest = bufferevent_socket_new(base, guest_fd, 0);
    if (!guest || !relay->timer || !relay->start || !relay->over) {
        if (guest)
            bufferevent_free(guest);
        free_events(relay);
        free(relay);
        return -ENOMEM;
    }
    take_end(relay, RELAY_CLIENT, client);
    take_end(relay, RELAY_GUEST, guest);
    set_timer(relay, RELAY_PROBE_MS);
    arm(relay);
    event_active(relay->start, EV_TIMEOUT, 0);
    *ret = relay;
    return 0;
}

int relay_send(struct relay *relay, enum relay_from to, const void *data, size_t len)
{
    struct end *end = &relay->ends[to];
    if (end->gone)
        return 0;
    return bufferevent_write(end->bev, data, len) < 0 ? -ENOMEM : 0;
}

void relay_free(struct relay *relay)
{
    if (!relay)
        return;
    if (relay->freed)
        *relay->freed = true;
    int guest_fd = bufferevent_getfd(relay->ends[RELAY_GUEST].bev);
    free_events(relay);
    bufferevent_free(relay->ends[RELAY_CLIENT].bev);
    bufferevent_free(relay->ends[RELAY_GUEST].bev);
    close(guest_fd);
    free(relay);
}
