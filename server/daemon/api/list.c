// Owns lists: pages by cursor, label selectors, the choice of fields. Called by the handlers of nouns.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"
#include "common/cleanup.h"

#define SELECTOR_MAX 1024
#define FIELDS_MAX   1024
#define BYTES_MAX    (4u << 20) // of documents on one page
#define EXAMINED_MAX 20000 // objects looked at for one page: a selector that matches nothing costs no more

static bool label_is(const json_t *labels, const char *key, size_t key_len, const char *value,
                     size_t value_len)
{
    const char *have_key;
    json_t *have;
    json_object_foreach((json_t *)labels, have_key, have)
    {
        if (strlen(have_key) != key_len || memcmp(have_key, key, key_len) != 0)
            continue;
        return !value || (json_string_length(have) == value_len &&
                          memcmp(json_string_value(have), value, value_len) == 0);
    }
    return false;
}

// One of "key", "!key", "key=value", "key!=value".
static bool term_matches(const json_t *labels, const char *term, size_t len)
{
    bool wanted = true;
    if (len > 0 && term[0] == '!') {
        wanted = false;
        term++;
        len--;
    }
    const char *equals = memchr(term, '=', len);
    size_t key_len = equals ? (size_t)(equals - term) : len;
    const char *value = equals ? equals + 1 : NULL;
    size_t value_len = equals ? len - key_len - 1 : 0;
    if (equals && key_len > 0 && term[key_len - 1] == '!') {
        wanted = !wanted;
        key_len--;
    }
    return label_is(labels, term, key_len, value, value_len) == wanted;
}

static bool selector_matches(const json_t *object, const char *selector)
{
    const json_t *labels = json_object_get(object, "labels");
    while (selector && *selector) {
        size_t len = strcspn(selector, ",");
        if (!term_matches(labels, selector, len))
            return false;
        selector += len + (selector[len] == ',');
    }
    return true;
}

// Copies the member at a dotted path from object to result.
static void pick(json_t *result, const json_t *object, const char *path, size_t len)
{
    char name[128];
    const char *dot = memchr(path, '.', len);
    size_t n = dot ? (size_t)(dot - path) : len;
    if (n == 0 || n >= sizeof name)
        return;
    snprintf(name, sizeof name, "%.*s", (int)n, path);
    json_t *member = json_object_get(object, name);
    if (!member)
        return;
    if (!dot || !json_is_object(member)) {
        json_object_set(result, name, member);
        return;
    }
    json_t *inner = json_object_get(result, name);
    if (!inner) {
        inner = json_object();
        json_object_set_new(result, name, inner);
    }
    pick(inner, member, dot + 1, len - n - 1);
}

static json_t *project(json_t *object, const char *fields)
{
    static const char *const always[] = {"kind", "tenant", "name", "revision"};
    if (!fields)
        return object;
    json_t *result = json_object();
    for (size_t i = 0; i < sizeof always / sizeof always[0]; i++)
        pick(result, object, always[i], strlen(always[i]));
    while (*fields) {
        size_t len = strcspn(fields, ",");
        pick(result, object, fields, len);
        fields += len + (fields[len] == ',');
    }
    json_decref(object);
    return result;
}

struct page {
    const char *selector, *fields;
    uint64_t limit;
    json_t *items;
    char last[STORE_KEY_MAX + 1]; // the key that was looked at last
};

// True when there is more under prefix than was looked at.
static bool fill(const struct api *api, const char *prefix, const char *kind, const char *after,
                 struct page *page)
{
    const struct store *store = api->deps.store;
    size_t examined = 0, bytes = 0;
    const struct store_entry *at = store_next(store, prefix, after);
    for (; at && json_array_size(page->items) < page->limit && examined < EXAMINED_MAX && bytes < BYTES_MAX;
         examined++) {
        const char *found;
        char tenant[NAME_CAP], name[DOC_KEY_CAP];
        snprintf(page->last, sizeof page->last, "%s", at->key);
        if (view_split_key(at->key, &found, tenant, name)) {
            json_t *object = view_by_kind(api, kind, tenant, name);
            if (object && selector_matches(object, page->selector)) {
                json_array_append_new(page->items, project(object, page->fields));
                bytes += at->len;
            } else {
                json_decref(object);
            }
        }
        at = store_next(store, prefix, page->last);
    }
    return at != NULL;
}

void list_reply(struct api *api, struct http_request *req, const char *prefix, const char *kind)
{
    struct page page = {.selector = http_request_query(req, "selector"),
                        .fields = http_request_query(req, "fields")};
    const char *cursor = http_request_query(req, "cursor");
    char after[STORE_KEY_MAX + 1];
    if (!request_number(api, req, "limit", 1, 1000, API_LIST_LIMIT, &page.limit))
        return;
    if ((page.selector && strlen(page.selector) > SELECTOR_MAX) ||
        (page.fields && strlen(page.fields) > FIELDS_MAX)) {
        reply_problem(api, req, 400, "invalid-parameter", "selector= and fields= have at most %d bytes",
                      SELECTOR_MAX);
        return;
    }
    if (cursor && snprintf(after, sizeof after, "%s%s", prefix, cursor) >= (int)sizeof after) {
        reply_problem(api, req, 400, "invalid-parameter", "cursor= is not one that a list has given");
        return;
    }
    page.items = json_array();
    bool more = fill(api, prefix, kind, cursor ? after : NULL, &page);
    json_t *list = json_pack("{s:s, s:o, s:I}", "kind", "list", "items", page.items, "revision",
                             (json_int_t)store_revision(api->deps.store));
    if (more)
        json_object_set_new(list, "cursor", json_string(page.last + strlen(prefix)));
    // No ETag: a list's revision is where events go on, not what it would be changed with.
    reply_count(api, 200);
    http_reply_json(req, 200, list);
}
