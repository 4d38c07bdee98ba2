// Owns the rules for images: added once, not deleted while a spec names them. Called from mutations of the
// API.
#include <errno.h>
#include <stdio.h>

#include "env/objects_internal.h"

int image_add(const struct store *store, struct store_txn *txn, const char *digest, const json_t *details,
              struct refusal *why)
{
    char key[DOC_KEY_CAP];
    doc_key(key, DOC_IMAGES, digest);
    if (store_get(store, key))
        return refuse(why, -EEXIST, 409, "image-exists", "image %s is there already", digest);
    int rc = store_txn_expect(txn, key, 0);
    if (rc == 0)
        rc = doc_put(txn, key, details);
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
    int64_t refs = json_get_integer(doc, "refs", 0);
    if (refs > 0) {
        refuse(why, -EBUSY, 409, "image-in-use", "image %s is named by %lld environment%s", digest,
               (long long)refs, refs == 1 ? "" : "s");
        refusal_remedy(why, "Delete those environments first");
        return -EBUSY;
    }
    int rc = store_txn_expect(txn, key, revision);
    if (rc == 0)
        rc = store_txn_delete(txn, key);
    return rc < 0 ? txn_refuse(rc, why) : 0;
}
