// Which records are needed, and where they lie: a table by seq, and each segment's sum.
#include <stdlib.h>

#include "journal/internal.h"

struct live *live_find(const struct journal *j, uint64_t seq)
{
    struct table_node *n = table_first(&j->live, seq); // seqs are ours: nobody can choose them to collide
    return n ? table_entry(n, struct live, node) : NULL;
}

struct live *live_add(struct journal *j, uint64_t seq, uint8_t type, size_t len)
{
    struct live *l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    l->seq = seq;
    l->type = type;
    l->len = (uint32_t)len;
    l->size = (uint32_t)format_size(len);
    table_insert(&j->live, &l->node, seq);
    j->live_bytes += l->size;
    return l;
}

void live_place(struct journal *j, struct live *l, struct segment *s, uint64_t offset)
{
    (void)j;
    if (l->segment)
        l->segment->live_bytes -= l->size;
    l->segment = s;
    l->offset = offset;
    if (s)
        s->live_bytes += l->size;
}

void live_remove(struct journal *j, struct live *l)
{
    live_place(j, l, NULL, 0);
    table_remove(&j->live, &l->node);
    j->live_bytes -= l->size;
    free(l);
}
