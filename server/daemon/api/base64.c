// Owns base64 in bodies of messages. Strict: every character counts, padding included. Called by messages.c.
#include <errno.h>
#include <stdlib.h>

#include "api/internal.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

ssize_t base64_decode(const char *text, size_t len, uint8_t **ret)
{
    if (len % 4 != 0)
        return -EINVAL;
    size_t pad = len > 0 && text[len - 1] == '=' ? 1 + (text[len - 2] == '=') : 0;
    uint8_t *out = malloc(len / 4 * 3 + 1);
    size_t n = 0;
    if (!out)
        return -ENOMEM;
    for (size_t i = 0; i < len; i += 4) {
        uint32_t word = 0;
        for (size_t j = 0; j < 4; j++) {
            int v = i + j >= len - pad ? 0 : value_of(text[i + j]);
            if (v < 0) {
                free(out);
                return -EINVAL;
            }
            word = word << 6 | (uint32_t)v;
        }
        out[n++] = (uint8_t)(word >> 16);
        out[n++] = (uint8_t)(word >> 8);
        out[n++] = (uint8_t)word;
    }
    n -= pad;
    // Bits behind the last byte would make two texts of one value.
    if (pad > 0 && out[n] != 0) {
        free(out);
        return -EINVAL;
    }
    *ret = out;
    return (ssize_t)n;
}

char *base64_encode(const void *data, size_t len)
{
    const uint8_t *in = data;
    char *out = malloc((len + 2) / 3 * 4 + 1);
    size_t n = 0;
    if (!out)
        return NULL;
    for (size_t i = 0; i < len; i += 3) {
        uint32_t word = (uint32_t)in[i] << 16;
        word |= i + 1 < len ? (uint32_t)in[i + 1] << 8 : 0;
        word |= i + 2 < len ? in[i + 2] : 0;
        out[n++] = alphabet[word >> 18];
        out[n++] = alphabet[(word >> 12) & 63];
        out[n++] = i + 1 < len ? alphabet[(word >> 6) & 63] : '=';
        out[n++] = i + 2 < len ? alphabet[word & 63] : '=';
    }
    out[n] = '\0';
    return out;
}
