// See random.h. Fast key erasure: each request first makes a block, whose first half replaces the key and is
// never handed out, so that what was given cannot be recovered from the state later on.
#include "base/random.h"

#include "base/string.h"

static struct {
    uint32_t input[12]; // 8 words of key, counter, 3 words of nonce
} state;

static uint32_t rotate(uint32_t v, int n)
{
    return v << n | v >> (32 - n);
}

static void quarter(uint32_t *a, uint32_t *b, uint32_t *c, uint32_t *d)
{
    *a += *b;
    *d = rotate(*d ^ *a, 16);
    *c += *d;
    *b = rotate(*b ^ *c, 12);
    *a += *b;
    *d = rotate(*d ^ *a, 8);
    *c += *d;
    *b = rotate(*b ^ *c, 7);
}

void chacha20_block(const uint32_t input[12], uint8_t out[64])
{
    uint32_t start[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
    uint32_t x[16];
    memcpy(start + 4, input, 12 * sizeof(uint32_t));
    memcpy(x, start, sizeof x);
    for (int i = 0; i < 10; i++) {
        for (int c = 0; c < 4; c++)
            quarter(&x[c], &x[4 + c], &x[8 + c], &x[12 + c]);
        for (int c = 0; c < 4; c++)
            quarter(&x[c], &x[4 + (c + 1) % 4], &x[8 + (c + 2) % 4], &x[12 + (c + 3) % 4]);
    }
    for (int i = 0; i < 16; i++)
        x[i] += start[i];
    memcpy(out, x, 64); // little endian, as this CPU is
}

static void next_block(uint8_t out[64])
{
    state.input[8]++;
    if (!state.input[8])
        state.input[9]++;
    chacha20_block(state.input, out);
}

// Replaces the key by the first half of a fresh block; hands out the second half.
static void rekey(uint8_t ret_half[32])
{
    uint8_t block[64];
    next_block(block);
    memcpy(state.input, block, 32);
    memcpy(ret_half, block + 32, 32);
    memset(block, 0, sizeof block);
}

void random_init(const uint8_t seed[64])
{
    memset(&state, 0, sizeof state);
    random_stir(seed, 64);
}

void random_bytes(void *out, size_t n)
{
    uint8_t block[64];
    rekey(block);
    size_t first = n < 32 ? n : 32;
    memcpy(out, block, first);
    uint8_t *p = (uint8_t *)out + first;
    for (n -= first; n;) {
        size_t part = n < 64 ? n : 64;
        next_block(block);
        memcpy(p, block, part);
        p += part;
        n -= part;
    }
    // The blocks above came from the key in use: replace it before anybody can read it.
    rekey(block);
    memset(block, 0, sizeof block);
}

void random_stir(const void *data, size_t n)
{
    const uint8_t *p = data;
    uint8_t half[32];
    while (n) {
        uint8_t *key = (uint8_t *)state.input;
        size_t part = n < 32 ? n : 32;
        for (size_t i = 0; i < part; i++)
            key[i] ^= p[i];
        rekey(half);
        p += part;
        n -= part;
    }
    memset(half, 0, sizeof half);
}
