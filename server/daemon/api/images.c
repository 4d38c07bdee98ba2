// Owns the handlers of images: uploads are streamed into the folder, then the object is stored. Called
// through routes.c; the bytes are env/images.c's.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"

struct upload {
    struct api *api;
    uint64_t request;
    struct image_upload *image; // NULL once it is finished or thrown away
};

static bool digest_of(struct api *api, struct http_request *req, const char **ret)
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
    if (!digest_of(api, req, &digest))
        return;
    json_t *object = view_image(api, digest);
    if (object)
        reply_object(api, req, 200, object);
    else
        reply_problem(api, req, 404, "no-such-image", "there is no image %s", digest);
}

// --- uploads ---

static json_t *view_added(struct api_change *c, int *ret_status)
{
    *ret_status = 201;
    return view_image(c->api, c->name);
}

static int build_add(struct api_change *c, const struct store *store, struct store_txn *txn)
{
    char key[DOC_KEY_CAP];
    doc_key(key, DOC_IMAGES, c->name);
    // Somebody else was faster with the same bytes: there is nothing left to do, which is no failure.
    if (store_get(store, key))
        return 0;
    return image_add(store, txn, c->name, c->body, &c->why);
}

static const struct api_change_ops add_ops = {true, build_add, view_added};

static void refuse_upload(struct api *api, struct http_request *req, int rc, const char *what)
{
    struct refusal why;
    if (rc == -ENOSPC || rc == -EDQUOT) {
        refuse(&why, rc, 507, "disk-full", "the image cannot be stored: %s", strerror(-rc));
        refusal_remedy(&why, "Make room under the state folder, or delete images that nothing uses");
    } else {
        refuse(&why, rc, 500, "internal", "%s: %s", what, strerror(-rc));
    }
    reply_refusal(api, req, &why);
}

static void on_uploaded(void *arg, const struct image_uploaded *result)
{
    struct upload *u = arg;
    struct api *api = u->api;
    struct http_request *req = api->server ? http_request_find(api->server, u->request) : NULL;
    free(u);
    if (!req)
        return; // the file stays without an object until somebody uploads it again
    if (result->rc == -EBADMSG) {
        reply_problem(api, req, 422, "digest-mismatch",
                      "the bytes that arrived (%llu of them) have the digest %s",
                      (unsigned long long)result->size_bytes, result->digest);
        return;
    }
    if (result->rc < 0) {
        refuse_upload(api, req, result->rc, "the image could not be stored");
        return;
    }
    struct api_change *c = change_new(api, req, &add_ops);
    if (!c)
        return;
    snprintf(c->name, sizeof c->name, "%s", result->digest);
    c->body = json_pack("{s:I, s:s, s:s, s:i}", "size", (json_int_t)result->size_bytes, "type",
                        image_type_name(result->type), "note", result->note, "refs", 0);
    change_submit(c, req);
}

static void upload_drop(void *arg)
{
    struct upload *u = arg;
    image_upload_cancel(u->image);
    free(u);
}

static void on_body_data(void *arg, struct http_request *req, const void *data, size_t len)
{
    struct upload *u = arg;
    struct api *api = u->api;
    struct refusal why;
    int rc = image_upload_size(u->image) + len > api->deps.image_bytes_max
                 ? -EFBIG
                 : image_upload_write(u->image, data, len);
    if (rc == 0)
        return;
    http_request_on_gone(req, NULL, NULL);
    if (rc == -EFBIG) {
        refuse(&why, -EFBIG, 413, "too-large", "an image may have at most %llu MiB",
               (unsigned long long)(api->deps.image_bytes_max >> 20));
        refusal_remedy(&why, "Start envd with a larger --image-mib-max");
        reply_refusal(api, req, &why);
    } else {
        refuse_upload(api, req, rc, "the image could not be written");
    }
    upload_drop(u); // the reply has ended the body: nothing calls back any more
}

static void on_body_end(void *arg, struct http_request *req)
{
    struct upload *u = arg;
    http_request_on_gone(req, NULL, NULL);
    image_upload_finish(u->image, on_uploaded, u);
}

void handle_image_put(void *arg, struct http_request *req)
{
    static const struct http_body_ops ops = {on_body_data, on_body_end};
    struct api *api = arg;
    const char *digest;
    struct err err;
    if (!digest_of(api, req, &digest))
        return;
    json_t *object = view_image(api, digest);
    if (object && images_has(api->deps.images, digest)) {
        reply_object(api, req, 200, object); // the body is not read: it could only be the same
        return;
    }
    json_decref(object);
    struct upload *u = calloc(1, sizeof *u);
    int rc = u ? image_upload_new(api->deps.images, digest, &u->image, &err) : -ENOMEM;
    if (rc < 0) {
        free(u);
        refuse_upload(api, req, rc, "the upload cannot begin");
        return;
    }
    u->api = api;
    u->request = http_request_id(req);
    http_request_on_gone(req, upload_drop, u);
    http_body_start(req, &ops, u);
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
    if (!digest_of(api, req, &digest))
        return;
    struct api_change *c = change_new(api, req, &delete_ops);
    if (!c)
        return;
    snprintf(c->name, sizeof c->name, "%s", digest);
    change_submit(c, req);
}
