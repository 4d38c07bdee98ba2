// Owns the rules for images: added once, a Linux image only with its parts, not deleted while a spec or a
// manifest names them. Called from mutations of the API.
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "env/image_type.h"
#include "env/objects_internal.h"

#define USERS_SHOWN  5
#define COLLECT_MAX  16 // in one transaction: each may take its three parts' counts along
#define NAME_MAX_LEN 63

bool image_name_valid(const char *name)
{
    size_t len = strlen(name);
    if (len == 0 || len > NAME_MAX_LEN || !isalnum((unsigned char)name[0]))
        return false;
    return strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:/-") == len;
}

int image_manifest(const struct store *store, const char *digest, struct manifest *ret, struct err *err)
{
    char key[DOC_KEY_CAP];
    doc_key(key, DOC_IMAGES, digest);
    _cleanup_json_ json_t *doc = doc_load(store, key, NULL);
    if (!doc)
        return err_set(err, -ENOENT, "there is no image %s", digest);
    const json_t *linux_image = json_object_get(doc, "linux");
    if (!linux_image)
        return err_set(err, -EINVAL, "image %s is no Linux image: %s", digest,
                       json_get_string(doc, "note", "is of another type"));
    int rc = manifest_from_json(linux_image, ret, err);
    return rc < 0 ? err_wrap(err, -EINVAL, "image %s", digest) : 0;
}

// --- adding ---

static int check_part(const struct store *store, const struct manifest *m, enum manifest_part part,
                      struct refusal *why)
{
    char key[DOC_KEY_CAP];
    const char *digest = m->parts[part], *name = manifest_part_name(part);
    doc_key(key, DOC_IMAGES, digest);
    _cleanup_json_ json_t *doc = doc_load(store, key, NULL);
    if (!doc) {
        refuse(why, -ENOENT, 422, "missing-part", "the image's %s %s is not there", name, digest);
        refusal_remedy(why, "Upload it first: PUT /v1/images/%s", digest);
        snprintf(why->member, sizeof why->member, "/%s", name);
        return -ENOENT;
    }
    if (!image_type_fits(json_get_string(doc, "type", ""), part)) {
        refuse(why, -EINVAL, 422, "wrong-type", "%s is no %s: it %s", digest, name,
               json_get_string(doc, "note", "is of another type"));
        snprintf(why->member, sizeof why->member, "/%s", name);
        return -EINVAL;
    }
    uint64_t size = (uint64_t)json_get_integer(doc, "size", 0);
    if (part == MANIFEST_DISK && size != m->disk_bytes)
        return refuse(why, -EINVAL, 422, "wrong-size",
                      "the manifest says that the disk has %llu bytes, the disk %s has %llu",
                      (unsigned long long)m->disk_bytes, digest, (unsigned long long)size);
    return 0;
}

static int refer_parts(const struct store *store, struct store_txn *txn, const struct manifest *m, int d,
                       struct refusal *why)
{
    int rc = 0;
    for (int part = 0; part < MANIFEST_PARTS && rc == 0; part++) {
        if (!m->parts[part][0])
            continue;
        rc = d > 0 ? check_part(store, m, (enum manifest_part)part, why) : 0;
        if (rc == 0)
            rc = image_refer(store, txn, m->parts[part], d, why);
    }
    return rc;
}

// The parts of a Linux image count it among their users, or no more. Other images have none.
static int refer_of(const struct store *store, struct store_txn *txn, const json_t *doc, int d,
                    struct refusal *why)
{
    const json_t *linux_image = json_object_get(doc, "linux");
    struct manifest m;
    struct err err;
    if (!linux_image)
        return 0;
    if (manifest_from_json(linux_image, &m, &err) < 0)
        return refuse(why, -EINVAL, 422, "bad-manifest", "%s", err.text);
    int rc = refer_parts(store, txn, &m, d, why);
    manifest_done(&m);
    return rc;
}

static int rename_image(struct store_txn *txn, const char *key, json_t *doc, uint64_t revision,
                        const char *name, struct refusal *why)
{
    if (strcmp(json_get_string(doc, "name", ""), name) == 0)
        return 0;
    json_object_set_new(doc, "name", json_string(name));
    int rc = store_txn_expect(txn, key, revision);
    if (rc == 0)
        rc = doc_put(txn, key, doc);
    return rc < 0 ? txn_refuse(rc, why) : 0;
}

int image_add(const struct store *store, struct store_txn *txn, const char *digest, const json_t *details,
              struct refusal *why)
{
    char key[DOC_KEY_CAP];
    uint64_t revision;
    const char *name = json_get_string(details, "name", NULL);
    doc_key(key, DOC_IMAGES, digest);
    _cleanup_json_ json_t *doc = doc_load(store, key, &revision);
    if (doc && name)
        return rename_image(txn, key, doc, revision, name, why);
    if (doc)
        return refuse(why, -EEXIST, 409, "image-exists", "image %s is there already", digest);
    int rc = refer_of(store, txn, details, 1, why);
    if (rc < 0)
        return rc;
    rc = store_txn_expect(txn, key, 0);
    if (rc == 0)
        rc = doc_put(txn, key, details);
    return rc < 0 ? txn_refuse(rc, why) : 0;
}

// --- deleting ---

struct users {
    char text[400];
    size_t n;
};

