// The intrusive hash table: chains, doubling when there are more nodes than slots.
#include "common/table.h"

#include <errno.h>
#include <stdlib.h>

int table_init(struct table *t, size_t n)
{
    size_t n_slots = 16;
    while (n_slots < n)
        n_slots *= 2;
    t->slots = calloc(
        n_slots, sizeof(struct table_node *)); // NOLINT(bugprone-sizeof-expression): an array of pointers
    if (!t->slots)
        return -ENOMEM;
    t->n_slots = n_slots;
    t->n_nodes = 0;
    return 0;
}

void table_done(struct table *t)
{
    free(t->slots);
    *t = (struct table){0};
}

static struct table_node **slot_of(const struct table *t, uint64_t hash)
{
    return &t->slots[hash & (t->n_slots - 1)];
}

static void grow(struct table *t)
{
    struct table bigger;
    if (table_init(&bigger, t->n_slots * 2) < 0)
        return;
    for (size_t i = 0; i < t->n_slots; i++) {
        for (struct table_node *node = t->slots[i], *next; node; node = next) {
            next = node->next;
            struct table_node **slot = slot_of(&bigger, node->hash);
            node->next = *slot;
            *slot = node;
        }
    }
    free(t->slots);
    t->slots = bigger.slots;
    t->n_slots = bigger.n_slots;
}

void table_insert(struct table *t, struct table_node *node, uint64_t hash)
{
    if (t->n_nodes >= t->n_slots)
        grow(t);
    struct table_node **slot = slot_of(t, hash);
    *node = (struct table_node){.next = *slot, .hash = hash};
    *slot = node;
    t->n_nodes++;
}

void table_remove(struct table *t, struct table_node *node)
{
    struct table_node **link = slot_of(t, node->hash);
    while (*link != node)
        link = &(*link)->next;
    *link = node->next;
    node->next = NULL;
    t->n_nodes--;
}

struct table_node *table_first(const struct table *t, uint64_t hash)
{
    if (!t->slots)
        return NULL;
    struct table_node *node = *slot_of(t, hash);
    while (node && node->hash != hash)
        node = node->next;
    return node;
}

struct table_node *table_next(const struct table_node *node)
{
    struct table_node *next = node->next;
    while (next && next->hash != node->hash)
        next = next->next;
    return next;
}

struct table_node *table_any(const struct table *t)
{
    for (size_t i = 0; t->n_nodes && i < t->n_slots; i++)
        if (t->slots[i])
            return t->slots[i];
    return NULL;
}
