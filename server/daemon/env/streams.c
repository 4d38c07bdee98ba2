// Owns what guests connect and what is waited for: a stream is an agent's own connection, or carries the
// token of somebody who waits, or is closed. Called by run.c and api/; must not know what sessions say.
#include "env/streams.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/io.h"
#include "common/log.h"
#include "env/internal.h"
#include "route/arrival.h"

#define ARRIVALS_MAX    16u
#define STREAM_EVERY_NS 1000000000ull // a guest that was not asked connects so often,
#define STREAM_BURST    8             // after so many at once

struct stream_arrival {
    struct stream_arrival *next;
    struct env *env;
    struct arrival *arrival;
};

struct stream_wait {
    struct stream_wait *next;
    struct env *env; // NULL: over, and only kept for the agent's answer to OPEN
    bool is_console;
    bool asked;    // the agent's answer is still to come
    bool orphaned; // is_console: nobody waits, but envvm's answer is still to come
    struct id token;
    struct event *timer;
    stream_cb *cb;
    void *arg;
};

// --- those who wait ---

static void unlink_wait(struct stream_wait *w)
{
    for (struct stream_wait **p = &w->env->waits; *p; p = &(*p)->next) {
        if (*p != w)
            continue;
        *p = w->next;
        break;
    }
    w->env = NULL;
    event_free(w->timer);
    w->timer = NULL;
    if (!w->asked)
        free(w);
}

static void end_wait(struct stream_wait *w, int fd, const struct refusal *why)
{
    stream_cb *cb = w->orphaned ? NULL : w->cb;
    void *arg = w->arg;
    unlink_wait(w);
    if (cb)
        cb(arg, fd, why);
    else if (fd >= 0)
        close(fd);
}

static void refuse_wait(struct stream_wait *w, int status, const char *code, const char *text,
                        const char *remedy)
{
    struct refusal why;
    refuse(&why, -EIO, status, code, "%s: %s", w->env->about, text);
    refusal_remedy(&why, "%s", remedy);
    end_wait(w, -1, &why);
}

void streams_cancel(struct stream_wait *w)
{
    if (!w)
        return;
    // Consoles come in the order in which they were asked for: the place must be kept.
    if (w->is_console)
        w->orphaned = true;
    else
        unlink_wait(w);
}

static void on_wait_over(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct stream_wait *w = arg;
    if (w->is_console)
        refuse_wait(w, 504, "no-console", "its virtual machine's monitor did not answer",
                    "Look at the state with envctl show, and try again");
    else
        refuse_wait(w, 504, "agent-did-not-answer",
                    "its agent was asked for a session and did not open one within 10 s",
                    "The guest may be busy or hung: look with envctl logs, then try again or restart it");
}

static int add_wait(struct env *e, bool is_console, stream_cb *cb, void *arg, struct stream_wait **ret)
{
    const struct timeval tv = {STREAMS_WAIT_MS / 1000, 0};
    struct stream_wait *w = calloc(1, sizeof *w);
    if (!w)
        return -ENOMEM;
    *w = (struct stream_wait){.env = e, .is_console = is_console, .cb = cb, .arg = arg};
    w->timer = evtimer_new(e->manager->deps.base, on_wait_over, w);
    if (!w->timer || event_add(w->timer, &tv) < 0) {
        if (w->timer)
            event_free(w->timer);
        free(w);
        return -ENOMEM;
    }
    struct stream_wait **tail = &e->waits;
    while (*tail)
        tail = &(*tail)->next;
    *tail = w;
    *ret = w;
    return 0;
}

// --- what the agent is asked ---

static void on_answer(void *arg, int rc, const char *detail)
{
    struct stream_wait *w = arg;
    char text[AGENT_DETAIL_MAX + 64];
    w->asked = false;
    if (!w->env) {
        free(w);
        return;
    }
    if (rc == -EREMOTEIO) {
        snprintf(text, sizeof text, "its agent refused a session: %s",
                 detail[0] ? detail : "no reason given");
        refuse_wait(w, 409, "agent-refused", text,
                    "End other sessions, or look at what the guest is short of");
    } else if (rc == -ENOTCONN) {
        refuse_wait(w, 409, "no-agent", "its agent's connection ended", "Wait until it is ready again");
    } // accepted: the stream comes; silent: the timer is on
}

