// The kernel's random numbers: ChaCha20 with fast key erasure, seeded by envvm in the boot page and stirred
// with what virtio-rng gives. Serves getrandom, /dev/urandom, AT_RANDOM and message ids.
#pragma once

#include <stddef.h>
#include <stdint.h>

// seed: 64 bytes, of which the caller keeps no copy.
void random_init(const uint8_t seed[64]);
void random_bytes(void *out, size_t n);
// Mixes n bytes in; never makes the state more predictable than it was.
void random_stir(const void *data, size_t n);
// The ChaCha20 block function (RFC 8439, 2.3): key, counter and nonce as 12 words after the constants.
void chacha20_block(const uint32_t input[12], uint8_t out[64]);
