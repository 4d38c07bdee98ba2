// Sets of eight buckets, found by a keyed hash of (rule, source, target). A bucket that is full again is as
// good as none, so its place is free: the table holds only senders that are at their rate now.
#include "mediate/buckets.h"

#include <stdlib.h>
#include <string.h>

#include "common/siphash.h"
#include "mediate/gcra.h"

#define WAYS 8

// Two keys with one 64-bit hash would share a bucket: unlikely, and harmless.
struct bucket {
    uint64_t key;
    uint64_t full_at_ns;
};

struct buckets {
    struct siphash_key hash_key;
    size_t sets_mask;
    struct bucket items[];
};

struct buckets *buckets_new(size_t n)
{
    size_t n_sets = 1;
    while (n_sets * WAYS < n)
        n_sets *= 2;
    struct buckets *b = calloc(1, sizeof *b + n_sets * WAYS * sizeof b->items[0]);
    if (!b)
        return NULL;
    b->sets_mask = n_sets - 1;
    b->hash_key = siphash_key_random();
    return b;
}

void buckets_free(struct buckets *b)
{
    free(b);
}

void buckets_clear(struct buckets *b)
{
    memset(b->items, 0, (b->sets_mask + 1) * WAYS * sizeof b->items[0]);
}

static uint64_t key_of(const struct buckets *b, uint32_t rule, const struct mediate_party *source,
                       const struct mediate_party *target)
{
    // Names hold no NUL: fields of fixed width keep ("a", "bc") and ("ab", "c") apart.
    char text[sizeof rule + (size_t)4 * NAME_CAP] = {0};
    memcpy(text, &rule, sizeof rule);
    const char *const names[] = {source->tenant, source->name, target->tenant, target->name};
    for (size_t i = 0; i < 4; i++)
        memcpy(text + sizeof rule + i * NAME_CAP, names[i], strnlen(names[i], NAME_MAX_LEN));
    return siphash(&b->hash_key, text, sizeof text);
}

enum buckets_answer buckets_take(struct buckets *b, uint32_t rule, const struct mediate_party *source,
                                 const struct mediate_party *target, uint32_t rate_per_s, uint32_t burst,
                                 uint64_t now_ns)
{
    uint64_t key = key_of(b, rule, source, target);
    struct bucket *set = &b->items[(key & b->sets_mask) * WAYS];
    struct bucket *place = NULL;
    for (size_t i = 0; i < WAYS; i++) {
        if (set[i].key == key) {
            place = &set[i];
            break;
        }
        if (!place && gcra_full(set[i].full_at_ns, now_ns))
            place = &set[i];
    }
    if (!place)
        return BUCKETS_EXHAUSTED;
    if (place->key != key)
        *place = (struct bucket){.key = key};
    return gcra_take(&place->full_at_ns, now_ns, rate_per_s, burst) ? BUCKETS_TAKEN : BUCKETS_EMPTY;
}
