// Owns the way of a publication from the loop's queue to its confirm. Called by link.c. All sends ask the
// connection first; a large body goes out in pieces, so that a slow broker never holds up the thread.
#include "broker/publish.h"

#include <string.h>

#define PER_ROUND         256
#define FRAME_COST        1024 // of a small message's frames, with what the kernel keeps for each packet
#define PATIENCE_GRAIN_NS 50000000u
#define CODE_NOT_FOUND    404

int publisher_init(struct publisher *p, uint32_t window, struct topology *topology, struct item_queue *done,
                   struct broker_stats *stats)
{
    *p = (struct publisher){.topology = topology, .done = done, .stats = stats, .earliest_ns = UINT64_MAX};
    STAILQ_INIT(&p->waiting);
    STAILQ_INIT(&p->held);
    return window_init(&p->window, window);
}

void publisher_done(struct publisher *p)
{
    window_done(&p->window);
}

void publisher_add(struct publisher *p, struct publication *pub)
{
    if (pub->deadline_ns < p->earliest_ns)
        p->earliest_ns = pub->deadline_ns;
    STAILQ_INSERT_TAIL(&p->waiting, &pub->item, link);
    p->stats->waiting++;
}

// --- outcomes ---

static void count(struct publisher *p, enum broker_outcome outcome)
{
    struct broker_stats *s = p->stats;
    uint64_t *const counters[] = {
        [BROKER_CONFIRMED] = &s->confirmed, [BROKER_RETURNED] = &s->returned,
        [BROKER_NACKED] = &s->nacked,       [BROKER_UNKNOWN] = &s->unknown,
        [BROKER_NOT_SENT] = &s->not_sent,   [BROKER_FORBIDDEN] = &s->forbidden,
    };
    (*counters[outcome])++;
    if (p->suspects > 0)
        p->suspects--;
}

static void finish(struct publisher *p, struct publication *pub, enum broker_outcome outcome)
{
    pub->outcome = outcome;
    count(p, outcome);
    STAILQ_INSERT_TAIL(p->done, &pub->item, link);
}

// What was returned is in no queue; that nobody takes it is not always known.
static enum broker_outcome of_returned(const struct publisher *p, const struct publication *pub,
                                       uint64_t now_ns)
{
    return topology_nobody_takes(p->topology, pub->exchange, pub->routing_key, now_ns) ? BROKER_RETURNED
                                                                                       : BROKER_NOT_SENT;
}

bool publisher_confirmed(struct publisher *p, uint64_t tag, bool multiple, bool ack, uint64_t now_ns)
{
    struct item_queue settled = STAILQ_HEAD_INITIALIZER(settled);
    struct item *item;
    bool known = window_confirm(&p->window, tag, multiple, ack, &settled);
    STAILQ_FOREACH(item, &settled, link)
    {
        struct publication *pub = (struct publication *)item;
        if (pub->outcome == BROKER_RETURNED)
            pub->outcome = of_returned(p, pub, now_ns);
        count(p, pub->outcome);
        if (pub == p->sending)
            known = false; // confirmed before its last byte: not a broker that we know
    }
    if (!known && p->sending)
        p->sending = NULL;
    STAILQ_CONCAT(p->done, &settled);
    return known;
}

// --- sending ---

// In one call: small enough for what "writable" promises.
static int send_whole(struct publisher *p, struct conn *c, struct publication *pub, struct failure *ret)
{
    (void)p;
    int status = amqp_basic_publish(c->amqp, CHANNEL_PUBLISH, pub->exchange, pub->routing_key, pub->mandatory,
                                    0, &pub->properties, pub->body);
    return conn_check(c, status, ret);
}

static int send_head(struct publisher *p, struct conn *c, struct publication *pub, struct failure *ret)
{
    amqp_basic_publish_t method = {
        .exchange = pub->exchange, .routing_key = pub->routing_key, .mandatory = pub->mandatory};
    amqp_frame_t header = {.frame_type = AMQP_FRAME_HEADER, .channel = CHANNEL_PUBLISH};
    header.payload.properties.class_id = AMQP_BASIC_CLASS;
    header.payload.properties.body_size = pub->body.len;
    header.payload.properties.decoded = &pub->properties;
    if (conn_send(c, CHANNEL_PUBLISH, AMQP_BASIC_PUBLISH_METHOD, &method, ret) < 0)
        return -1;
    p->sending = pub;
    p->sent_bytes = 0;
    return conn_check(c, amqp_send_frame(c->amqp, &header), ret);
}

static int send_piece(struct publisher *p, struct conn *c, struct failure *ret)
{
    struct publication *pub = p->sending;
    size_t left = pub->body.len - p->sent_bytes;
    size_t len = left < CONN_PIECE_MAX ? left : CONN_PIECE_MAX;
    amqp_frame_t frame = {.frame_type = AMQP_FRAME_BODY, .channel = CHANNEL_PUBLISH};
    frame.payload.body_fragment = (amqp_bytes_t){len, (char *)pub->body.bytes + p->sent_bytes};
    p->sent_bytes += len;
    if (p->sent_bytes == pub->body.len)
        p->sending = NULL;
    return conn_check(c, amqp_send_frame(c->amqp, &frame), ret);
}

static bool may_start(const struct publisher *p)
{
    return p->suspects > 0 ? p->window.n == 0 : window_has_room(&p->window);
}

