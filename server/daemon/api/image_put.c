// Owns the upload of images: streamed into the folder, then the object is stored. Called through routes.c;
// the bytes are env/image_upload.c's.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/images.h"
#include "common/checked.h"
#include "common/cleanup.h"
#include "common/io.h"

struct upload {
    struct api *api;
    uint64_t request;
    struct image_upload *image;          // NULL once it is finished or thrown away
    char name[DOC_DIGEST_CAP], type[16]; // what the client says; empty: nothing
};

static json_t *view_added(struct api_change *c, int *ret_status)
{
    *ret_status = 201;
    return view_image(c->api, c->name);
}

static json_t *view_renamed(struct api_change *c, int *ret_status)
{
    (void)ret_status;
    return view_image(c->api, c->name);
}

static int build_add(struct api_change *c, const struct store *store, struct store_txn *txn)
{
    char key[DOC_KEY_CAP];
    doc_key(key, DOC_IMAGES, c->name);
    // Somebody else was faster with the same bytes: there is nothing left to do, which is no failure.
    if (store_get(store, key) && !json_object_get(c->body, "name"))
        return 0;
    return image_add(store, txn, c->name, c->body, &c->why);
}

static const struct api_change_ops add_ops = {true, build_add, view_added};
static const struct api_change_ops rename_ops = {true, build_add, view_renamed};

static void refuse_upload(struct api *api, struct http_request *req, int rc, const char *what)
{
    struct refusal why;
    if (rc == -ENOSPC || rc == -EDQUOT) {
        refuse(&why, rc, 507, "disk-full", "the image cannot be stored: %s", strerror(-rc));
        refusal_remedy(&why, "Make room under the state folder, or delete images that nothing uses: "
                             "envctl image gc");
    } else if (rc == -EFBIG) {
        refuse(&why, rc, 413, "too-large", "an image may have at most %llu MiB",
               (unsigned long long)(api->deps.image_bytes_max >> 20));
        refusal_remedy(&why, "Start envd with a larger --image-mib-max");
    } else {
        refuse(&why, rc, 500, "internal", "%s: %s", what, strerror(-rc));
    }
    reply_refusal(api, req, &why);
}

// What came is not what the client said that it is: nothing of it is kept.
static bool refuse_kind(struct api *api, struct http_request *req, const struct upload *u,
                        const struct image_uploaded *result)
{
    const struct image_kind *kind = &result->kind;
    struct refusal why;
    char key[DOC_KEY_CAP];
    if (kind->bad_manifest) {
        refuse(&why, -EINVAL, 422, "bad-manifest", "%s", kind->note);
    } else if (u->type[0] && strcmp(u->type, image_type_name(kind->type)) != 0 &&
               !(kind->type == IMAGE_CPIO_NEWC && strcmp(u->type, "initrd") == 0)) {
        refuse(&why, -EINVAL, 422, "wrong-type", "this is no %s: it %s", u->type,
               kind->note[0] ? kind->note : "is a program");
        doc_key(key, DOC_IMAGES, result->digest);
        if (!store_get(api->deps.store, key)) // or it is somebody else's
            images_remove(api->deps.images, result->digest);
    } else {
        return false;
    }
    reply_refusal(api, req, &why);
    return true;
}

static void store_object(struct api *api, struct http_request *req, const char *name,
                         const struct image_uploaded *result)
{
    struct api_change *c = change_new(api, req, &add_ops);
    if (!c)
        return;
    snprintf(c->name, sizeof c->name, "%s", result->digest);
    c->body = json_pack("{s:I, s:s, s:s, s:i, s:I}", "size", (json_int_t)result->size_bytes, "type",
                        image_type_name(result->kind.type), "note", result->kind.note, "refs", 0, "since_ms",
                        (json_int_t)io_realtime_ms());
    if (name[0])
        json_object_set_new(c->body, "name", json_string(name));
    if (result->kind.type == IMAGE_LINUX) {
        _cleanup_free_ char *text = manifest_text(&result->kind.manifest, NULL);
        json_object_set_new(c->body, "linux", text ? json_loads(text, 0, NULL) : NULL);
    }
    change_submit(c, req);
}

