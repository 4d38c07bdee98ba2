// What the host asks of an agent, and who waits for the answer: CONFIGURE, OPEN, STATS, RESUMED. Only agents
// that said in HELLO that they know a question are asked it. An answer comes, or its time is over, or the
// session ends: each question ends once.
#include "route/session_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/io.h"

#define QUESTIONS_MAX        64
#define CONFIGURE_TIMEOUT_MS 30000
#define NS_PER_MS            1000000ull

static void arm_overdue(struct session *s)
{
    uint64_t next = UINT64_MAX, now = io_monotonic_ns();
    struct question *q;
    LIST_FOREACH(q, &s->questions, link)
    next = q->due_ns < next ? q->due_ns : next;
    if (next == UINT64_MAX) {
        event_del(s->overdue);
        return;
    }
    uint64_t in_us = next > now ? (next - now) / 1000 + 1 : 0;
    const struct timeval tv = {.tv_sec = (time_t)(in_us / 1000000),
                               .tv_usec = (suseconds_t)(in_us % 1000000)};
    evtimer_add(s->overdue, &tv);
}

static void end(struct session *s, struct question *q, int rc, const char *detail,
                const struct agent_stats *stats)
{
    LIST_REMOVE(q, link);
    s->n_questions--;
    if (q->on_stats)
        q->on_stats(q->arg, rc, stats);
    else if (q->on_answer)
        q->on_answer(q->arg, rc, detail);
    free(q);
}

void session_drop_questions(struct session *s)
{
    struct question *q;
    while ((q = LIST_FIRST(&s->questions)))
        end(s, q, -ENOTCONN, "", NULL);
}

void session_check_overdue(struct session *s)
{
    struct question *q = LIST_FIRST(&s->questions);
    uint64_t now = io_monotonic_ns();
    while (q) {
        struct question *next = LIST_NEXT(q, link);
        if (q->due_ns <= now) {
            end(s, q, -ETIMEDOUT, "", NULL);
            next = LIST_FIRST(&s->questions); // the callback may have asked more, or ended some
        }
        q = next;
    }
    arm_overdue(s);
}

void session_answered(struct session *s, const struct agent_frame *f)
{
    struct question *q;
    char detail[AGENT_DETAIL_MAX + 1] = "";
    LIST_FOREACH(q, &s->questions, link)
    {
        if (q->tag != f->tag || q->answer != f->type)
            continue;
        if (f->type == AGENT_RESULT && f->receipt.code != RECEIPT_ACCEPTED)
            wire_view_to_cstr(f->receipt.detail, detail, sizeof detail);
        bool good = f->type == AGENT_STATS_IS || f->receipt.code == RECEIPT_ACCEPTED;
        end(s, q, good ? 0 : -EREMOTEIO, detail, f->type == AGENT_STATS_IS ? &f->stats : NULL);
        arm_overdue(s);
        return;
    }
}

static int may_ask(const struct session *s, uint32_t capability)
{
    if (s->state != SESSION_READY)
        return -ENOTCONN;
    if (!(s->capabilities & capability))
        return -EOPNOTSUPP;
    return s->n_questions < QUESTIONS_MAX ? 0 : -EBUSY;
}

static int ask(struct session *s, struct agent_frame *f, uint32_t timeout_ms, const struct question *template)
{
    struct question *q = malloc(sizeof *q);
    if (!q)
        return -ENOMEM;
    *q = *template;
    s->last_tag = s->last_tag == UINT32_MAX ? 2 : s->last_tag + 1; // 0: unsolicited, 1: PING
    q->tag = f->tag = s->last_tag;
    q->due_ns = io_monotonic_ns() + timeout_ms * NS_PER_MS;
    LIST_INSERT_HEAD(&s->questions, q, link);
    s->n_questions++;
    session_push(s, f);
    arm_overdue(s);
    event_active(s->wake, EV_TIMEOUT, 0);
    return 0;
}

int session_request_stats(struct session *s, uint32_t timeout_ms, session_stats_cb *cb, void *arg)
{
    int rc = may_ask(s, AGENT_CAP_STATS);
    if (rc < 0)
        return rc;
    return ask(s, &(struct agent_frame){.type = AGENT_STATS}, timeout_ms,
               &(struct question){.answer = AGENT_STATS_IS, .on_stats = cb, .arg = arg});
}

int session_configure(struct session *s, const struct session_network *network, session_answer_cb *cb,
                      void *arg)
{
    int rc = may_ask(s, AGENT_CAP_CONFIGURE);
    if (rc < 0)
        return rc;
    struct agent_frame f = {.type = AGENT_CONFIGURE,
                            .configure = {.hostname = {(const uint8_t *)s->name, strlen(s->name)},
                                          .ipv4 = network->ipv4,
                                          .gateway = network->gateway,
                                          .prefix = network->prefix,
                                          .mtu = network->mtu}};
    memcpy(f.configure.mac, network->mac, sizeof f.configure.mac);
    return ask(s, &f, CONFIGURE_TIMEOUT_MS,
               &(struct question){.answer = AGENT_RESULT, .on_answer = cb, .arg = arg});
}

int session_open_stream(struct session *s, const struct id *token, enum agent_session_kind kind,
                        uint32_t timeout_ms, session_answer_cb *cb, void *arg)
{
    int rc = may_ask(s, AGENT_CAP_SESSION);
    if (rc < 0)
        return rc;
    return ask(s, &(struct agent_frame){.type = AGENT_OPEN, .session = {*token, kind}}, timeout_ms,
               &(struct question){.answer = AGENT_RESULT, .on_answer = cb, .arg = arg});
}

int session_resumed(struct session *s)
{
    int rc = may_ask(s, AGENT_CAP_CLOCK);
    if (rc < 0)
        return rc;
    session_push(s, &(struct agent_frame){.type = AGENT_RESUMED, .realtime_ns = session_realtime_ns()});
    event_active(s->wake, EV_TIMEOUT, 0);
    return 0;
}
