// The committed state in memory: entries sorted by key in one array. An insert moves pointers (20 us at
// 100,000 keys), lookups are a binary search, and a prefix is a slice. Internal to store/, the loop's thread
// only.
#pragma once

#include "store/job.h"

struct view {
    struct entry **entries;
    size_t n, cap;
};

void view_done(struct view *view);
// Makes room so that n more puts cannot fail. 0 or -ENOMEM.
int view_reserve(struct view *view, size_t n);
struct entry *view_find(const struct view *view, const char *key);
const struct store_entry *view_next(const struct view *view, const char *prefix, const char *after);
size_t view_count(const struct view *view, const char *prefix);
// Puts entry (taken; room was reserved) in its place. Returns the entry it replaces, the caller's to free, or
// NULL.
struct entry *view_put(struct view *view, struct entry *entry);
// Returns the removed entry, the caller's to free, or NULL.
struct entry *view_remove(struct view *view, const char *key);
