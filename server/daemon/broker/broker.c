// Owns the loop's side of a link: what the callers ask for goes to the thread, what the thread has goes to
// the callbacks. Called through broker.h; the thread is link.c's.
#include "broker/broker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/link.h"
#include "common/checked.h"
#include "common/io.h"

#define OUTBOX_MAX 65536 // publications whose outcome is not known

struct broker {
    struct link link; // the thread's, but for what link.h says
    struct broker_cb cb;
    void *arg;
    struct event *on_out;
    pthread_t thread;
    bool running;
    uint64_t serial; // of the state that was told
    uint64_t outbox_bytes;
    size_t outbox_n;
    broker_get_cb *get_cb; // NULL: none under way
    void *get_arg;
};

const char *broker_state_name(enum broker_state state)
{
    static const char *const names[BROKER_STATE_COUNT] = {
        [BROKER_CONNECTING] = "connecting",   [BROKER_READY] = "ready",         [BROKER_BLOCKED] = "blocked",
        [BROKER_REFUSED] = "refused",         [BROKER_UNTRUSTED] = "untrusted", [BROKER_SILENT] = "silent",
        [BROKER_UNREACHABLE] = "unreachable",
    };
    return names[state];
}

// --- what the thread has ---

static void give_publication(struct broker *b, struct item *item)
{
    struct publication *p = (struct publication *)item;
    b->outbox_bytes -= p->cost_bytes;
    b->outbox_n--;
    p->done(p->arg, p->outcome);
    free(p);
}

// Only as many headers are written as there are: the array is large.
static void give_arrival(struct broker *b, struct item *item)
{
    struct arrival *m = (struct arrival *)item;
    struct broker_delivery d;
    struct broker_properties *p = &d.properties;
    d.handle = m->handle;
    d.consumer = m->consumer;
    d.redelivered = m->redelivered;
    d.exchange = m->exchange;
    d.routing_key = m->routing_key;
    d.body = (struct broker_text){m->body, m->body_len};
    struct broker_text *const texts[] = {&p->message_id, &p->correlation_id, &p->reply_to,  &p->user_id,
                                         &p->type,       &p->content_type,   &p->expiration};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        *texts[i] = m->texts[i];
    p->priority = m->priority;
    p->timestamp = m->timestamp;
    p->headers_truncated = m->truncated;
    p->n_headers = m->n_headers;
    memcpy(p->headers, m->headers, m->n_headers * sizeof m->headers[0]);
    if (m->channel != CHANNEL_GET)
        b->cb.on_delivery(b->arg, &d);
    else if (b->get_cb)
        b->get_cb(b->get_arg, &d, NULL);
    free(m);
}

static void give_ready(struct broker *b, struct item *item)
{
    if (b->cb.on_queue_ready)
        b->cb.on_queue_ready(b->arg, ((struct queue_news *)item)->name);
    free(item);
}

static void give_deleted(struct broker *b, struct item *item)
{
    if (b->cb.on_queue_deleted)
        b->cb.on_queue_deleted(b->arg, ((struct queue_news *)item)->name);
    free(item);
}

static void give_get_end(struct broker *b, struct item *item)
{
    const struct get *g = (struct get *)item;
    broker_get_cb *cb = b->get_cb;
    b->get_cb = NULL; // the callback may start the next one
    cb(b->get_arg, NULL, g->why[0] ? g->why : NULL);
    free(item);
}

static void give_counted(struct broker *b, struct item *item)
{
    const struct count *c = (const struct count *)item;
    (void)b;
    c->cb(c->arg, c->tag, c->messages, c->why[0] ? c->why : NULL);
    free(item);
}

static void tell_state(struct broker *b)
{
    char why[BROKER_WHY_CAP];
    pthread_mutex_lock(&b->link.lock);
    uint64_t serial = b->link.shared_serial;
    enum broker_state state = b->link.shared.state;
    memcpy(why, b->link.shared.why, sizeof why);
    pthread_mutex_unlock(&b->link.lock);
    if (serial == b->serial)
        return;
    b->serial = serial;
    b->cb.on_state(b->arg, state, why);
}

static void on_out(evutil_socket_t fd, short what, void *arg)
{
    static void (*const by_kind[])(struct broker *, struct item *) = {
        [ITEM_PUBLICATION] = give_publication, [ITEM_ARRIVAL] = give_arrival,
        [ITEM_QUEUE_READY] = give_ready,       [ITEM_GET_END] = give_get_end,
        [ITEM_COUNT] = give_counted,           [ITEM_QUEUE_DELETED] = give_deleted,
    };
    struct broker *b = arg;
    struct item_queue items = STAILQ_HEAD_INITIALIZER(items);
    struct item *item;
    (void)fd, (void)what;
    (void)lane_take(&b->link.out, &items);
    tell_state(b);
    while ((item = STAILQ_FIRST(&items))) {
        STAILQ_REMOVE_HEAD(&items, link);
        by_kind[item->kind](b, item);
    }
}

