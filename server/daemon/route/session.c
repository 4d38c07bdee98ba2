// A session's life: made, greeted, watched, ended. Bytes are in session_io.c, frames in session_frames.c.
#include "route/session_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/io.h"

#define NS_PER_MS 1000000ull

void session_config_default(struct session_config *ret)
{
    *ret = (struct session_config){
        .hello_timeout_ms = AGENT_HELLO_TIMEOUT_MS,
        .ping_interval_ms = 10000,
        .ping_timeout_ms = 30000,
        .out_max_bytes = 1u << 20,
        .frames_per_round = 32,
        .receipts_max = 256,
    };
}

static void session_free(struct session *s)
{
    struct event *events[] = {s->readable, s->writable, s->wake, s->again, s->timer, s->overdue, s->due};
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++)
        if (events[i])
            event_free(events[i]);
    if (s->in)
        evbuffer_free(s->in);
    if (s->out)
        evbuffer_free(s->out);
    session_drop_deferred(s);
    struct pending *p;
    while ((p = LIST_FIRST(&s->pending))) {
        LIST_REMOVE(p, link);
        p->session = NULL;
    }
    free(s);
}

// Everything that others could still reach it by. The descriptor goes too: the agent may reconnect at once.
static void disconnect(struct session *s, bool lost)
{
    s->state = SESSION_CLOSING;
    if (lost && !s->excused)
        endpoint_lost(s->endpoint);
    else
        endpoint_detach(s->endpoint);
    s->endpoint = NULL;
    event_del(s->readable);
    event_del(s->writable);
    event_del(s->wake);
    event_del(s->again);
    event_del(s->timer);
    event_del(s->overdue);
    event_del(s->due);
    close(s->fd);
    s->fd = -1;
}

void session_fail(struct session *s, const char *format, ...)
{
    if (s->state == SESSION_CLOSING)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(s->reason, sizeof s->reason, format, args);
    va_end(args);
    disconnect(s, true);
}

void session_enter(struct session *s)
{
    s->busy++;
}

void session_leave(struct session *s)
{
    if (s->doom)
        session_fail(s, "%s", s->doom);
    if (s->state != SESSION_CLOSING)
        session_flush(s);
    if (s->state != SESSION_CLOSING)
        session_arm(s);
    if (s->busy == 1 && s->state == SESSION_CLOSING && !s->told) {
        s->told = true;
        session_drop_questions(s);
        s->cb->on_closed(s->cb_arg, s->reason);
    }
    if (--s->busy == 0 && s->state == SESSION_CLOSING)
        session_free(s);
}

static void close_now(struct session *s, bool lost)
{
    s->told = true;
    if (s->state != SESSION_CLOSING)
        disconnect(s, lost);
    s->busy++; // whoever waits for an answer may call back
    session_drop_questions(s);
    if (--s->busy == 0)
        session_free(s);
}

void session_close(struct session *s)
{
    close_now(s, false);
}

void session_lost(struct session *s)
{
    close_now(s, true);
}

void session_excuse(struct session *s)
{
    s->excused = true;
}

int session_shutdown(struct session *s, uint32_t grace_ms, const char *reason)
{
    if (s->state != SESSION_READY)
        return -ENOTCONN;
    size_t len = strnlen(reason, AGENT_DETAIL_MAX);
    session_push(s, &(struct agent_frame){.type = AGENT_SHUTDOWN,
                                          .shutdown = {grace_ms, {(const uint8_t *)reason, len}}});
    event_active(s->wake, EV_TIMEOUT, 0);
    return 0;
}

static void on_readable(evutil_socket_t fd, short events, void *arg)
{
    (void)fd;
    (void)events;
    struct session *s = arg;
    session_enter(s);
    session_fill(s);
    session_serve(s);
    session_leave(s);
}

// A timer, not an activated event: those run before the loop looks at the sockets of others.
static void on_again(evutil_socket_t fd, short events, void *arg)
{
    (void)fd;
    (void)events;
    struct session *s = arg;
    session_enter(s);
    session_serve(s);
    session_leave(s);
}

static void on_writable(evutil_socket_t fd, short events, void *arg)
{
    (void)fd;
    (void)events;
    struct session *s = arg;
    session_enter(s);
    s->blocked = false;
    session_leave(s);
}

static void on_wake(evutil_socket_t fd, short events, void *arg)
{
    (void)fd;
    (void)events;
    session_enter(arg);
    session_leave(arg);
}

static void arm_timer(struct session *s, uint32_t ms)
{
    const struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};
    evtimer_add(s->timer, &tv);
}

