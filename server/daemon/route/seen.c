// The window: a ring of nodes that are also in a table. Keys are hashes already, and secret ones.
#include "route/seen.h"

#include <stdlib.h>

#include "common/table.h"

struct seen {
    struct table table;
    uint32_t window, n, at; // at: the oldest once n reaches window
    struct table_node nodes[];
};

struct seen *seen_new(uint32_t window)
{
    struct seen *s = calloc(1, sizeof *s + window * sizeof s->nodes[0]);
    if (!s)
        return NULL;
    s->window = window;
    if (table_init(&s->table, window) == 0)
        return s;
    free(s);
    return NULL;
}

void seen_free(struct seen *s)
{
    if (!s)
        return;
    table_done(&s->table);
    free(s);
}

bool seen_has(const struct seen *s, uint64_t key)
{
    return table_first(&s->table, key) != NULL;
}

void seen_add(struct seen *s, uint64_t key)
{
    struct table_node *node = &s->nodes[s->at];
    if (s->n == s->window)
        table_remove(&s->table, node);
    else
        s->n++;
    table_insert(&s->table, node, key);
    s->at = (s->at + 1) % s->window;
}
