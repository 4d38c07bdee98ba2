// Owns the handlers of images as objects: listing, showing, deleting, collecting what nothing uses. Called
// through routes.c; uploads are image_put.c's, downloads image_content.c's, the bytes env/images.c's.
#include <stdio.h>
#include <string.h>

#include "api/images.h"
#include "common/checked.h"
#include "common/io.h"

#define AGE_MAX_S    ((int64_t)10 * 366 * 86400)
#define ORPHAN_AGE_S 60 // a file comes before its object: that may just be under way

bool image_digest_of(struct api *api, struct http_request *req, const char **ret)
{
    const char *digest = http_request_param(req, "image");
    if (doc_digest_valid(digest, strlen(digest))) {
        *ret = digest;
        return true;
    }
    reply_problem(api, req, 404, "no-such-image",
                  "there is no such image: images are named sha256: and 64 lower-case hex digits");
    return false;
}

void handle_images_list(void *arg, struct http_request *req)
{
    list_reply(arg, req, DOC_IMAGES, "image");
}

void handle_image_get(void *arg, struct http_request *req)
{
    struct api *api = arg;
    const char *digest;
    if (!image_digest_of(api, req, &digest))
        return;
    json_t *object = view_image(api, digest);
    if (object)
        reply_object(api, req, 200, object);
    else
        reply_problem(api, req, 404, "no-such-image", "there is no image %s", digest);
}

// --- deletion ---

static int build_delete(struct api_change *c, const struct store *store, struct store_txn *txn)
{
    return image_delete(store, txn, c->name, &c->why);
}

static json_t *view_deleted(struct api_change *c, int *ret_status)
{
    images_remove(c->api->deps.images, c->name);
    *ret_status = 204;
    return NULL;
}

static const struct api_change_ops delete_ops = {true, build_delete, view_deleted};

void handle_image_delete(void *arg, struct http_request *req)
{
    struct api *api = arg;
    const char *digest;
    if (!image_digest_of(api, req, &digest))
        return;
    struct api_change *c = change_new(api, req, &delete_ops);
    if (!c)
        return;
    snprintf(c->name, sizeof c->name, "%s", digest);
    change_submit(c, req);
}

// --- collecting ---

static int build_collect(struct api_change *c, const struct store *store, struct store_txn *txn)
{
    json_t *removed;
    json_int_t age_s = json_get_integer(c->body, "older_than_s", 0);
    int rc = image_collect(store, txn, io_realtime_ms(), (uint64_t)age_s * 1000,
                           json_get_boolean(c->body, "all", false), &removed, &c->why);
    if (rc == 0)
        json_object_set_new(c->body, "removed", removed);
    return rc;
}

static bool keep_file(void *arg, const char *digest)
{
    const struct api *api = arg;
    char key[DOC_KEY_CAP];
    doc_key(key, DOC_IMAGES, digest);
    return store_get(api->deps.store, key) != NULL;
}

static json_t *view_collected(struct api_change *c, int *ret_status)
{
    json_t *removed = json_object_get(c->body, "removed"), *each;
    uint64_t bytes = 0, age_s = (uint64_t)json_get_integer(c->body, "older_than_s", 0);
    size_t i, n_orphans = 0;
    (void)ret_status;
    json_array_foreach(removed, i, each)
    {
        images_remove(c->api->deps.images, json_get_string(each, "digest", ""));
        bytes += (uint64_t)json_get_integer(each, "size", 0);
    }
    if (json_array_size(removed) == 0)
        n_orphans = images_remove_orphans(c->api->deps.images, keep_file, c->api,
                                          age_s < ORPHAN_AGE_S ? ORPHAN_AGE_S : age_s, &bytes);
    return json_pack("{s:O, s:I, s:I}", "removed", removed, "orphans", (json_int_t)n_orphans, "bytes",
                     (json_int_t)bytes);
}

static const struct api_change_ops collect_ops = {true, build_collect, view_collected};

void handle_images_collect(void *arg, struct http_request *req)
{
    static const struct json_field fields[] = {
        {.name = "older_than_s", .kind = JSON_FIELD_INTEGER, .min = 0, .max = AGE_MAX_S},
        {.name = "all", .kind = JSON_FIELD_BOOLEAN},
    };
    struct api *api = arg;
    json_t *body = request_body(api, req, fields, ARRAY_LEN(fields), true);
    if (!body)
        return;
    struct api_change *c = change_new(api, req, &collect_ops);
    if (!c) {
        json_decref(body);
        return;
    }
    c->body = body;
    change_submit(c, req);
}