static void add_user(struct users *u, const char *what, const char *name)
{
    size_t len = strlen(u->text);
    if (u->n++ < USERS_SHOWN)
        snprintf(u->text + len, sizeof u->text - len, "%s%s%s", len ? ", " : "", what, name);
}

static bool names(const json_t *object, const char *const *members, const char *digest)
{
    for (; *members; members++)
        if (strcmp(json_get_string(object, *members, ""), digest) == 0)
            return true;
    return false;
}

// Who names it. Reads all documents, which only a refusal does.
static void find_users(const struct store *store, const char *digest, struct users *ret)
{
    static const char *const of_spec[] = {"program", "archive", "image", NULL};
    static const char *const of_manifest[] = {"kernel", "initrd", "disk", NULL};
    const struct store_entry *e;
    for (e = store_next(store, DOC_ENVIRONMENTS, NULL); e; e = store_next(store, DOC_ENVIRONMENTS, e->key)) {
        _cleanup_json_ json_t *doc = doc_of(e);
        if (names(json_object_get(doc, "spec"), of_spec, digest))
            add_user(ret, "", e->key + strlen(DOC_ENVIRONMENTS));
    }
    for (e = store_next(store, DOC_IMAGES, NULL); e; e = store_next(store, DOC_IMAGES, e->key)) {
        _cleanup_json_ json_t *doc = doc_of(e);
        if (names(json_object_get(doc, "linux"), of_manifest, digest))
            add_user(ret, "image ", json_get_string(doc, "name", e->key + strlen(DOC_IMAGES)));
    }
    size_t len = strlen(ret->text);
    if (ret->n > USERS_SHOWN)
        snprintf(ret->text + len, sizeof ret->text - len, " and %zu more", ret->n - USERS_SHOWN);
}

static int refuse_in_use(const struct store *store, const char *digest, struct refusal *why)
{
    struct users users = {0};
    find_users(store, digest, &users);
    refuse(why, -EBUSY, 409, "image-in-use", "image %s is used by %s", digest,
           users.n ? users.text : "an environment that is being deleted");
    refusal_remedy(why, "Delete those first, or let them use another image");
    return -EBUSY;
}

static int delete_one(const struct store *store, struct store_txn *txn, const char *key, const json_t *doc,
                      uint64_t revision, struct refusal *why)
{
    int rc = refer_of(store, txn, doc, -1, why);
    if (rc < 0)
        return rc;
    rc = store_txn_expect(txn, key, revision);
    if (rc == 0)
        rc = store_txn_delete(txn, key);
    return rc < 0 ? txn_refuse(rc, why) : 0;
}

int image_delete(const struct store *store, struct store_txn *txn, const char *digest, struct refusal *why)
{
    char key[DOC_KEY_CAP];
    uint64_t revision;
    doc_key(key, DOC_IMAGES, digest);
    _cleanup_json_ json_t *doc = doc_load(store, key, &revision);
    if (!doc)
        return refuse(why, -ENOENT, 404, "no-such-image", "there is no image %s", digest);
    if (json_get_integer(doc, "refs", 0) > 0)
        return refuse_in_use(store, digest, why);
    return delete_one(store, txn, key, doc, revision, why);
}

// Two Linux images that share a part cannot go in one transaction, which may change a key once: the second
// waits for the next.
static bool shares_part(const json_t *doc, json_t *taken)
{
    static const char *const parts[] = {"kernel", "initrd", "disk"};
    const json_t *linux_image = json_object_get(doc, "linux");
    for (size_t i = 0; i < 3; i++)
        if (json_object_get(taken, json_get_string(linux_image, parts[i], "")))
            return true;
    for (size_t i = 0; i < 3; i++)
        json_object_set_new(taken, json_get_string(linux_image, parts[i], ""), json_true());
    json_object_del(taken, "");
    return false;
}

static bool collectable(const json_t *doc, uint64_t now_ms, uint64_t age_ms, bool linux_too)
{
    uint64_t since_ms = (uint64_t)json_get_integer(doc, "since_ms", 0);
    return doc && json_get_integer(doc, "refs", 0) == 0 && (linux_too || !json_object_get(doc, "linux")) &&
           since_ms <= now_ms && now_ms - since_ms >= age_ms;
}

int image_collect(const struct store *store, struct store_txn *txn, uint64_t now_ms, uint64_t age_ms,
                  bool linux_too, json_t **ret_removed, struct refusal *why)
{
    _cleanup_json_ json_t *taken = json_object();
    _cleanup_json_ json_t *removed = json_array();
    const struct store_entry *e = store_next(store, DOC_IMAGES, NULL);
    int rc = 0;
    for (; e && rc == 0 && json_array_size(removed) < COLLECT_MAX;
         e = store_next(store, DOC_IMAGES, e->key)) {
        _cleanup_json_ json_t *doc = doc_of(e);
        if (!collectable(doc, now_ms, age_ms, linux_too) || shares_part(doc, taken))
            continue;
        rc = delete_one(store, txn, e->key, doc, e->revision, why);
        json_array_append_new(removed, json_pack("{s:s, s:I}", "digest", e->key + strlen(DOC_IMAGES), "size",
                                                 (json_int_t)json_get_integer(doc, "size", 0)));
    }
    if (rc == 0)
        *ret_removed = json_incref(removed);
    return rc;
}
