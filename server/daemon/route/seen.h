// A window over the last keys that were seen: how duplicates are found. Used by mailboxes, for replies, and
// by the link.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct seen;

struct seen *seen_new(uint32_t window); // NULL: no memory
void seen_free(struct seen *s);
bool seen_has(const struct seen *s, uint64_t key);
// Remembers a key that seen_has() does not know; the oldest goes when the window is full.
void seen_add(struct seen *s, uint64_t key);
