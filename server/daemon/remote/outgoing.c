// Messages on their way out: mapped, published, and the broker's outcome in the router's words.
#include <errno.h>
#include <stdlib.h>

#include "common/io.h"
#include "remote/lane.h"
#include "remote/remote_internal.h"

#define PATIENCE_MS 10000 // for the broker's confirm

struct sending {
    remote_done_cb *done;
    void *arg;
};

static void on_outcome(void *arg, enum broker_outcome outcome)
{
    static const enum remote_outcome outcomes[] = {
        [BROKER_CONFIRMED] = REMOTE_STORED,     [BROKER_RETURNED] = REMOTE_NOBODY,
        [BROKER_NACKED] = REMOTE_FULL,          [BROKER_UNKNOWN] = REMOTE_UNKNOWN,
        [BROKER_NOT_SENT] = REMOTE_UNREACHABLE, [BROKER_FORBIDDEN] = REMOTE_UNREACHABLE,
    };
    struct sending s = *(struct sending *)arg;
    free(arg);
    s.done(s.arg, outcomes[outcome]);
}

// No longer than the message is worth something.
static uint32_t patience_ms(const struct envelope *e, uint64_t now_ms)
{
    uint64_t left_ms = e->expires_ms > now_ms ? e->expires_ms - now_ms : 1;
    return e->expires_ms != 0 && left_ms < PATIENCE_MS ? (uint32_t)left_ms : PATIENCE_MS;
}

// One receiver's, in one queue. Of a service each message is for whichever server is free; an event and an
// answer to a client are as they are.
static bool has_lane(const struct remote_message *m)
{
    return m->way == REMOTE_TO_HOST || (m->way == REMOTE_TO_RECEIVER && !m->to->is_service);
}

int remote_send(void *arg, const struct remote_message *m, remote_done_cb *done, void *done_arg)
{
    struct remote *r = arg;
    uint64_t now_ms = io_realtime_ms();
    if (!r->broker || r->stopping)
        return -ENOTCONN;
    int rc = amqp_write(m, &r->self, now_ms, &r->outgoing);
    if (rc < 0)
        return rc;
    struct sending *s = malloc(sizeof *s);
    if (!s)
        return -ENOMEM;
    *s = (struct sending){done, done_arg};
    struct broker_publication *p = &r->outgoing.publication;
    p->patience_ms = patience_ms(m->envelope, now_ms);
    rc = has_lane(m) ? lane_send(r, p, m->envelope->expires_ms, on_outcome, s)
                     : broker_publish(r->broker, p, on_outcome, s);
    if (rc < 0)
        free(s);
    return rc == -EINVAL ? -EMSGSIZE : rc;
}
