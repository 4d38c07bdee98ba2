// Owns the way from an OCI index to its layers. Called by source.c. All of it is untrusted: documents are
// bounded and type-checked, blobs are held against their digests.
#include "image/oci.h"

#include <errno.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "image/layer.h"
#include "manifest/manifest.h"

#define DOCUMENT_MAX (4u << 20)
#define LAYERS_MAX   1000
#define INDEXES_MAX  4 // an index in an index in …
#define DIGEST_CHUNK (1u << 18)

struct oci {
    const struct tree *files;
    struct spool *spool;
    struct err *err;
};

static void cleanup_json(json_t **json)
{
    json_decref(*json);
}
#define _cleanup_json_ __attribute__((cleanup(cleanup_json)))

static void cleanup_md(EVP_MD_CTX **md)
{
    EVP_MD_CTX_free(*md);
}

bool oci_is_image(const struct tree *files)
{
    const struct tree_inode *index = tree_find(files, "index.json", false);
    const struct tree_inode *saved = tree_find(files, "manifest.json", false);
    if (tree_find(files, "etc", true) || tree_find(files, "bin", true))
        return false;
    return (index && S_ISREG(index->mode) && tree_find(files, "blobs", false)) ||
           (saved && S_ISREG(saved->mode));
}

// --- blobs and documents ---

static int read_document(const struct oci *o, const char *what, const struct spool_range *range, json_t **ret)
{
    json_error_t where;
    if (range->size > DOCUMENT_MAX)
        return err_set(o->err, -EBADMSG, "%s has %llu bytes, at most %u are possible", what,
                       (unsigned long long)range->size, DOCUMENT_MAX);
    _cleanup_free_ char *text = malloc(range->size + 1);
    if (!text)
        return err_set(o->err, -ENOMEM, "no memory for %s", what);
    ssize_t n = spool_read(o->spool, range, 0, text, range->size);
    if (n < 0)
        return err_errno(o->err, (int)n, "read %s", what);
    *ret = json_loadb(text, (size_t)n, JSON_REJECT_DUPLICATES, &where);
    return *ret ? 0 : err_set(o->err, -EBADMSG, "%s is not JSON: %s", what, where.text);
}

static int check_digest(const struct oci *o, const struct spool_range *range, const char *digest)
{
    __attribute__((cleanup(cleanup_md))) EVP_MD_CTX *md = EVP_MD_CTX_new();
    _cleanup_free_ char *chunk = malloc(DIGEST_CHUNK);
    unsigned char sum[EVP_MAX_MD_SIZE];
    char hex[2 * EVP_MAX_MD_SIZE + 1] = "";
    unsigned n_sum = 0;
    ssize_t n;
    if (!md || !chunk || EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1)
        return err_set(o->err, -ENOMEM, "no memory for a digest");
    for (uint64_t at = 0; (n = spool_read(o->spool, range, at, chunk, DIGEST_CHUNK)) > 0; at += (uint64_t)n)
        EVP_DigestUpdate(md, chunk, (size_t)n);
    EVP_DigestFinal_ex(md, sum, &n_sum);
    for (unsigned i = 0; i < n_sum; i++)
        snprintf(hex + (size_t)(2 * i), 3, "%02x", sum[i]);
    if (n < 0)
        return err_errno(o->err, (int)n, "read a blob");
    return strcmp(hex, digest + strlen("sha256:")) == 0
               ? 0
               : err_set(o->err, -EBADMSG, "the blob %s has the digest sha256:%s", digest, hex);
}

// The verified content that a descriptor names.
static int find_blob(const struct oci *o, const json_t *descriptor, struct spool_range *ret)
{
    const json_t *digest = json_object_get(descriptor, "digest");
    const json_t *size = json_object_get(descriptor, "size");
    char path[128];
    if (!json_is_string(digest) ||
        !manifest_digest_valid(json_string_value(digest), json_string_length(digest)))
        return err_set(o->err, -EBADMSG, "a descriptor has no sha256 digest");
    const char *text = json_string_value(digest);
    snprintf(path, sizeof path, "blobs/sha256/%s", text + strlen("sha256:"));
    const struct tree_inode *inode = tree_find(o->files, path, false);
    if (!inode || !S_ISREG(inode->mode))
        return err_set(o->err, -ENOENT, "the blob %s is not there", text);
    if (json_integer_value(size) < 0 || (uint64_t)json_integer_value(size) != inode->content.size)
        return err_set(o->err, -EBADMSG, "the blob %s has %llu bytes, not as many as it should", text,
                       (unsigned long long)inode->content.size);
    *ret = inode->content;
    return check_digest(o, ret, text);
}

static int read_blob_document(const struct oci *o, const char *what, const json_t *descriptor, json_t **ret)
{
    struct spool_range range;
    int rc = find_blob(o, descriptor, &range);
    return rc < 0 ? err_wrap(o->err, rc, "%s", what) : read_document(o, what, &range, ret);
}