static void on_uploaded(void *arg, const struct image_uploaded *result)
{
    struct upload *u = arg;
    struct api *api = u->api;
    struct http_request *req = api->server ? http_request_find(api->server, u->request) : NULL;
    // Without a request the file stays without an object until it is uploaded again or collected.
    if (req && result->rc == -EBADMSG)
        reply_problem(api, req, 422, "digest-mismatch",
                      "the bytes that arrived (%llu of them) have the digest %s",
                      (unsigned long long)result->size_bytes, result->digest);
    else if (req && result->rc < 0)
        refuse_upload(api, req, result->rc, "the image could not be stored");
    else if (req && !refuse_kind(api, req, u, result))
        store_object(api, req, u->name, result);
    free(u);
}

static void upload_drop(void *arg)
{
    struct upload *u = arg;
    image_upload_cancel(u->image);
    free(u);
}

static void give_up(struct upload *u, struct http_request *req, int rc)
{
    http_request_on_gone(req, NULL, NULL);
    refuse_upload(u->api, req, rc, "the image could not be written");
    upload_drop(u); // the reply has ended the body: nothing calls back any more
}

static void on_room(void *arg)
{
    struct upload *u = arg;
    struct http_request *req = u->api->server ? http_request_find(u->api->server, u->request) : NULL;
    if (req)
        http_body_resume(req); // what went wrong meanwhile the next write says
}

static void on_body_data(void *arg, struct http_request *req, const void *data, size_t len)
{
    struct upload *u = arg;
    int rc = image_upload_size(u->image) + len > u->api->deps.image_bytes_max
                 ? -EFBIG
                 : image_upload_write(u->image, data, len);
    if (rc < 0)
        give_up(u, req, rc);
    else if (image_upload_full(u->image, on_room, u))
        http_body_pause(req);
}

static void on_body_end(void *arg, struct http_request *req)
{
    struct upload *u = arg;
    http_request_on_gone(req, NULL, NULL);
    image_upload_finish(u->image, on_uploaded, u);
}

static bool read_query(struct api *api, struct http_request *req, struct upload *u)
{
    static const char *const types[] = {"kernel", "initrd", "disk", "linux"};
    const char *name = http_request_query(req, "name"), *type = http_request_query(req, "type");
    if (name && !image_name_valid(name)) {
        reply_problem(api, req, 400, "invalid-parameter",
                      "name= must be 1 to 63 of A-Z, a-z, 0-9, '.', '_', ':', '/' and '-', beginning with a "
                      "letter or digit");
        return false;
    }
    bool known = !type;
    for (size_t i = 0; i < ARRAY_LEN(types) && !known; i++)
        known = strcmp(types[i], type) == 0;
    if (!known) {
        reply_problem(api, req, 400, "invalid-parameter", "type= must be kernel, initrd, disk or linux");
        return false;
    }
    snprintf(u->name, sizeof u->name, "%s", name ? name : "");
    snprintf(u->type, sizeof u->type, "%s", type ? type : "");
    return true;
}

// The image is there already: its body is not read, for it could only be the same. It may get another name.
static void answer_existing(struct api *api, struct http_request *req, const char *digest, const char *name,
                            json_t *object)
{
    if (!name[0]) {
        reply_object(api, req, 200, object);
        return;
    }
    json_decref(object);
    struct api_change *c = change_new(api, req, &rename_ops);
    if (!c)
        return;
    snprintf(c->name, sizeof c->name, "%s", digest);
    c->body = json_pack("{s:s}", "name", name);
    change_submit(c, req);
}

void handle_image_put(void *arg, struct http_request *req)
{
    static const struct http_body_ops ops = {on_body_data, on_body_end};
    struct api *api = arg;
    const char *digest;
    struct err err;
    struct upload query = {.api = api, .request = http_request_id(req)};
    if (!image_digest_of(api, req, &digest) || !read_query(api, req, &query))
        return;
    json_t *object = view_image(api, digest);
    if (object && images_has(api->deps.images, digest)) {
        answer_existing(api, req, digest, query.name, object);
        return;
    }
    json_decref(object);
    struct upload *u = malloc(sizeof *u);
    int rc = u ? image_upload_new(api->deps.images, digest, &query.image, &err) : -ENOMEM;
    if (rc == 0 && http_request_content_length(req) > 0 &&
        (uint64_t)http_request_content_length(req) > api->deps.image_bytes_max)
        rc = -EFBIG; // said before the bytes come
    if (rc < 0) {
        image_upload_cancel(query.image);
        free(u);
        refuse_upload(api, req, rc, "the upload cannot begin");
        return;
    }
    *u = query;
    http_request_on_gone(req, upload_drop, u);
    http_body_start(req, &ops, u);
}