// --- life ---

// Signals are for the loop's thread.
static int start_thread(struct broker *b)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&b->thread, NULL, link_main, &b->link);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    b->running = rc == 0;
    return -rc;
}

static int prepare(struct broker *b, struct event_base *base)
{
    pthread_mutex_init(&b->link.lock, NULL);
    int rc = lane_init(&b->link.in);
    if (rc == 0)
        rc = lane_init(&b->link.out);
    if (rc == 0)
        rc = link_init(&b->link);
    if (rc < 0)
        return rc;
    b->on_out = event_new(base, b->link.out.event_fd, EV_READ | EV_PERSIST, on_out, b);
    if (!b->on_out || event_add(b->on_out, NULL) < 0)
        return -ENOMEM;
    return start_thread(b);
}

int broker_new(struct event_base *base, const struct broker_config *config, const struct broker_cb *cb,
               void *arg, struct broker **ret, struct err *err)
{
    struct broker *b = calloc(1, sizeof *b);
    if (!b)
        return err_errno(err, -ENOMEM, "broker");
    b->cb = *cb;
    b->arg = arg;
    b->link.in.event_fd = b->link.out.event_fd = -1;
    int rc = settings_init(&b->link.settings, config, err);
    if (rc < 0) {
        free(b);
        return rc;
    }
    rc = prepare(b, base);
    if (rc < 0) {
        broker_free(b);
        return err_errno(err, rc, "broker: start its thread");
    }
    *ret = b;
    return 0;
}

// Publications get their outcome; nobody is there for the rest.
static void give_last(struct broker *b, struct lane *lane)
{
    struct item_queue items = STAILQ_HEAD_INITIALIZER(items);
    struct item *item;
    if (lane->event_fd < 0)
        return;
    (void)lane_take(lane, &items);
    while ((item = STAILQ_FIRST(&items))) {
        STAILQ_REMOVE_HEAD(&items, link);
        if (item->kind == ITEM_PUBLICATION)
            give_publication(b, item);
        else
            free(item);
    }
}

void broker_free(struct broker *b)
{
    if (!b)
        return;
    if (b->running) {
        lane_close(&b->link.in);
        pthread_join(b->thread, NULL);
    }
    if (b->on_out)
        event_free(b->on_out);
    give_last(b, &b->link.out);
    give_last(b, &b->link.in);
    link_done(&b->link);
    lane_done(&b->link.in);
    lane_done(&b->link.out);
    pthread_mutex_destroy(&b->link.lock);
    settings_done(&b->link.settings);
    free(b);
}

// --- publishing and settling ---

int broker_publish(struct broker *b, const struct broker_publication *p, broker_done_cb *done, void *arg)
{
    struct publication *pub;
    int rc = publication_new(p, &pub);
    if (rc < 0)
        return rc;
    if (b->outbox_n >= OUTBOX_MAX || b->outbox_bytes + pub->cost_bytes > b->link.settings.outbox_bytes_max) {
        free(pub);
        return -ENOBUFS;
    }
    pub->done = done;
    pub->arg = arg;
    b->outbox_bytes += pub->cost_bytes;
    b->outbox_n++;
    lane_put(&b->link.in, &pub->item);
    return 0;
}

void broker_settle(struct broker *b, uint64_t handle, enum broker_settlement how)
{
    struct settlement *s = calloc(1, sizeof *s);
    if (!s)
        return; // it stays unsettled, and comes again on the next connection
    s->item.kind = ITEM_SETTLEMENT;
    s->handle = handle;
    s->how = how;
    lane_put(&b->link.in, &s->item);
}

int broker_get(struct broker *b, const char *queue, uint32_t n, broker_get_cb *cb, void *arg)
{
    if (b->get_cb)
        return -EBUSY;
    if (n == 0 || n > BROKER_GET_MAX || strlen(queue) > BROKER_SHORT_MAX)
        return -EINVAL;
    struct get *g = calloc(1, sizeof *g);
    if (!g)
        return -ENOMEM;
    g->item.kind = ITEM_GET;
    g->n = n;
    snprintf(g->queue, sizeof g->queue, "%s", queue);
    b->get_cb = cb;
    b->get_arg = arg;
    lane_put(&b->link.in, &g->item);
    return 0;
}