static int refuse_state(struct refusal *why, const struct env *e, const char *tenant, const char *name)
{
    if (!e)
        return refuse(why, -ENOENT, 404, "no-such-environment", "there is no environment %s/%s", tenant,
                      name);
    if (!env_state_has_vm(e->state) || e->state == ENV_STARTING) {
        refuse(why, -ENOTCONN, 409, "not-running", "%s does not run: it is %s", e->about,
               env_state_name(e->state));
        refusal_remedy(why, "Start it: envctl start %s", e->about);
        return -ENOTCONN;
    }
    return 0;
}

static int refuse_agent(struct refusal *why, const struct env *e, int rc)
{
    if (rc == -EOPNOTSUPP) {
        refuse(why, rc, 409, "agent-cannot-exec",
               "%s: its agent (%s) has no sessions: it cannot exec or copy", e->about,
               e->software[0] ? e->software : "unknown");
        refusal_remedy(why, "Cells run one program and have no other; use an environment of kind linux");
    } else if (rc == -EBUSY) {
        refuse(why, rc, 409, "too-many-sessions", "%s: its agent has too many requests to answer", e->about);
        refusal_remedy(why, "Try again in a moment");
    } else if (rc == -ENOTCONN) {
        refuse(why, rc, 409, "no-agent", "%s is %s: its agent has not said hello", e->about,
               env_state_name(e->state));
        refusal_remedy(why, "Wait until it is ready (envctl show %s), or see how far it came: envctl logs %s",
                       e->about, e->about);
    } else {
        refuse(why, rc, 500, "internal", "no memory for a session");
    }
    return rc;
}

int streams_open(struct manager *m, const char *tenant, const char *name, enum agent_session_kind kind,
                 stream_cb *cb, void *arg, struct stream_wait **ret, struct refusal *ret_why)
{
    struct env *e = env_find(m, tenant, name);
    struct stream_wait *w;
    int rc = refuse_state(ret_why, e, tenant, name);
    if (rc < 0)
        return rc;
    if (e->state == ENV_PAUSED) {
        refuse(ret_why, -ENOTCONN, 409, "no-agent", "%s is paused: its agent cannot answer", e->about);
        refusal_remedy(ret_why, "Let it go on first: envctl resume %s", e->about);
        return -ENOTCONN;
    }
    if (!e->session)
        return refuse_agent(ret_why, e, -ENOTCONN);
    rc = add_wait(e, false, cb, arg, &w);
    if (rc < 0)
        return refuse_agent(ret_why, e, rc);
    if (getrandom(&w->token, sizeof w->token, 0) != (ssize_t)sizeof w->token)
        rc = -ENOMEM;
    else
        rc = session_open_stream(e->session, &w->token, kind, STREAMS_WAIT_MS, on_answer, w);
    if (rc < 0) {
        unlink_wait(w);
        return refuse_agent(ret_why, e, rc);
    }
    w->asked = true;
    *ret = w;
    return 0;
}

// --- the console ---

int streams_open_console(struct manager *m, const char *tenant, const char *name, stream_cb *cb, void *arg,
                         struct stream_wait **ret, struct refusal *ret_why)
{
    struct env *e = env_find(m, tenant, name);
    int rc = refuse_state(ret_why, e, tenant, name);
    if (rc == 0 && !e->link)
        rc = refuse(ret_why, -ENOTCONN, 409, "not-running", "%s is %s: its virtual machine cannot be reached",
                    e->about, env_state_name(e->state));
    if (rc < 0)
        return rc;
    if (add_wait(e, true, cb, arg, ret) < 0)
        return refuse(ret_why, -ENOMEM, 500, "internal", "no memory for a session");
    rc = vm_link_console(e->link);
    if (rc < 0) {
        unlink_wait(*ret);
        refuse(ret_why, rc, 503, "busy", "%s: its virtual machine's monitor cannot be asked: %s", e->about,
               strerror(-rc));
        refusal_remedy(ret_why, "Try again in a moment");
    }
    return rc;
}

