// SipHash-1-3 (Aumasson, Bernstein): a keyed hash for tables whose keys strangers choose. Called by whatever
// keeps such a table; not a MAC for anything that leaves the process.
#pragma once

#include <stddef.h>
#include <stdint.h>

struct siphash_key {
    uint64_t k0, k1;
};

// A random key. Never fails: the kernel's generator is ready long before this runs.
struct siphash_key siphash_key_random(void);
uint64_t siphash(const struct siphash_key *key, const void *data, size_t len);