// Silence is answered with PING, and silence after that with the end. While we do not read, silence is ours.
static void watch_silence(struct session *s)
{
    uint64_t silent_ms = (io_monotonic_ns() - s->last_in_ns) / NS_PER_MS;
    uint32_t limit_ms = s->config.ping_interval_ms + (s->pinged ? s->config.ping_timeout_ms : 0);
    if (s->n_pending >= s->config.receipts_max)
        s->last_in_ns = io_monotonic_ns();
    else if (silent_ms >= limit_ms && s->pinged)
        session_fail(s, "the agent does not answer: silent for %llu ms", (unsigned long long)silent_ms);
    else if (silent_ms >= limit_ms) {
        s->pinged = true;
        session_push(s, &(struct agent_frame){.type = AGENT_PING, .tag = 1});
        arm_timer(s, s->config.ping_timeout_ms);
        return;
    }
    if (s->state == SESSION_READY)
        arm_timer(s, silent_ms < limit_ms ? (uint32_t)(limit_ms - silent_ms) : s->config.ping_interval_ms);
}

static void on_timer(evutil_socket_t fd, short events, void *arg)
{
    (void)fd;
    (void)events;
    struct session *s = arg;
    session_enter(s);
    if (s->state == SESSION_GREETING)
        session_fail(s, "the agent did not say hello within %u ms", s->config.hello_timeout_ms);
    else
        watch_silence(s);
    session_leave(s);
}

static void on_overdue(evutil_socket_t fd, short events, void *arg)
{
    (void)fd;
    (void)events;
    session_enter(arg);
    session_check_overdue(arg);
    session_leave(arg);
}

static void on_due(evutil_socket_t fd, short events, void *arg)
{
    (void)fd;
    (void)events;
    session_enter(arg);
    session_release_due(arg);
    session_leave(arg);
}

static void on_mail(void *arg)
{
    struct session *s = arg;
    event_active(s->wake, EV_READ, 0);
}

static void on_removed(void *arg)
{
    struct session *s = arg;
    s->endpoint = NULL;
    s->doom = "the environment was removed";
    event_active(s->wake, EV_TIMEOUT, 0);
}

static void on_gone(void *arg, const char *address, enum agent_certainty certainty, const char *reason)
{
    struct session *s = arg;
    session_push_gone(s, 0, address, certainty, reason);
    event_active(s->wake, EV_TIMEOUT, 0);
}

static const struct endpoint_cb endpoint_callbacks = {
    .on_mail = on_mail, .on_removed = on_removed, .on_gone = on_gone};

static int make_events(struct session *s, struct event_base *base)
{
    s->readable = event_new(base, s->fd, EV_READ | EV_PERSIST, on_readable, s);
    s->writable = event_new(base, s->fd, EV_WRITE | EV_PERSIST, on_writable, s);
    s->wake = event_new(base, -1, 0, on_wake, s);
    s->again = evtimer_new(base, on_again, s);
    s->timer = evtimer_new(base, on_timer, s);
    s->overdue = evtimer_new(base, on_overdue, s);
    s->due = evtimer_new(base, on_due, s);
    s->in = evbuffer_new();
    s->out = evbuffer_new();
    return s->readable && s->writable && s->wake && s->again && s->timer && s->overdue && s->due && s->in &&
                   s->out
               ? 0
               : -ENOMEM;
}

int session_new(struct router *router, struct event_base *base, const char *tenant, const char *name, int fd,
                const struct session_config *config, const struct session_cb *cb, void *arg,
                struct session **ret, struct err *err)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return err_errno(err, -errno, "agent's stream");
    struct session *s = calloc(1, sizeof *s);
    if (!s)
        return err_errno(err, -ENOMEM, "session");
    if (config)
        s->config = *config;
    else
        session_config_default(&s->config);
    LIST_INIT(&s->pending);
    LIST_INIT(&s->questions);
    TAILQ_INIT(&s->deferred);
    s->last_tag = 1; // PING's
    s->router = router;
    s->cb = cb;
    s->cb_arg = arg;
    s->fd = fd;
    s->frame_max = router_get_config(router)->body_max_bytes + ENVELOPE_OVERHEAD_MAX;
    s->last_in_ns = io_monotonic_ns();
    int rc = make_events(s, base);
    if (rc == 0)
        rc = endpoint_attach(router, tenant, name, &endpoint_callbacks, s, &s->endpoint);
    if (rc < 0) {
        session_free(s);
        return err_errno(err, rc, "session of %s/%s", tenant, name);
    }
    snprintf(s->tenant, sizeof s->tenant, "%s", tenant);
    snprintf(s->name, sizeof s->name, "%s", name);
    arm_timer(s, s->config.hello_timeout_ms);
    session_arm(s);
    *ret = s;
    return 0;
}

int session_begin_with(struct session *s, const void *untrusted, size_t len)
{
    if (evbuffer_add(s->in, untrusted, len) < 0)
        return -ENOMEM;
    s->stats.bytes_in += len;
    evtimer_add(s->again, &(struct timeval){0});
    return 0;
}

uint32_t session_capabilities(const struct session *s)
{
    return s->capabilities;
}

uint64_t session_silent_ms(const struct session *s)
{
    return (io_monotonic_ns() - s->last_in_ns) / NS_PER_MS;
}

void session_get_stats(const struct session *s, struct session_stats *ret)
{
    *ret = s->stats;
    ret->out_queued_bytes = evbuffer_get_length(s->out);
    ret->credit = s->credit;
}
