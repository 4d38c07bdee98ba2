// The token buckets of rules' rates: one per (rule, source, target), in a table of fixed size. Used by the
// mediator only.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mediate/question.h"

struct buckets;

enum buckets_answer { BUCKETS_TAKEN, BUCKETS_EMPTY, BUCKETS_EXHAUSTED };

// Room for about n buckets. NULL: no memory.
struct buckets *buckets_new(size_t n);
void buckets_free(struct buckets *b);
// Forgets all: every bucket is full again.
void buckets_clear(struct buckets *b);
// Takes a token. EXHAUSTED: the table has no place for one more bucket that is not full, so the rate cannot
// be kept and nothing is let through.
enum buckets_answer buckets_take(struct buckets *b, uint32_t rule, const struct mediate_party *source,
                                 const struct mediate_party *target, uint32_t rate_per_s, uint32_t burst,
                                 uint64_t now_ns);