int broker_count(struct broker *b, const char *queue, broker_count_cb *cb, void *arg, uint64_t tag)
{
    if (strlen(queue) > BROKER_SHORT_MAX)
        return -EINVAL;
    struct count *c = calloc(1, sizeof *c);
    if (!c)
        return -ENOMEM;
    *c = (struct count){.item.kind = ITEM_COUNT, .cb = cb, .arg = arg, .tag = tag};
    snprintf(c->queue, sizeof c->queue, "%s", queue);
    lane_put(&b->link.in, &c->item);
    return 0;
}

// --- wishes ---

static int make_wish(enum wish_kind kind, const char *name, const char *other, const char *key,
                     struct wish **ret)
{
    if (strlen(name) > BROKER_SHORT_MAX || strlen(other) > BROKER_SHORT_MAX || strlen(key) > BROKER_SHORT_MAX)
        return -EINVAL;
    struct wish *w = calloc(1, sizeof *w);
    if (!w)
        return -ENOMEM;
    w->item.kind = ITEM_WISH;
    w->kind = kind;
    snprintf(w->name, sizeof w->name, "%s", name);
    snprintf(w->other, sizeof w->other, "%s", other);
    snprintf(w->key, sizeof w->key, "%s", key);
    *ret = w;
    return 0;
}

static int wish(struct broker *b, enum wish_kind kind, const char *name, const char *other, const char *key)
{
    struct wish *w;
    int rc = make_wish(kind, name, other, key, &w);
    if (rc == 0)
        lane_put(&b->link.in, &w->item);
    return rc;
}

int broker_want_exchange(struct broker *b, const char *name, const char *type)
{
    return wish(b, WISH_EXCHANGE, name, type, "");
}

int broker_want_binding(struct broker *b, const char *queue, const char *exchange, const char *key)
{
    return wish(b, WISH_BINDING, queue, exchange, key);
}

int broker_unwant_binding(struct broker *b, const char *queue, const char *exchange, const char *key)
{
    return wish(b, WISH_NO_BINDING, queue, exchange, key);
}

// The queue and its bindings at once, or the thread could find it ready before it has them.
int broker_want_queue(struct broker *b, const struct broker_queue *q)
{
    struct item_queue items = STAILQ_HEAD_INITIALIZER(items);
    struct item *item;
    struct wish *w;
    int rc = make_wish(WISH_QUEUE, q->name, q->dead_letter_exchange ? q->dead_letter_exchange : "", "", &w);
    if (rc < 0)
        return rc;
    w->limits = (struct wish_queue){.messages_max = q->messages_max,
                                    .bytes_max = q->bytes_max,
                                    .exclusive_host = q->exclusive_host,
                                    .one_consumer = q->one_consumer};
    STAILQ_INSERT_TAIL(&items, &w->item, link);
    for (size_t i = 0; i < q->n_bindings && rc == 0; i++) {
        rc = make_wish(WISH_BINDING, q->name, q->bindings[i].exchange, q->bindings[i].key, &w);
        if (rc == 0)
            STAILQ_INSERT_TAIL(&items, &w->item, link);
    }
    if (rc == 0)
        lane_put_all(&b->link.in, &items);
    while ((item = STAILQ_FIRST(&items))) { // of a queue that cannot be
        STAILQ_REMOVE_HEAD(&items, link);
        free(item);
    }
    return rc;
}

int broker_unwant_queue(struct broker *b, const char *name, bool delete_it)
{
    struct wish *w;
    int rc = make_wish(WISH_NO_QUEUE, name, "", "", &w);
    if (rc < 0)
        return rc;
    w->limits.delete_it = delete_it;
    lane_put(&b->link.in, &w->item);
    return 0;
}

int broker_want_consumer(struct broker *b, const char *queue, uint16_t prefetch, uint64_t consumer)
{
    struct wish *w;
    int rc = consumer == 0 || prefetch == 0 ? -EINVAL : make_wish(WISH_CONSUMER, queue, "", "", &w);
    if (rc < 0)
        return rc;
    w->prefetch = prefetch;
    w->consumer = consumer;
    lane_put(&b->link.in, &w->item);
    return 0;
}

int broker_unwant_consumer(struct broker *b, uint64_t consumer)
{
    struct wish *w;
    int rc = make_wish(WISH_NO_CONSUMER, "", "", "", &w);
    if (rc < 0)
        return rc;
    w->consumer = consumer;
    lane_put(&b->link.in, &w->item);
    return 0;
}

void broker_get_stats(struct broker *b, struct broker_stats *ret)
{
    pthread_mutex_lock(&b->link.lock);
    *ret = b->link.shared;
    uint64_t blocked_ns = b->link.shared_blocked_ns;
    pthread_mutex_unlock(&b->link.lock);
    if (blocked_ns != 0)
        ret->blocked_ms += (io_monotonic_ns() - blocked_ns) / 1000000u;
    ret->outbox_bytes = b->outbox_bytes;
}
