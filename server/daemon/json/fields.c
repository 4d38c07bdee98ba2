// Owns how JSON from outside is parsed and held against a table. Called by api/, env/ and config.c; must not
// know a noun.
#include "json/fields.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

// Depth of nesting without building anything: jansson's own limit is far above ours and its parser is
// recursive.
static bool depth_exceeds(const char *s, size_t len, int max)
{
    int depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < len; i++) {
        char c = s[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > max)
                return true;
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return false;
}

static void fault_set(struct json_fault *fault, const char *code, const char *pointer, const char *text)
{
    fault->code = code;
    snprintf(fault->pointer, sizeof fault->pointer, "%s", pointer);
    snprintf(fault->text, sizeof fault->text, "%s", text);
}

json_t *json_read(const void *untrusted_data, size_t len, struct json_fault *fault)
{
    if (len == 0) {
        fault_set(fault, "malformed-json", "", "there is no JSON: the text is empty");
        return NULL;
    }
    if (depth_exceeds(untrusted_data, len, JSON_DEPTH_MAX)) {
        fault_set(fault, "malformed-json", "", "nested too deeply");
        return NULL;
    }
    json_error_t error;
    json_t *value = json_loadb(untrusted_data, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (value)
        return value;
    char text[sizeof fault->text];
    snprintf(text, sizeof text, "line %d, column %d: %s", error.line, error.column, error.text);
    fault_set(fault, "malformed-json", "", text);
    return NULL;
}

// "<pointer>/<name>" into out, with RFC 6901's escapes; cut when it does not fit.
static void pointer_join(char out[JSON_POINTER_CAP], const char *pointer, const char *name)
{
    size_t n = (size_t)snprintf(out, JSON_POINTER_CAP, "%s/", pointer);
    for (; *name && n + 3 < JSON_POINTER_CAP; name++) {
        if (*name == '~' || *name == '/') {
            out[n++] = '~';
            out[n++] = *name == '~' ? '0' : '1';
        } else {
            out[n++] = *name;
        }
    }
    out[n < JSON_POINTER_CAP ? n : JSON_POINTER_CAP - 1] = '\0';
}

__attribute__((format(printf, 3, 4))) static int fault_invalid(struct json_fault *fault, const char *pointer,
                                                               const char *format, ...)
{
    fault->code = "invalid-member";
    snprintf(fault->pointer, sizeof fault->pointer, "%s", pointer);
    va_list ap;
    va_start(ap, format);
    vsnprintf(fault->text, sizeof fault->text, format, ap);
    va_end(ap);
    return -EINVAL;
}

static int check_string(const json_t *v, const struct json_field *f, const char *at, struct json_fault *fault)
{
    if (!json_is_string(v))
        return fault_invalid(fault, at, "must be a string");
    int64_t len = (int64_t)json_string_length(v);
    if (len < f->min || len > f->max)
        return fault_invalid(fault, at, "must have %" PRId64 " to %" PRId64 " bytes, has %" PRId64, f->min,
                             f->max, len);
    const char *wrong = f->check ? f->check(NULL, json_string_value(v), (size_t)len) : NULL;
    return wrong ? fault_invalid(fault, at, "%s", wrong) : 0;
}

static int check_integer(const json_t *v, const struct json_field *f, const char *at,
                         struct json_fault *fault)
{
    if (!json_is_integer(v))
        return fault_invalid(fault, at, "must be an integer");
    int64_t n = json_integer_value(v);
    if (n < f->min || n > f->max)
        return fault_invalid(fault, at, "must be from %" PRId64 " to %" PRId64 ", is %" PRId64, f->min,
                             f->max, n);
    return 0;
}

static int check_boolean(const json_t *v, const struct json_field *f, const char *at,
                         struct json_fault *fault)
{
    (void)f;
    return json_is_boolean(v) ? 0 : fault_invalid(fault, at, "must be true or false");
}

static int check_text(const json_t *v, const struct json_field *f, const char *key, const char *at,
                      struct json_fault *fault)
{
    if (!json_is_string(v))
        return fault_invalid(fault, at, "must be a string");
    size_t len = json_string_length(v);
    if (len > f->each_max)
        return fault_invalid(fault, at, "must have at most %zu bytes, has %zu", f->each_max, len);
    const char *wrong = f->check ? f->check(key, json_string_value(v), len) : NULL;
    return wrong ? fault_invalid(fault, at, "%s", wrong) : 0;
}

static int check_strings(const json_t *v, const struct json_field *f, const char *at,
                         struct json_fault *fault)
{
    if (!json_is_array(v))
        return fault_invalid(fault, at, "must be an array of strings");
    int64_t n = (int64_t)json_array_size(v);
    if (n < f->min || n > f->max)
        return fault_invalid(fault, at, "must have %" PRId64 " to %" PRId64 " elements, has %" PRId64, f->min,
                             f->max, n);
    for (size_t i = 0; i < json_array_size(v); i++) {
        char index[24], where[JSON_POINTER_CAP];
        snprintf(index, sizeof index, "%zu", i);
        pointer_join(where, at, index);
        int rc = check_text(json_array_get(v, i), f, NULL, where, fault);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int check_map(const json_t *v, const struct json_field *f, const char *at, struct json_fault *fault)
{
    if (!json_is_object(v))
        return fault_invalid(fault, at, "must be an object of strings");
    if ((int64_t)json_object_size(v) > f->max)
        return fault_invalid(fault, at, "must have at most %" PRId64 " members, has %zu", f->max,
                             json_object_size(v));
    const char *key;
    json_t *each;
    json_object_foreach((json_t *)v, key, each)
    {
        char where[JSON_POINTER_CAP];
        pointer_join(where, at, key);
        int rc = check_text(each, f, key, where, fault);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int check_object(const json_t *v, const struct json_field *fields, size_t n_fields, const char *at,
                        struct json_fault *fault);

static int check_nested(const json_t *v, const struct json_field *f, const char *at, struct json_fault *fault)
{
    return check_object(v, f->fields, f->n_fields, at, fault);
}

static int check_objects(const json_t *v, const struct json_field *f, const char *at,
                         struct json_fault *fault)
{
    if (!json_is_array(v))
        return fault_invalid(fault, at, "must be an array of objects");
    int64_t n = (int64_t)json_array_size(v);
    if (n < f->min || n > f->max)
        return fault_invalid(fault, at, "must have %" PRId64 " to %" PRId64 " elements, has %" PRId64, f->min,
                             f->max, n);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < json_array_size(v); i++) {
        char index[24], where[JSON_POINTER_CAP];
        snprintf(index, sizeof index, "%zu", i);
        pointer_join(where, at, index);
        rc = check_object(json_array_get(v, i), f->fields, f->n_fields, where, fault);
    }
    return rc;
}

static int (*const check_by_kind[])(const json_t *, const struct json_field *, const char *,
                                    struct json_fault *) = {
    [JSON_FIELD_STRING] = check_string,   [JSON_FIELD_INTEGER] = check_integer,
    [JSON_FIELD_BOOLEAN] = check_boolean, [JSON_FIELD_OBJECT] = check_nested,
    [JSON_FIELD_STRINGS] = check_strings, [JSON_FIELD_MAP] = check_map,
    [JSON_FIELD_OBJECTS] = check_objects,
};

static const struct json_field *field_find(const struct json_field *fields, size_t n_fields, const char *name)
{
    for (size_t i = 0; i < n_fields; i++)
        if (strcmp(fields[i].name, name) == 0)
            return &fields[i];
    return NULL;
}

static int check_object(const json_t *v, const struct json_field *fields, size_t n_fields, const char *at,
                        struct json_fault *fault)
{
    if (!json_is_object(v))
        return fault_invalid(fault, at, "must be an object");
    const char *name;
    json_t *member;
    json_object_foreach((json_t *)v, name, member)
    {
        char where[JSON_POINTER_CAP];
        pointer_join(where, at, name);
        const struct json_field *f = field_find(fields, n_fields, name);
        if (!f) {
            fault_set(fault, "unknown-member", where, "there is no such member");
            return -EINVAL;
        }
        int rc = check_by_kind[f->kind](member, f, where, fault);
        if (rc < 0)
            return rc;
    }
    for (size_t i = 0; i < n_fields; i++) {
        if (!fields[i].required || json_object_get(v, fields[i].name))
            continue;
        char where[JSON_POINTER_CAP];
        pointer_join(where, at, fields[i].name);
        fault_set(fault, "missing-member", where, "is required");
        return -EINVAL;
    }
    return 0;
}

int json_check(const json_t *untrusted_value, const struct json_field *fields, size_t n_fields,
               struct json_fault *fault)
{
    return check_object(untrusted_value, fields, n_fields, "", fault);
}

const char *json_get_string(const json_t *object, const char *name, const char *otherwise)
{
    const char *s = json_string_value(json_object_get(object, name));
    return s ? s : otherwise;
}

int64_t json_get_integer(const json_t *object, const char *name, int64_t otherwise)
{
    const json_t *v = json_object_get(object, name);
    return json_is_integer(v) ? json_integer_value(v) : otherwise;
}

bool json_get_boolean(const json_t *object, const char *name, bool otherwise)
{
    const json_t *v = json_object_get(object, name);
    return json_is_boolean(v) ? json_is_true(v) : otherwise;
}

json_t *json_merge_patch(const json_t *target, const json_t *patch)
{
    if (!json_is_object(patch))
        return json_deep_copy(patch);
    json_t *result = json_is_object(target) ? json_deep_copy(target) : json_object();
    const char *name;
    json_t *member;
    json_object_foreach((json_t *)patch, name, member)
    {
        if (json_is_null(member)) {
            json_object_del(result, name);
            continue;
        }
        json_t *merged = json_merge_patch(json_object_get(result, name), member);
        if (!merged || json_object_set_new(result, name, merged) < 0) {
            json_decref(result);
            return NULL;
        }
    }
    return result;
}
