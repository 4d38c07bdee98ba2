// Names, addresses, subjects and ids (name.h): text in, validated values out. Knows nothing of who may use
// which.
#include "proto/name.h"

#include <string.h>

static bool is_lower_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool name_valid(const char *s, size_t len)
{
    if (len == 0 || len > NAME_MAX_LEN || s[0] == '-' || s[len - 1] == '-')
        return false;
    for (size_t i = 0; i < len; i++)
        if (!is_lower_or_digit(s[i]) && s[i] != '-')
            return false;
    return true;
}

static bool is_token_char(char c)
{
    return is_lower_or_digit(c) || (c >= 'A' && c <= 'Z') || c == '_' || c == '-';
}

bool subject_valid(const char *s, size_t len)
{
    if (len == 0 || len > SUBJECT_MAX_LEN)
        return false;
    size_t n_tokens = 1, token_len = 0;
    for (size_t i = 0; i < len; i++) {
        if (s[i] == '.') {
            if (token_len == 0)
                return false;
            n_tokens++;
            token_len = 0;
        } else if (is_token_char(s[i])) {
            token_len++;
        } else {
            return false;
        }
    }
    return token_len > 0 && n_tokens <= SUBJECT_TOKENS;
}

static void name_copy(char out[NAME_CAP], const char *s, size_t len)
{
    memset(out, 0, NAME_CAP);
    memcpy(out, s, len);
}

const char *address_parse(const char *s, size_t len, struct address *ret)
{
    if (len == 0)
        return "the address is empty";
    if (len >= ADDRESS_CAP)
        return "the address is too long";
    struct address a = {0};
    const char *slash = NULL;
    for (size_t i = 0; i < len && !slash; i++)
        if (s[i] == '/')
            slash = s + i;
    if (slash) {
        size_t tenant_len = (size_t)(slash - s);
        if (!name_valid(s, tenant_len))
            return "the address's tenant is not a name (a-z, 0-9 and -, at most 63)";
        name_copy(a.tenant, s, tenant_len);
        len -= tenant_len + 1;
        s = slash + 1;
    }
    if (len > 0 && s[0] == ':') {
        a.is_service = true;
        s++;
        len--;
    }
    if (!name_valid(s, len))
        return a.is_service ? "the address's service is not a name (a-z, 0-9 and -, at most 63)"
                            : "the address's environment is not a name (a-z, 0-9 and -, at most 63)";
    name_copy(a.name, s, len);
    *ret = a;
    return NULL;
}

void address_format(const struct address *a, char *out)
{
    size_t tenant_len = strlen(a->tenant);
    if (tenant_len > 0) {
        memcpy(out, a->tenant, tenant_len);
        out += tenant_len;
        *out++ = '/';
    }
    if (a->is_service)
        *out++ = ':';
    memcpy(out, a->name, strlen(a->name) + 1);
}

static bool name_equals(const char *a, const char *b)
{
    size_t len = strlen(a);
    return len == strlen(b) && memcmp(a, b, len) == 0;
}

bool address_equals(const struct address *a, const struct address *b)
{
    return a->is_service == b->is_service && name_equals(a->tenant, b->tenant) &&
           name_equals(a->name, b->name);
}

// RFC 9562, section 5.7: 48 bits of milliseconds, version 7, 12 random bits, variant 10, 62 random bits.
struct id id_make(uint64_t realtime_ms, const uint8_t random[10])
{
    struct id id;
    for (size_t i = 0; i < 6; i++)
        id.bytes[i] = (uint8_t)(realtime_ms >> (40 - 8 * i));
    memcpy(id.bytes + 6, random, 10);
    id.bytes[6] = (uint8_t)(0x70 | (id.bytes[6] & 0x0f));
    id.bytes[8] = (uint8_t)(0x80 | (id.bytes[8] & 0x3f));
    return id;
}

bool id_is_zero(const struct id *id)
{
    uint8_t all = 0;
    for (size_t i = 0; i < ID_LEN; i++)
        all |= id->bytes[i];
    return all == 0;
}

bool id_equals(const struct id *a, const struct id *b)
{
    return memcmp(a->bytes, b->bytes, ID_LEN) == 0;
}

// A hyphen stands before these bytes: 8-4-4-4-12 digits.
static bool hyphen_before(size_t byte)
{
    return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

void id_format(const struct id *id, char out[ID_TEXT_CAP])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < ID_LEN; i++) {
        if (hyphen_before(i))
            *out++ = '-';
        *out++ = digits[id->bytes[i] >> 4];
        *out++ = digits[id->bytes[i] & 15];
    }
    *out = '\0';
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool id_parse(const char *s, size_t len, struct id *ret)
{
    if (len != ID_TEXT_CAP - 1)
        return false;
    struct id id;
    for (size_t i = 0; i < ID_LEN; i++) {
        if (hyphen_before(i) && *s++ != '-')
            return false;
        int high = hex_value(s[0]), low = hex_value(s[1]);
        if (high < 0 || low < 0)
            return false;
        id.bytes[i] = (uint8_t)(high << 4 | low);
        s += 2;
    }
    *ret = id;
    return true;
}
