// What leaves for one receiver: while two AMQP messages wait for their confirms, the next gather, and leave
// together (bundle.h) when one is confirmed, or when there are enough for a whole bundle. No timer: a message
// leaves at once, alone, when the broker has little to do for its receiver. The order is kept. Called by
// outgoing.c.
#include "remote/lane.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/io.h"
#include "remote/bundle.h"
#include "remote/remote_internal.h"

#define UNCONFIRMED       2
#define UNCONFIRMED_MAX   4                       // when there are whole bundles
#define WAITING_BYTES_MAX (64u << 20)             // of all lanes
#define LANE_BYTES_MAX    (WAITING_BYTES_MAX / 2) // of one: a queue that stands still does not stop all senders

struct waiting {
    STAILQ_ENTRY(waiting) link;
    struct lane_done done;
    uint64_t deadline_ms; // monotonic
    uint64_t expires_ms;  // what is left when it is published is the broker's to count; 0: never
    size_t len;
    uint8_t bytes[]; // as a bundle's part
};

struct lane {
    struct table_node by_key;
    struct remote *remote;
    unsigned n_unconfirmed, n_waiting;
    bool busy; // senders may hear of outcomes, and send again
    size_t waiting_bytes;
    STAILQ_HEAD(, waiting) waiting;
    struct broker_text key;
    char text[];
};

// One AMQP message, until its outcome is known.
struct parcel {
    struct lane *lane;
    uint32_t n;
    struct lane_done done[];
};

static uint64_t monotonic_ms(void)
{
    return io_monotonic_ns() / 1000000;
}

static bool same(struct broker_text a, struct broker_text b)
{
    return a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}

static struct lane *find(struct remote *r, struct broker_text key, uint64_t hash)
{
    for (struct table_node *n = table_first(&r->lanes, hash); n; n = table_next(n)) {
        struct lane *lane = table_entry(n, struct lane, by_key);
        if (same(lane->key, key))
            return lane;
    }
    return NULL;
}

static struct lane *find_or_make(struct remote *r, struct broker_text key)
{
    uint64_t hash = siphash(&r->key, key.data, key.len);
    struct lane *lane = find(r, key, hash);
    if (lane || !(lane = malloc(sizeof *lane + key.len)))
        return lane;
    *lane = (struct lane){.remote = r, .key = {lane->text, key.len}};
    memcpy(lane->text, key.data, key.len);
    STAILQ_INIT(&lane->waiting);
    table_insert(&r->lanes, &lane->by_key, hash);
    return lane;
}

static void free_if_idle(struct lane *lane)
{
    if (lane->n_unconfirmed > 0 || !STAILQ_EMPTY(&lane->waiting) || lane->busy)
        return;
    table_remove(&lane->remote->lanes, &lane->by_key);
    free(lane);
}

static struct waiting *take_first(struct lane *lane)
{
    struct waiting *w = STAILQ_FIRST(&lane->waiting);
    STAILQ_REMOVE_HEAD(&lane->waiting, link);
    lane->n_waiting--;
    lane->waiting_bytes -= w->len;
    lane->remote->waiting_bytes -= w->len;
    return w;
}

static void tell(struct parcel *p, enum broker_outcome outcome)
{
    for (uint32_t i = 0; i < p->n; i++)
        p->done[i].done(p->done[i].arg, outcome);
    free(p);
}

static void advance(struct lane *lane);

static void on_outcome(void *arg, enum broker_outcome outcome)
{
    struct parcel *p = arg;
    struct lane *lane = p->lane;
    lane->n_unconfirmed--;
    lane->busy = true;
    advance(lane); // first: the broker has something to do while the senders hear of it
    tell(p, outcome);
    lane->busy = false;
    free_if_idle(lane);
}

// --- several in one ---

// What leaves next: as many as fit, at least one.
static uint32_t count_next(const struct lane *lane, size_t *ret_bytes)
{
    const struct waiting *w;
    uint32_t n = 0;
    *ret_bytes = 0;
    STAILQ_FOREACH(w, &lane->waiting, link)
    {
        if (n == BUNDLE_PARTS_MAX || (n > 0 && *ret_bytes + w->len > BUNDLE_BYTES_MAX))
            break;
        *ret_bytes += w->len;
        n++;
    }
    return n;
}

// A lane's address, and what the first part says: all that a message has which leaves alone.
static bool publication_of(const struct lane *lane, struct wire_reader *first, struct broker_publication *ret)
{
    *ret = (struct broker_publication){
        .exchange = broker_text_of(AMQP_EXCHANGE), .routing_key = lane->key, .mandatory = true};
    if (!bundle_part_read(first, &ret->properties, &ret->body))
        return false;
    ret->properties.user_id = broker_text_of(lane->remote->user);
    return true;
}

// The broker drops a bundle only when nothing in it is worth anything any more.
static void make_bundle(struct broker_publication *p, uint64_t expires_ms, char expiration[24],
                        struct broker_text body)
{
    const struct broker_properties first = p->properties;
    uint64_t now_ms = io_realtime_ms(), left_ms = expires_ms > now_ms ? expires_ms - now_ms : 1;
    p->properties = (struct broker_properties){
        .message_id = first.message_id,
        .user_id = first.user_id,
        .content_type = broker_text_of(BUNDLE_CONTENT_TYPE),
        .timestamp = first.timestamp,
    };
    if (expires_ms != 0 && left_ms <= UINT32_MAX) {
        int n = snprintf(expiration, 24, "%llu", (unsigned long long)left_ms);
        p->properties.expiration = (struct broker_text){expiration, (size_t)n};
    }
    p->body = body;
}

