// Messages that programs have acknowledged, so that none is given again when the host, not knowing, delivers
// it again; and those that programs gave back, so that they come again ever later. Called by deliver.c. Knows
// messages by a key alone.
#include "state.h"

#include <string.h>

static uint64_t rotate(uint64_t x, unsigned n)
{
    return x << n | x >> (64 - n);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

// SipHash-1-3: senders choose the ids, and must not be able to make two messages look like one.
static uint64_t sip_hash(const uint64_t secret[2], const uint8_t *data, size_t n_words)
{
    uint64_t v[4] = {secret[0] ^ 0x736f6d6570736575, secret[1] ^ 0x646f72616e646f6d,
                     secret[0] ^ 0x6c7967656e657261, secret[1] ^ 0x7465646279746573};
    for (size_t i = 0; i < n_words; i++) {
        uint64_t word;
        memcpy(&word, data + 8 * i, 8);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

uint64_t window_key(const struct agent *a, const struct envelope *e)
{
    uint8_t data[ID_LEN + (ADDRESS_CAP + 7) / 8 * 8] = {0};
    memcpy(data, e->id.bytes, ID_LEN);
    memcpy(data + ID_LEN, e->from.data, e->from.len < ADDRESS_CAP ? e->from.len : ADDRESS_CAP);
    return sip_hash(a->secret, data, sizeof data / 8);
}

void window_init(struct agent *a)
{
    a->ops->random(a->ctx, a->secret, sizeof a->secret);
}

// Made when it is first wanted: an environment that receives nothing does without. NULL without memory: then
// less is remembered, which is what there was before the first.
static struct window *window_of(struct agent *a)
{
    if (!a->window && (a->window = memory_get(&a->memory, sizeof *a->window)) != NULL)
        memset(a->window, 0, sizeof *a->window);
    return a->window;
}

void window_done(struct agent *a)
{
    memory_put(&a->memory, a->window);
    a->window = NULL;
}

// ---- acknowledged ----

static uint16_t *head_of(struct window *w, uint64_t key)
{
    return &w->heads[key % WINDOW_HEADS];
}

bool window_was_acked(struct agent *a, uint64_t key)
{
    struct window *w = a->window;
    for (uint16_t at = w ? *head_of(w, key) : 0; at != 0; at = w->next[at - 1])
        if (w->keys[at - 1] == key)
            return true;
    return false;
}

static void forget_oldest(struct window *w)
{
    uint16_t *link = head_of(w, w->keys[w->at]);
    while (*link != w->at + 1)
        link = &w->next[*link - 1];
    *link = w->next[w->at];
}

void window_acked(struct agent *a, uint64_t key)
{
    struct window *w = window_of(a);
    if (!w)
        return;
    if (w->n == WINDOW_MAX)
        forget_oldest(w);
    else
        w->n++;
    uint16_t *head = head_of(w, key);
    w->keys[w->at] = key;
    w->next[w->at] = *head;
    *head = (uint16_t)(w->at + 1);
    w->at = (uint16_t)((w->at + 1) % WINDOW_MAX);
}

// ---- given back ----

uint32_t window_returned(struct agent *a, uint64_t key)
{
    struct window *w = window_of(a);
    for (size_t i = 0; w && i < RETURNED_MAX; i++) {
        struct returned *r = &w->returned[i];
        if (r->n == 0 || r->key != key)
            continue;
        uint32_t delay_ms = r->n > 8 ? RETURN_MAX_MS : RETURN_MIN_MS << (r->n - 1);
        r->n += r->n < UINT8_MAX;
        return delay_ms < RETURN_MAX_MS ? delay_ms : RETURN_MAX_MS;
    }
    if (!w)
        return 0;
    w->returned[w->returned_at] = (struct returned){.key = key, .n = 1};
    w->returned_at = (w->returned_at + 1) % RETURNED_MAX;
    return 0;
}
