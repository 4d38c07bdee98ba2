// SHA-256 (FIPS 180-4), for programs that are linked without a cryptographic library: envagent's digests of
// copied files. Host programs use OpenSSL's.
#pragma once

#include <stddef.h>
#include <stdint.h>

#define SHA256_LEN 32

struct sha256 {
    uint32_t state[8];
    uint64_t n_bytes;
    uint8_t block[64]; // n_bytes % 64 bytes of it are waiting
};

void sha256_init(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *data, size_t n);
// s is of no use afterwards.
void sha256_end(struct sha256 *s, uint8_t ret[SHA256_LEN]);