// The parts that leave now, taken out of the lane.
struct load {
    uint32_t n;
    uint64_t deadline_ms, expires_ms; // the latest of them
    size_t len;
    uint8_t *bytes;
};

static void take_parts(struct lane *lane, struct parcel *p, struct load *load)
{
    bool all_expire = true;
    for (uint32_t i = 0; i < p->n; i++) {
        struct waiting *w = take_first(lane);
        memcpy(load->bytes + load->len, w->bytes, w->len);
        load->len += w->len;
        p->done[i] = w->done;
        all_expire = all_expire && w->expires_ms != 0;
        if (w->expires_ms > load->expires_ms)
            load->expires_ms = w->expires_ms;
        if (w->deadline_ms > load->deadline_ms)
            load->deadline_ms = w->deadline_ms;
        free(w);
    }
    if (!all_expire)
        load->expires_ms = 0;
}

static int publish_load(struct lane *lane, struct parcel *p, const struct load *load)
{
    struct broker_publication publication;
    struct wire_reader r;
    char expiration[24];
    uint64_t now_ms = monotonic_ms();
    wire_reader_init(&r, load->bytes, load->len);
    if (!publication_of(lane, &r, &publication))
        return -EINVAL;
    if (p->n > 1)
        make_bundle(&publication, load->expires_ms, expiration,
                    (struct broker_text){(const char *)load->bytes, load->len});
    if (p->n > 1) {
        lane->remote->stats.bundles++;
        lane->remote->stats.bundled += p->n;
    }
    publication.patience_ms = load->deadline_ms > now_ms ? (uint32_t)(load->deadline_ms - now_ms) : 1;
    return broker_publish(lane->remote->broker, &publication, on_outcome, p);
}

static void send_next(struct lane *lane)
{
    size_t bytes;
    uint32_t n = count_next(lane, &bytes);
    struct parcel *p = malloc(sizeof *p + n * sizeof p->done[0]);
    struct load load = {.bytes = malloc(bytes)};
    if (!p || !load.bytes) { // the first of them hears of it, and the next may do better
        struct waiting *w = take_first(lane);
        w->done.done(w->done.arg, BROKER_NOT_SENT);
        free(w);
        free(p);
        free(load.bytes);
        return;
    }
    *p = (struct parcel){.lane = lane, .n = n};
    take_parts(lane, p, &load);
    lane->n_unconfirmed++;
    if (publish_load(lane, p, &load) < 0) {
        lane->n_unconfirmed--;
        tell(p, BROKER_NOT_SENT);
    }
    free(load.bytes);
}

static bool may_leave(const struct lane *lane)
{
    return lane->n_waiting > 0 &&
           lane->n_unconfirmed < (lane->n_waiting < BUNDLE_PARTS_MAX ? UNCONFIRMED : UNCONFIRMED_MAX);
}

static void advance(struct lane *lane)
{
    while (may_leave(lane)) {
        struct waiting *first = STAILQ_FIRST(&lane->waiting);
        if (first->deadline_ms > monotonic_ms() && lane->remote->broker && !lane->remote->stopping) {
            send_next(lane);
            continue;
        }
        struct waiting *late = take_first(lane);
        late->done.done(late->done.arg, BROKER_NOT_SENT);
        free(late);
    }
}

// --- in ---

static int publish_alone(struct lane *lane, const struct broker_publication *publication,
                         broker_done_cb *done, void *arg)
{
    struct parcel *p = malloc(sizeof *p + sizeof p->done[0]);
    if (!p)
        return -ENOMEM;
    *p = (struct parcel){.lane = lane, .n = 1};
    p->done[0] = (struct lane_done){done, arg};
    int rc = broker_publish(lane->remote->broker, publication, on_outcome, p);
    if (rc < 0)
        free(p);
    else
        lane->n_unconfirmed++;
    return rc;
}

static int let_wait(struct lane *lane, const struct broker_publication *publication, uint64_t expires_ms,
                    broker_done_cb *done, void *arg)
{
    struct remote *r = lane->remote;
    size_t len = bundle_part_size(publication);
    if (r->waiting_bytes + len > WAITING_BYTES_MAX || lane->waiting_bytes + len > LANE_BYTES_MAX)
        return -ENOBUFS;
    struct waiting *w = malloc(sizeof *w + len);
    if (!w)
        return -ENOMEM;
    *w = (struct waiting){.done = {done, arg},
                          .deadline_ms = monotonic_ms() + publication->patience_ms,
                          .expires_ms = expires_ms,
                          .len = len};
    struct wire_writer writer;
    wire_writer_init(&writer, w->bytes, len);
    bundle_part_write(&writer, publication);
    STAILQ_INSERT_TAIL(&lane->waiting, w, link);
    lane->n_waiting++;
    lane->waiting_bytes += len;
    r->waiting_bytes += len;
    return 0;
}

int lane_send(struct remote *r, const struct broker_publication *publication, uint64_t expires_ms,
              broker_done_cb *done, void *arg)
{
    struct lane *lane = find_or_make(r, publication->routing_key);
    if (!lane)
        return -ENOMEM;
    bool clear = lane->n_waiting == 0 && lane->n_unconfirmed < UNCONFIRMED, was_busy = lane->busy;
    int rc = clear ? publish_alone(lane, publication, done, arg)
                   : let_wait(lane, publication, expires_ms, done, arg);
    lane->busy = true;
    if (!was_busy)
        advance(lane);
    lane->busy = was_busy;
    free_if_idle(lane);
    return rc;
}
