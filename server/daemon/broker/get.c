// Owns the one basic.get that may be under way. Called by link.c.
#include "broker/get.h"

#include <stdio.h>

#include "broker/topology.h"

void getter_start(struct getter *g, struct get *get)
{
    g->current = get;
    g->left = get->n;
    g->asked = false;
}

// Passive: it looks, and makes no queue.
static int ask_count(struct getter *g, struct conn *c, struct failure *ret)
{
    struct item *item = STAILQ_FIRST(&g->counts);
    STAILQ_REMOVE_HEAD(&g->counts, link);
    g->counting = (struct count *)item;
    amqp_queue_declare_t m = {.queue = bytes_of(g->counting->queue), .passive = 1};
    return conn_send(c, CHANNEL_GET, AMQP_QUEUE_DECLARE_METHOD, &m, ret);
}

int getter_pump(struct getter *g, struct conn *c, struct failure *ret)
{
    if (g->asked || g->counting)
        return 0;
    if (!STAILQ_EMPTY(&g->counts))
        return ask_count(g, c, ret);
    if (!g->current)
        return 0;
    amqp_basic_get_t m = {.queue = bytes_of(g->current->queue)};
    g->asked = true;
    return conn_send(c, CHANNEL_GET, AMQP_BASIC_GET_METHOD, &m, ret);
}

void getter_end(struct getter *g, const char *why)
{
    if (!g->current)
        return;
    g->current->item.kind = ITEM_GET_END;
    snprintf(g->current->why, sizeof g->current->why, "%s", why);
    STAILQ_INSERT_TAIL(g->out, &g->current->item, link);
    g->current = NULL;
}

void getter_got(struct getter *g)
{
    g->asked = false;
    if (g->current && --g->left == 0)
        getter_end(g, "");
}

void getter_count(struct getter *g, struct count *c)
{
    STAILQ_INSERT_TAIL(&g->counts, &c->item, link);
}

static void give_count(struct getter *g, struct count *c, const char *why)
{
    snprintf(c->why, sizeof c->why, "%s", why);
    STAILQ_INSERT_TAIL(g->out, &c->item, link);
}

void getter_counted(struct getter *g, uint32_t messages)
{
    struct count *c = g->counting;
    g->counting = NULL;
    if (!c)
        return;
    c->messages = messages;
    give_count(g, c, "");
}

bool getter_counts_end(struct getter *g, bool all, const char *why)
{
    struct count *asked = g->counting;
    struct item *item;
    g->counting = NULL;
    if (asked)
        give_count(g, asked, why);
    while (all && (item = STAILQ_FIRST(&g->counts))) {
        STAILQ_REMOVE_HEAD(&g->counts, link);
        give_count(g, (struct count *)item, why);
    }
    return asked != NULL;
}