// --- which image ---

static bool text_is(const json_t *object, const char *member, const char *text)
{
    const char *value = json_string_value(json_object_get(object, member));
    return value && strcmp(value, text) == 0;
}

static bool fits_platform(const json_t *descriptor)
{
    const json_t *platform = json_object_get(descriptor, "platform");
    return !platform || (text_is(platform, "os", "linux") && text_is(platform, "architecture", "amd64"));
}

// The one descriptor of linux/amd64 in the index (borrowed).
static int choose(const struct oci *o, const json_t *index, const json_t **ret)
{
    const json_t *manifests = json_object_get(index, "manifests"), *each, *found = NULL;
    size_t i, n = 0;
    json_array_foreach((json_t *)manifests, i, each)
    {
        if (!json_is_object(each) || !fits_platform(each))
            continue;
        found = each;
        n++;
    }
    if (n != 1)
        return err_set(o->err, -EINVAL, "the index has %zu images for linux/amd64%s", n,
                       n ? ": save one of them alone" : "");
    *ret = found;
    return 0;
}

static int check_config(const struct oci *o, const json_t *manifest)
{
    _cleanup_json_ json_t *config = NULL;
    int rc = read_blob_document(o, "the image's configuration", json_object_get(manifest, "config"), &config);
    if (rc < 0)
        return rc;
    if (!text_is(config, "os", "linux") || !text_is(config, "architecture", "amd64"))
        return err_set(o->err, -EINVAL, "the image is not for linux/amd64");
    return 0;
}

// --- layers ---

static int add_layer(const struct oci *o, struct tree *t, const struct spool_range *range)
{
    struct archive *a;
    int rc = layer_open_range(o->spool, range, &a, o->err);
    if (rc < 0)
        return rc;
    t->layer++;
    rc = layer_read(a, true, t, o->spool, o->err);
    archive_read_free(a);
    return rc;
}

static int add_layers(const struct oci *o, const json_t *layers, struct tree *t,
                      int (*find)(const struct oci *o, const json_t *which, struct spool_range *ret))
{
    size_t i;
    json_t *each;
    if (!json_is_array(layers) || json_array_size(layers) > LAYERS_MAX)
        return err_set(o->err, -EBADMSG, "the manifest has no list of at most %d layers", LAYERS_MAX);
    json_array_foreach((json_t *)layers, i, each)
    {
        struct spool_range range;
        int rc = find(o, each, &range);
        if (rc == 0)
            rc = add_layer(o, t, &range);
        if (rc < 0)
            return err_wrap(o->err, rc, "layer %zu", i + 1);
    }
    return 0;
}

static int read_index(const struct oci *o, const struct spool_range *range, struct tree *t)
{
    _cleanup_json_ json_t *document = NULL;
    int rc = read_document(o, "index.json", range, &document);
    for (unsigned depth = 0; rc == 0 && json_object_get(document, "manifests"); depth++) {
        const json_t *descriptor = NULL;
        json_t *next = NULL;
        if (depth == INDEXES_MAX)
            return err_set(o->err, -ELOOP, "indexes are nested too deeply");
        rc = choose(o, document, &descriptor);
        if (rc == 0)
            rc = read_blob_document(o, "the image's manifest", descriptor, &next);
        json_decref(document);
        document = next;
    }
    if (rc == 0)
        rc = check_config(o, document);
    return rc < 0 ? rc : add_layers(o, json_object_get(document, "layers"), t, find_blob);
}

// docker save: layers are named by their paths, and have no digests of their own.
static int find_saved(const struct oci *o, const json_t *which, struct spool_range *ret)
{
    const char *path = json_string_value(which);
    const struct tree_inode *inode = path ? tree_find(o->files, path, true) : NULL;
    if (!inode || !S_ISREG(inode->mode))
        return err_set(o->err, -ENOENT, "%.200s is not in the archive", path ? path : "it");
    *ret = inode->content;
    return 0;
}

static int read_saved(const struct oci *o, const struct spool_range *range, struct tree *t)
{
    _cleanup_json_ json_t *document = NULL;
    int rc = read_document(o, "manifest.json", range, &document);
    if (rc < 0)
        return rc;
    if (json_array_size(document) != 1)
        return err_set(o->err, -EINVAL, "manifest.json has %zu images: save one alone",
                       json_array_size(document));
    return add_layers(o, json_object_get(json_array_get(document, 0), "Layers"), t, find_saved);
}

int oci_read(const struct tree *files, struct spool *s, struct tree *t, struct err *err)
{
    struct oci o = {files, s, err};
    const struct tree_inode *index = tree_find(files, "index.json", false);
    const struct tree_inode *saved = tree_find(files, "manifest.json", false);
    if (index && S_ISREG(index->mode))
        return read_index(&o, &index->content, t);
    return read_saved(&o, &saved->content, t);
}
