// JSON that comes from outside: bounded parsing, and validation against tables of fields. Called by api/ for
// requests, env/ and config.c for documents; knows no noun of the product.
//
// A table lists every member that an object may have. json_check() visits the whole value before anything is
// used, so code behind it reads members without asking again.
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_POINTER_CAP 192
#define JSON_DEPTH_MAX   32

enum json_field_kind {
    JSON_FIELD_STRING,  // min..max bytes
    JSON_FIELD_INTEGER, // min..max
    JSON_FIELD_BOOLEAN,
    JSON_FIELD_OBJECT,  // `fields` says which members
    JSON_FIELD_STRINGS, // an array of min..max strings of at most each_max bytes
    JSON_FIELD_MAP,     // an object of at most max members, each a string of at most each_max bytes
    JSON_FIELD_OBJECTS, // an array of min..max objects; `fields` says which members each has
};

struct json_field {
    const char *name;
    enum json_field_kind kind;
    bool required;
    int64_t min, max;
    size_t each_max;
    // Optional. Returns NULL, or a constant sentence that says what is wrong with the value (a STRING's text;
    // of STRINGS each text; of a MAP each value, its key in `key`, which is NULL otherwise).
    const char *(*check)(const char *key, const char *text, size_t len);
    const struct json_field *fields; // OBJECT, OBJECTS
    size_t n_fields;
};

// What is wrong, and where.
struct json_fault {
    const char *code;               // "malformed-json", "unknown-member", "missing-member", "invalid-member"
    char pointer[JSON_POINTER_CAP]; // RFC 6901, as in /spec/memory_mib; empty: the whole
    char text[256];
};

// Parses one JSON value of at most JSON_DEPTH_MAX levels; duplicate members, NUL in strings and trailing
// bytes are errors. NULL and *fault filled when it is not one. The reference is the caller's.
json_t *json_read(const void *untrusted_data, size_t len, struct json_fault *fault);
// 0, or -EINVAL and *fault filled: the value is not an object, or a member is unknown, missing or wrong.
int json_check(const json_t *untrusted_value, const struct json_field *fields, size_t n_fields,
               struct json_fault *fault);

// Reading members after json_check(): absent (or null) gives the default.
const char *json_get_string(const json_t *object, const char *name, const char *otherwise);
int64_t json_get_integer(const json_t *object, const char *name, int64_t otherwise);
bool json_get_boolean(const json_t *object, const char *name, bool otherwise);

// RFC 7396: patch applied to a copy of target. NULL: no memory. The reference is the caller's.
json_t *json_merge_patch(const json_t *target, const json_t *patch);

static inline void cleanup_json(json_t **j)
{
    json_decref(*j);
}
#define _cleanup_json_ __attribute__((cleanup(cleanup_json)))
