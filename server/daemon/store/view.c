// Owns the sorted array of entries. Called by store.c when commits complete and for every read.
#include "store/view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void view_done(struct view *view)
{
    for (size_t i = 0; i < view->n; i++)
        free(view->entries[i]);
    free(view->entries);
    *view = (struct view){0};
}

int view_reserve(struct view *view, size_t n)
{
    if (n <= view->cap - view->n)
        return 0;
    size_t cap = (view->n + n) * 2;
    struct entry **grown = reallocarray(view->entries, cap, sizeof(struct entry *));
    if (!grown)
        return -ENOMEM;
    view->entries = grown;
    view->cap = cap;
    return 0;
}

// Index of the first entry whose key is >= key (or > key when past is set).
static size_t lower_bound(const struct view *view, const char *key, bool past)
{
    size_t low = 0, high = view->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int order = strcmp(view->entries[mid]->pub.key, key);
        if (order < 0 || (past && order == 0))
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static bool key_at(const struct view *view, size_t i, const char *key)
{
    return i < view->n && strcmp(view->entries[i]->pub.key, key) == 0;
}

struct entry *view_find(const struct view *view, const char *key)
{
    size_t i = lower_bound(view, key, false);
    return key_at(view, i, key) ? view->entries[i] : NULL;
}

const struct store_entry *view_next(const struct view *view, const char *prefix, const char *after)
{
    bool from_after = after && strcmp(after, prefix) >= 0;
    size_t i = lower_bound(view, from_after ? after : prefix, from_after);
    if (i == view->n || strncmp(view->entries[i]->pub.key, prefix, strlen(prefix)) != 0)
        return NULL;
    return &view->entries[i]->pub;
}

// Index of the first entry at or after `from` that is outside prefix.
static size_t prefix_end(const struct view *view, size_t from, const char *prefix)
{
    size_t len = strlen(prefix);
    size_t low = from, high = view->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (strncmp(view->entries[mid]->pub.key, prefix, len) <= 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

size_t view_count(const struct view *view, const char *prefix)
{
    size_t first = lower_bound(view, prefix, false);
    return prefix_end(view, first, prefix) - first;
}

struct entry *view_put(struct view *view, struct entry *entry)
{
    size_t i = lower_bound(view, entry->pub.key, false);
    if (key_at(view, i, entry->pub.key)) {
        struct entry *old = view->entries[i];
        view->entries[i] = entry;
        return old;
    }
    memmove(view->entries + i + 1, view->entries + i, (view->n - i) * sizeof(struct entry *));
    view->entries[i] = entry;
    view->n++;
    return NULL;
}

struct entry *view_remove(struct view *view, const char *key)
{
    size_t i = lower_bound(view, key, false);
    if (!key_at(view, i, key))
        return NULL;
    struct entry *old = view->entries[i];
    memmove(view->entries + i, view->entries + i + 1, (view->n - i - 1) * sizeof(struct entry *));
    view->n--;
    return old;
}
