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

int getter_pump(struct getter *g, struct conn *c, struct failure *ret)
{
    if (!g->current || g->asked)
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
