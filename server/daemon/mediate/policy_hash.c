// The table that numbers a column's patterns: open addressing, doubling, filled once and then only read.
#include "mediate/policy_hash.h"

#include <errno.h>
#include <stdlib.h>

#define SLOTS_MIN 16

static struct pattern_slot *new_slots(size_t n)
{
    struct pattern_slot *slots = malloc(n * sizeof *slots);
    if (slots)
        memset(slots, 0xff, n * sizeof *slots); // every number PATTERN_UNKNOWN
    return slots;
}

int pattern_table_init(struct pattern_table *t)
{
    *t = (struct pattern_table){.slots = new_slots(SLOTS_MIN), .mask = SLOTS_MIN - 1};
    return t->slots ? 0 : -ENOMEM;
}

void pattern_table_done(struct pattern_table *t)
{
    free(t->slots);
    *t = (struct pattern_table){0};
}

static struct pattern_slot *find(struct pattern_table *t, uint64_t hash)
{
    return &t->slots[pattern_table_find(t, hash) - t->slots];
}

// At least half of the slots stay free.
static int reserve(struct pattern_table *t)
{
    size_t n_slots = t->mask + 1;
    if (2 * ((size_t)t->n + 1) <= n_slots)
        return 0;
    struct pattern_table bigger = {.slots = new_slots(2 * n_slots), .mask = 2 * n_slots - 1, .n = t->n};
    if (!bigger.slots)
        return -ENOMEM;
    for (size_t i = 0; i < n_slots; i++)
        if (t->slots[i].number != PATTERN_UNKNOWN)
            *find(&bigger, t->slots[i].hash) = t->slots[i];
    free(t->slots);
    *t = bigger;
    return 0;
}

uint32_t pattern_table_add(struct pattern_table *t, uint64_t hash, uint32_t rule)
{
    if (reserve(t) < 0)
        return PATTERN_UNKNOWN;
    struct pattern_slot *slot = find(t, hash);
    if (slot->number == PATTERN_UNKNOWN)
        *slot = (struct pattern_slot){.hash = hash, .number = t->n++, .first = rule};
    return slot->number;
}
