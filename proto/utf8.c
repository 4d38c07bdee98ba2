// UTF-8 validation (RFC 3629, section 4), for every string that crosses a wire.
#include "proto/wire.h"

// One row per range of first bytes: how many bytes follow, and the range of the first of them, which is where
// overlong forms, surrogates and values above U+10FFFF show. All later bytes are 80..BF.
struct sequence {
    uint8_t first_min, first_max, n_more, second_min, second_max;
};

static const struct sequence sequences[] = {
    {0x01, 0x7f, 0, 0, 0},       {0xc2, 0xdf, 1, 0x80, 0xbf}, {0xe0, 0xe0, 2, 0xa0, 0xbf},
    {0xe1, 0xec, 2, 0x80, 0xbf}, {0xed, 0xed, 2, 0x80, 0x9f}, {0xee, 0xef, 2, 0x80, 0xbf},
    {0xf0, 0xf0, 3, 0x90, 0xbf}, {0xf1, 0xf3, 3, 0x80, 0xbf}, {0xf4, 0xf4, 3, 0x80, 0x8f},
};

static const struct sequence *sequence_find(uint8_t first)
{
    for (size_t i = 0; i < sizeof sequences / sizeof sequences[0]; i++)
        if (first >= sequences[i].first_min && first <= sequences[i].first_max)
            return &sequences[i];
    return NULL;
}

bool wire_utf8_valid(const void *data, size_t len)
{
    const uint8_t *p = data;
    for (size_t i = 0; i < len;) {
        const struct sequence *s = sequence_find(p[i++]);
        if (!s || s->n_more > len - i)
            return false;
        for (size_t k = 0; k < s->n_more; k++, i++) {
            uint8_t min = k == 0 ? s->second_min : 0x80, max = k == 0 ? s->second_max : 0xbf;
            if (p[i] < min || p[i] > max)
                return false;
        }
    }
    return true;
}
