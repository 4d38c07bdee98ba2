// Owns the memory of POSTs with an Idempotency-Key: a repetition gets the first one's answer. Called by
// change.c. Bounded, in memory, for an hour.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"
#include "common/io.h"

#define ENTRIES_MAX 1024
#define KEEP_NS     (3600ull * 1000000000ull)
#define KEY_MAX     64
#define PATH_CAP    256

struct entry {
    uint64_t id; // 0: free
    uint64_t at_ns;
    uid_t uid;
    char key[KEY_MAX + 1];
    char path[PATH_CAP];
    uint64_t body_hash;
    int status; // 0: the first is still being served
    json_t *object;
    char operation[ID_TEXT_CAP];
};

struct idempotency {
    struct entry entries[ENTRIES_MAX];
    uint64_t last_id;
};

struct idempotency *idempotency_new(void)
{
    return calloc(1, sizeof(struct idempotency));
}

static void entry_clear(struct entry *e)
{
    json_decref(e->object);
    memset(e, 0, sizeof *e);
}

void idempotency_free(struct idempotency *all)
{
    if (!all)
        return;
    for (size_t i = 0; i < ENTRIES_MAX; i++)
        entry_clear(&all->entries[i]);
    free(all);
}

// FNV-1a: tells an honest client that it used a key twice; nothing is defended by it.
static uint64_t hash(const void *data, size_t len)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < len; i++)
        h = (h ^ ((const uint8_t *)data)[i]) * 0x100000001b3u;
    return h;
}

static struct entry *find(struct idempotency *all, uid_t uid, const char *path, const char *key)
{
    for (size_t i = 0; i < ENTRIES_MAX; i++) {
        struct entry *e = &all->entries[i];
        if (e->id && e->uid == uid && strcmp(e->path, path) == 0 && strcmp(e->key, key) == 0)
            return e;
    }
    return NULL;
}

// A free place, or the oldest finished one's; NULL when all are being served.
static struct entry *place(struct idempotency *all)
{
    struct entry *oldest = NULL;
    for (size_t i = 0; i < ENTRIES_MAX; i++) {
        struct entry *e = &all->entries[i];
        if (e->id == 0)
            return e;
        if (e->status != 0 && (!oldest || e->at_ns < oldest->at_ns))
            oldest = e;
    }
    if (oldest)
        entry_clear(oldest);
    return oldest;
}

static void answer_again(struct api *api, struct http_request *req, const struct entry *e, uint64_t body_hash)
{
    if (e->body_hash != body_hash) {
        reply_problem(api, req, 422, "idempotency-key-reused",
                      "the Idempotency-Key was used for another request already: choose a new one for each");
    } else if (e->status == 0) {
        reply_problem(api, req, 409, "in-progress",
                      "the first request with this Idempotency-Key is still being served");
    } else {
        if (e->operation[0])
            http_reply_header(req, "Envd-Operation", e->operation);
        reply_object(api, req, e->status, json_incref(e->object));
    }
}

enum idempotency_outcome idempotency_begin(struct api *api, struct http_request *req, uint64_t *ret_entry)
{
    const char *key = http_request_header(req, "Idempotency-Key");
    const char *path = http_request_path(req);
    if (!key)
        return IDEMPOTENCY_NONE;
    if (key[0] == '\0' || strlen(key) > KEY_MAX || strlen(path) >= PATH_CAP) {
        reply_problem(api, req, 400, "invalid-header", "Idempotency-Key must have 1 to %d bytes", KEY_MAX);
        return IDEMPOTENCY_ANSWERED;
    }
    size_t len;
    const void *body = http_request_body(req, &len);
    uid_t uid = http_request_peer(req)->uid;
    uint64_t now = io_monotonic_ns(), body_hash = hash(body, len);
    struct entry *e = find(api->idempotency, uid, path, key);
    if (e && e->status != 0 && now - e->at_ns > KEEP_NS) {
        entry_clear(e);
        e = NULL;
    }
    if (e) {
        answer_again(api, req, e, body_hash);
        return IDEMPOTENCY_ANSWERED;
    }
    e = place(api->idempotency);
    if (!e)
        return IDEMPOTENCY_NONE;
    e->id = *ret_entry = ++api->idempotency->last_id;
    e->at_ns = now;
    e->uid = uid;
    e->body_hash = body_hash;
    snprintf(e->key, sizeof e->key, "%s", key);
    snprintf(e->path, sizeof e->path, "%s", path);
    return IDEMPOTENCY_NEW;
}

void idempotency_finish(struct api *api, uint64_t entry, int status, json_t *object, const char *operation)
{
    for (size_t i = 0; i < ENTRIES_MAX; i++) {
        struct entry *e = &api->idempotency->entries[i];
        if (e->id != entry)
            continue;
        if (!object) {
            entry_clear(e); // it failed: the client may try again with the same key
            return;
        }
        e->status = status;
        e->object = json_incref(object);
        snprintf(e->operation, sizeof e->operation, "%s", operation ? operation : "");
        return;
    }
}
