// Owns tags and their publications. Called by publish.c; what a confirm means is decided here and only here.
#include "broker/window.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int window_init(struct window *w, uint32_t size)
{
    uint64_t n_slots = 1;
    while (n_slots < size)
        n_slots *= 2;
    *w = (struct window){.mask = n_slots - 1, .size = size, .oldest = 1, .next = 1};
    w->key = siphash_key_random();
    w->slots = calloc(n_slots, sizeof(struct publication *));
    if (!w->slots || table_init(&w->by_id, size) < 0) {
        free(w->slots);
        w->slots = NULL;
        return -ENOMEM;
    }
    return 0;
}

void window_done(struct window *w)
{
    if (!w->slots)
        return;
    table_done(&w->by_id);
    free(w->slots);
    w->slots = NULL;
}

bool window_has_room(const struct window *w)
{
    return w->next - w->oldest < w->size;
}

static bool has_id(const struct publication *p)
{
    return p->mandatory;
}

void window_add(struct window *w, struct publication *p)
{
    p->tag = w->next++;
    p->returned = false;
    w->slots[p->tag & w->mask] = p;
    w->n++;
    if (has_id(p))
        table_insert(&w->by_id, &p->node,
                     siphash(&w->key, p->properties.message_id.bytes, p->properties.message_id.len));
}

void window_remove(struct window *w, struct publication *p)
{
    w->slots[p->tag & w->mask] = NULL;
    w->n--;
    if (has_id(p))
        table_remove(&w->by_id, &p->node);
    while (w->oldest < w->next && !w->slots[w->oldest & w->mask])
        w->oldest++;
}

static void settle(struct window *w, uint64_t tag, bool ack, struct item_queue *done)
{
    struct publication *p = w->slots[tag & w->mask];
    if (!p)
        return; // out of patience before
    p->outcome = !ack ? BROKER_NACKED : p->returned ? BROKER_RETURNED : BROKER_CONFIRMED;
    window_remove(w, p);
    STAILQ_INSERT_TAIL(done, &p->item, link);
}

bool window_confirm(struct window *w, uint64_t tag, bool multiple, bool ack, struct item_queue *done)
{
    if (tag == 0 && multiple) // "all so far"
        tag = w->next - 1;
    else if (tag == 0 || tag >= w->next)
        return false;
    for (uint64_t t = multiple ? w->oldest : tag; t <= tag; t++)
        if (t >= w->oldest)
            settle(w, t, ack, done);
    return true;
}

static bool equal(amqp_bytes_t a, struct broker_text b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.bytes, b.data, a.len) == 0);
}

// The same id may be there twice: a sender that tried again. The table gives the newest first, the broker
// returns the oldest first.
void window_return(struct window *w, struct broker_text message_id, struct broker_text routing_key)
{
    struct publication *oldest = NULL;
    struct table_node *node = table_first(&w->by_id, siphash(&w->key, message_id.data, message_id.len));
    for (; node; node = table_next(node)) {
        struct publication *p = table_entry(node, struct publication, node);
        if (!p->returned && equal(p->properties.message_id, message_id) &&
            equal(p->routing_key, routing_key) && (!oldest || p->tag < oldest->tag))
            oldest = p;
    }
    if (oldest)
        oldest->returned = true;
}

struct publication *window_after(const struct window *w, const struct publication *p)
{
    for (uint64_t t = p ? p->tag + 1 : w->oldest; t < w->next; t++)
        if (w->slots[t & w->mask])
            return w->slots[t & w->mask];
    return NULL;
}

struct publication *window_first(const struct window *w)
{
    return window_after(w, NULL);
}

void window_reset(struct window *w, struct item_queue *waiting)
{
    struct item_queue taken = STAILQ_HEAD_INITIALIZER(taken);
    struct publication *p;
    while ((p = window_first(w))) {
        window_remove(w, p);
        STAILQ_INSERT_TAIL(&taken, &p->item, link);
    }
    STAILQ_CONCAT(&taken, waiting);
    STAILQ_CONCAT(waiting, &taken);
    w->oldest = w->next = 1;
}
