// Names, addresses, subjects and ids: what they may look like, and nothing else.
// Used wherever a name crosses a trust boundary. Freestanding.
//
//   name      [a-z0-9] ( [a-z0-9-]{0,61} [a-z0-9] )?      a DNS label (RFC 1123), at most 63 bytes
//   address   NAME | TENANT/NAME | :SERVICE | TENANT/:SERVICE
//   subject   token ( "." token )*, token = [A-Za-z0-9_-]+, at most 127 bytes and 16 tokens
//   id        16 bytes, UUIDv7 (RFC 9562); text is 36 characters, lower case
//
// The tenant "host" is the host itself, and outside clients of the broker are of tenant "amqp"; no tenant may be created
// with these names.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NAME_MAX_LEN    63
#define NAME_CAP        64  // with NUL
#define ADDRESS_CAP     130 // tenant, "/", ":", name, NUL
#define SUBJECT_MAX_LEN 127
#define SUBJECT_CAP     128
#define SUBJECT_TOKENS  16
#define ID_LEN          16
#define ID_TEXT_CAP     37
#define NAME_HOST       "host"
#define NAME_CLIENTS    "amqp"

struct address {
    char tenant[NAME_CAP]; // empty: the sender's own
    char name[NAME_CAP];   // of the environment, or of the service
    bool is_service;
};

struct id {
    uint8_t bytes[ID_LEN];
};

bool name_valid(const char *s, size_t len);
bool subject_valid(const char *s, size_t len);

// Parses an address of len bytes. Returns NULL and fills *ret, or a constant sentence that says what is wrong; *ret is
// untouched then.
const char *address_parse(const char *s, size_t len, struct address *ret);
// Writes "tenant/name" or "tenant/:service" (no "tenant/" when empty); out has ADDRESS_CAP bytes.
void address_format(const struct address *a, char *out);
bool address_equals(const struct address *a, const struct address *b);

// Makes a UUIDv7 from a clock in milliseconds since 1970 and 10 random bytes (6 + 74 bits used).
struct id id_make(uint64_t realtime_ms, const uint8_t random[10]);
bool id_is_zero(const struct id *id);
bool id_equals(const struct id *a, const struct id *b);
void id_format(const struct id *id, char out[ID_TEXT_CAP]);
// Accepts the 36-character form in either case. False leaves *ret untouched.
bool id_parse(const char *s, size_t len, struct id *ret);
