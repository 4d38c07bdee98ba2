// Groups: records gather in a buffer, and become the bytes of one write when it is known where they go.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "journal/internal.h"

#define OPEN_SIZE    (sizeof(struct format_record) + sizeof(struct format_open))
#define FIRST_CAP    (64u << 10)
#define KEPT_CAP_MAX (GROUP_BYTES + (GROUP_BYTES >> 1))
_Static_assert(OPEN_SIZE % 8 == 0, "records lie at multiples of 8");

struct group *group_new(struct journal *j)
{
    struct group *g = take_ptr(j->reusable);
    if (g)
        return g;
    g = calloc(1, sizeof *g);
    if (!g)
        return NULL;
    g->data = malloc(FIRST_CAP);
    g->cap = FIRST_CAP;
    g->len = OPEN_SIZE;
    if (g->data)
        return g;
    free(g);
    return NULL;
}

void group_free(struct group *g)
{
    if (!g)
        return;
    free(g->data);
    free(g->items);
    free(g->forgets);
    free(g);
}

void group_recycle(struct journal *j, struct group *g)
{
    if (j->reusable || g->cap > KEPT_CAP_MAX) {
        group_free(g);
        return;
    }
    g->len = OPEN_SIZE;
    g->n_items = g->n_forgets = 0;
    g->attempts = 0;
    g->cleaning = g->probe = false;
    j->reusable = g;
}

static int reserve(struct group *g, size_t len)
{
    if (len <= g->cap)
        return 0;
    size_t cap = g->cap;
    while (cap < len)
        cap *= 2;
    uint8_t *data = realloc(g->data, cap);
    if (!data)
        return -ENOMEM;
    g->data = data;
    g->cap = cap;
    return 0;
}

static size_t forgets_size(size_t n)
{
    return n ? format_size(n * sizeof(uint64_t)) : 0;
}

size_t group_size(const struct group *g)
{
    return g->len + forgets_size(g->n_forgets);
}

size_t group_bytes(const struct group *g)
{
    return g->len - OPEN_SIZE;
}

bool group_is_empty(const struct group *g)
{
    return g->n_items == 0 && g->n_forgets == 0;
}

int group_add(struct group *g, const struct item *item, const struct iovec *parts, int n_parts)
{
    // What is reserved beyond the record is for group_seal(), which must not fail.
    int rc = reserve(g, g->len + format_size(item->len) + forgets_size(FORGETS_MAX) + FORMAT_PAGE);
    if (rc < 0)
        return rc;
    if (g->n_items == g->items_cap) {
        size_t cap = g->items_cap ? g->items_cap * 2 : 64;
        struct item *items = realloc(g->items, cap * sizeof *items);
        if (!items)
            return -ENOMEM;
        g->items = items;
        g->items_cap = cap;
    }
    struct item *i = &g->items[g->n_items++];
    *i = *item;
    i->offset = g->len;
    uint8_t *to = g->data + g->len + sizeof(struct format_record);
    for (int p = 0; p < n_parts; p++) {
        if (parts[p].iov_len == 0)
            continue;
        memcpy(to, parts[p].iov_base, parts[p].iov_len);
        to += parts[p].iov_len;
    }
    g->len += format_size(item->len);
    return 0;
}

int group_forget(struct group *g, uint64_t seq)
{
    int rc = reserve(g, g->len + forgets_size(FORGETS_MAX) + FORMAT_PAGE);
    if (rc < 0)
        return rc;
    if (!g->forgets && !(g->forgets = malloc(FORGETS_MAX * sizeof *g->forgets)))
        return -ENOMEM;
    if (g->n_forgets == FORGETS_MAX)
        return -ENOBUFS;
    g->forgets[g->n_forgets++] = seq;
    return 0;
}

struct group *group_gathering(struct journal *j, size_t len)
{
    struct group *g = TAILQ_LAST(&j->waiting, group_list);
    size_t most = j->segment_bytes / 4 < GROUP_BYTES ? j->segment_bytes / 4 : GROUP_BYTES;
    if (g && g->attempts == 0 && !g->cleaning && !g->probe &&
        (group_is_empty(g) || g->len + format_size(len) <= most) && (len > 0 || g->n_forgets < FORGETS_MAX))
        return g;
    g = group_new(j);
    if (g)
        TAILQ_INSERT_TAIL(&j->waiting, g, link);
    return g;
}

static void write_forgets(struct group *g, uint8_t *at, struct format_record r)
{
    r.seq = 0;
    r.type = FORMAT_TYPE_FORGET;
    r.len = (uint32_t)(g->n_forgets * sizeof(uint64_t));
    memcpy(at + sizeof r, g->forgets, r.len);
    format_write_record(at, r);
}

size_t group_seal(struct group *g, const struct segment *s, uint64_t at, const struct format_open *open,
                  const uint8_t **ret, uint64_t *ret_used)
{
    struct format_record r = {.salt = s->salt, .synced = (uint32_t)at};
    size_t begin = OPEN_SIZE, end = g->len;
    for (size_t i = 0; i < g->n_items; i++) {
        r.seq = g->items[i].seq;
        r.type = g->items[i].type;
        r.len = g->items[i].len;
        format_write_record(g->data + g->items[i].offset, r);
    }
    if (open) {
        begin = 0;
        r.seq = 0;
        r.type = FORMAT_TYPE_OPEN;
        r.len = sizeof *open;
        memcpy(g->data + sizeof r, open, sizeof *open);
        format_write_record(g->data, r);
    }
    if (g->n_forgets > 0) {
        write_forgets(g, g->data + end, r);
        end += forgets_size(g->n_forgets);
    }
    *ret = g->data + begin;
    *ret_used = end - begin;
    // A whole page at the end: the file's old one need not be read for it, and what lies behind is clean.
    size_t padded = format_round(at + *ret_used, FORMAT_PAGE) - at;
    memset(g->data + end, 0, padded - *ret_used);
    return padded;
}