static int start_next(struct publisher *p, struct conn *c, struct failure *ret)
{
    struct publication *pub = (struct publication *)STAILQ_FIRST(&p->waiting);
    STAILQ_REMOVE_HEAD(&p->waiting, link);
    p->stats->waiting--;
    p->stats->published++;
    if (pub->sent)
        p->stats->republished++;
    pub->sent = true;
    window_add(&p->window, pub);
    return pub->body.len <= CONN_PIECE_MAX ? send_whole(p, c, pub, ret) : send_head(p, c, pub, ret);
}

// The others need not wait for them.
static void set_held_aside(struct publisher *p)
{
    struct item *item;
    while ((item = STAILQ_FIRST(&p->waiting))) {
        const struct publication *pub = (const struct publication *)item;
        if (!topology_holds(p->topology, pub->exchange, pub->routing_key))
            return;
        STAILQ_REMOVE_HEAD(&p->waiting, link);
        STAILQ_INSERT_TAIL(&p->held, item, link);
    }
}

void publisher_release(struct publisher *p)
{
    STAILQ_CONCAT(&p->held, &p->waiting);
    STAILQ_CONCAT(&p->waiting, &p->held);
}

int publisher_pump(struct publisher *p, struct conn *c, bool *ret_more, struct failure *ret)
{
    for (int n = 0; n < PER_ROUND; n++) {
        if (!p->sending)
            set_held_aside(p);
        const struct publication *first = (const struct publication *)STAILQ_FIRST(&p->waiting);
        if (!p->sending && (!first || !may_start(p)))
            return 0;
        size_t len = p->sending ? CONN_PIECE_MAX : first->cost_bytes;
        if (!conn_may_send(c, FRAME_COST + (len < CONN_PIECE_MAX ? len : CONN_PIECE_MAX)))
            return 0;
        if ((p->sending ? send_piece(p, c, ret) : start_next(p, c, ret)) < 0)
            return -1;
    }
    *ret_more = true;
    return 0;
}

// --- patience ---

static void check_waiting(struct publisher *p, struct item_queue *waiting, uint64_t now_ns)
{
    struct item_queue kept = STAILQ_HEAD_INITIALIZER(kept);
    struct item *item;
    while ((item = STAILQ_FIRST(waiting))) {
        struct publication *pub = (struct publication *)item;
        STAILQ_REMOVE_HEAD(waiting, link);
        if (pub->deadline_ns > now_ns) {
            if (pub->deadline_ns < p->earliest_ns)
                p->earliest_ns = pub->deadline_ns;
            STAILQ_INSERT_TAIL(&kept, item, link);
            continue;
        }
        p->stats->waiting--;
        finish(p, pub, pub->sent ? BROKER_UNKNOWN : BROKER_NOT_SENT);
    }
    STAILQ_CONCAT(waiting, &kept);
}

static void check_window(struct publisher *p, uint64_t now_ns)
{
    struct publication *next, *pub = window_first(&p->window);
    for (; pub; pub = next) {
        next = window_after(&p->window, pub);
        if (pub->deadline_ns > now_ns || pub == p->sending) { // a begun body is finished first
            if (pub->deadline_ns < p->earliest_ns)
                p->earliest_ns = pub->deadline_ns;
            continue;
        }
        window_remove(&p->window, pub);
        finish(p, pub, BROKER_UNKNOWN);
    }
}

void publisher_check_patience(struct publisher *p, uint64_t now_ns, uint64_t *next_ns)
{
    uint64_t due = p->last_check_ns + PATIENCE_GRAIN_NS;
    if (due < p->earliest_ns)
        due = p->earliest_ns;
    if (now_ns >= due) {
        p->earliest_ns = UINT64_MAX;
        p->last_check_ns = now_ns;
        check_waiting(p, &p->held, now_ns);
        check_waiting(p, &p->waiting, now_ns);
        check_window(p, now_ns);
        due = p->earliest_ns > now_ns + PATIENCE_GRAIN_NS ? p->earliest_ns : now_ns + PATIENCE_GRAIN_NS;
    }
    if (p->earliest_ns != UINT64_MAX && due < *next_ns)
        *next_ns = due;
}

// --- endings ---

static void take_back(struct publisher *p)
{
    p->sending = NULL;
    publisher_release(p); // younger than those of the window
    p->stats->waiting += p->window.n;
    window_reset(&p->window, &p->waiting);
}

void publisher_channel_closed(struct publisher *p, uint16_t code, uint64_t now_ns)
{
    struct publication *only = p->window.n == 1 ? window_first(&p->window) : NULL;
    size_t n = p->window.n;
    if (only) {
        window_remove(&p->window, only);
        p->sending = NULL;
        finish(p, only, code == CODE_NOT_FOUND ? of_returned(p, only, now_ns) : BROKER_FORBIDDEN);
        n = 0;
    }
    take_back(p);
    if (n > 0)
        p->suspects = n;
}

void publisher_connection_lost(struct publisher *p)
{
    take_back(p);
    p->suspects = 0;
}

void publisher_give_up(struct publisher *p)
{
    publisher_connection_lost(p);
    struct item *item;
    while ((item = STAILQ_FIRST(&p->waiting))) {
        struct publication *pub = (struct publication *)item;
        STAILQ_REMOVE_HEAD(&p->waiting, link);
        p->stats->waiting--;
        finish(p, pub, pub->sent ? BROKER_UNKNOWN : BROKER_NOT_SENT);
    }
}
