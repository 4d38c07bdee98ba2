// Pattern hashes and the table that numbers them: what the index is made of. Used by policy_index.c only.
//
// A pattern is known by nothing but 64 bits, mixed with a secret from its class and its parts. Should two
// patterns share them, the index finds too much, never too little; policy_decide() checks what it finds
// against the rule itself.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define PATTERN_UNKNOWN UINT32_MAX

// One pattern of one column.
struct pattern_slot {
    uint64_t hash;
    uint32_t number; // PATTERN_UNKNOWN: a free slot
    uint32_t first;  // the first rule that has it
};

// The patterns of one column, numbered from 0 in the order of their coming.
struct pattern_table {
    struct pattern_slot *slots;
    size_t mask; // slots - 1; a power of two
    uint32_t n;
};

int pattern_table_init(struct pattern_table *t); // 0 or -ENOMEM
void pattern_table_done(struct pattern_table *t);
// Notes that a rule has the pattern; rules come in order. Its number, or PATTERN_UNKNOWN without memory.
uint32_t pattern_table_add(struct pattern_table *t, uint64_t hash, uint32_t rule);

// The slot of a pattern, or a free one.
static inline const struct pattern_slot *pattern_table_find(const struct pattern_table *t, uint64_t hash)
{
    size_t i = hash & t->mask;
    while (t->slots[i].number != PATTERN_UNKNOWN && t->slots[i].hash != hash)
        i = (i + 1) & t->mask;
    return &t->slots[i];
}

static inline uint64_t hash_mix(uint64_t a, uint64_t b)
{
    uint64_t h = (a ^ b) * 0xd6e8feb86659fd93;
    return h ^ h >> 32;
}

// Eight bytes at a time. The seed is secret and drawn anew for each policy.
static inline uint64_t hash_text(uint64_t seed, const char *text, size_t len)
{
    uint64_t h = hash_mix(seed, len), word;
    for (; len >= 8; len -= 8, text += 8) {
        memcpy(&word, text, 8);
        h = hash_mix(h, word);
    }
    word = 0;
    for (size_t i = 0; i < len; i++)
        word = word << 8 | (unsigned char)text[i];
    return hash_mix(hash_mix(h, word), seed);
}