void streams_console_came(struct env *e, int fd)
{
    struct stream_wait *w = e->waits;
    while (w && !w->is_console)
        w = w->next;
    if (!w) {
        if (fd >= 0)
            close(fd);
    } else if (fd >= 0) {
        end_wait(w, fd, NULL);
    } else {
        refuse_wait(w, 409, "no-console", "it has no console",
                    "A cell's output is in its log: envctl logs. Consoles are of environments of kind linux");
    }
}

int streams_resize_console(struct manager *m, const char *tenant, const char *name, uint16_t columns,
                           uint16_t rows)
{
    struct env *e = env_find(m, tenant, name);
    return e && e->link ? vm_link_resize(e->link, columns, rows) : -ENOTCONN;
}

// --- what guests connect ---

static void drop_arrival(struct stream_arrival *a)
{
    for (struct stream_arrival **p = &a->env->arrivals; *p; p = &(*p)->next) {
        if (*p != a)
            continue;
        *p = a->next;
        break;
    }
    free(a);
}

static void on_agent(void *arg, struct arrival *self, int fd, const void *untrusted, size_t len)
{
    (void)self;
    struct env *e = ((struct stream_arrival *)arg)->env;
    drop_arrival(arg);
    run_agent_connected(e, fd, untrusted, len);
}

static bool tokens_equal(const struct id *a, const struct id *b)
{
    unsigned char differ = 0;
    for (size_t i = 0; i < sizeof a->bytes; i++)
        differ |= a->bytes[i] ^ b->bytes[i];
    return differ == 0;
}

static void on_attach(void *arg, struct arrival *self, int fd, const struct id *token)
{
    (void)self;
    struct env *e = ((struct stream_arrival *)arg)->env;
    drop_arrival(arg);
    struct stream_wait *w = e->waits;
    while (w && (w->is_console || !tokens_equal(&w->token, token)))
        w = w->next;
    if (w) {
        end_wait(w, fd, NULL);
        return;
    }
    log_warn(e->about, "the guest opened a stream under a token that nobody waits for: closed");
    close(fd);
}

static void on_arrival_closed(void *arg, struct arrival *self)
{
    (void)self;
    drop_arrival(arg);
}

static const struct arrival_cb arrival_callbacks = {on_agent, on_attach, on_arrival_closed};

// A token bucket kept as one time: connecting moves it on by the cost of one, it lags behind now by a burst
// at most.
static bool take_token(struct env *e)
{
    const uint64_t now = io_monotonic_ns(), burst_ns = STREAM_BURST * STREAM_EVERY_NS;
    const uint64_t full = now > burst_ns ? now - burst_ns : 0;
    const uint64_t at = e->stream_tokens_ns > full ? e->stream_tokens_ns : full;
    if (at + STREAM_EVERY_NS > now)
        return false;
    e->stream_tokens_ns = at + STREAM_EVERY_NS;
    return true;
}

// As many as it was asked for come at any rate.
static bool is_allowed(struct env *e)
{
    unsigned n_arrivals = 0, n_asked = 0;
    for (const struct stream_arrival *a = e->arrivals; a; a = a->next)
        n_arrivals++;
    for (const struct stream_wait *w = e->waits; w; w = w->next)
        n_asked += !w->is_console;
    return n_arrivals < ARRIVALS_MAX && (n_arrivals < n_asked || take_token(e));
}

void streams_arrived(struct env *e, int fd_in)
{
    _cleanup_close_ int fd = fd_in; // closing it resets the guest's connection
    struct stream_arrival *a = is_allowed(e) ? calloc(1, sizeof *a) : NULL;
    if (!a)
        return;
    a->env = e;
    a->arrival = arrival_new(e->manager->deps.base, fd, AGENT_HELLO_TIMEOUT_MS, &arrival_callbacks, a);
    if (!a->arrival) {
        free(a);
        return;
    }
    take_fd(&fd);
    a->next = e->arrivals;
    e->arrivals = a;
}

void streams_let_go(struct env *e)
{
    while (e->arrivals) {
        arrival_free(e->arrivals->arrival);
        drop_arrival(e->arrivals);
    }
    while (e->waits)
        refuse_wait(e->waits, 409, "not-running", "it ended before the session began",
                    "See why with envctl show");
}
