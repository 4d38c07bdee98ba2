// Owns the rules for what an environment's spec may say beyond its own text: the images that it names, what
// it costs of the tenant's quota, what of it can change. Called by objects_environment.c and objects_image.c.
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/checked.h"
#include "common/cleanup.h"
#include "env/objects_internal.h"

#define MIB (1u << 20)

// --- quota ---

// What the quota has of each resource, and how a refusal speaks of it.
struct resource {
    const char *member, *text;
    int64_t change;
    uint64_t quota;
};

static int refuse_quota(const char *tenant, const struct resource *r, int64_t would, struct refusal *why)
{
    refuse(why, -EDQUOT, 422, "quota-exceeded", "tenant %s may have %llu %s; this would make it %lld", tenant,
           (unsigned long long)r->quota, r->text, (long long)would);
    refusal_remedy(why, "Delete environments that are no longer needed, or raise the tenant's quota");
    return -EDQUOT;
}

int usage_add(const struct store *store, struct store_txn *txn, const char *tenant, const json_t *tenant_doc,
              const struct usage *change, struct refusal *why)
{
    char key[DOC_KEY_CAP];
    uint64_t revision;
    struct tenant_quota quota;
    doc_key(key, "usage/", tenant);
    doc_read_quota(tenant_doc, &quota);
    _cleanup_json_ json_t *usage = doc_load(store, key, &revision);
    _cleanup_json_ json_t *next = json_object();
    const struct resource resources[] = {
        {"environments", "environments", change->environments, quota.environments},
        {"memory_mib", "MiB of memory", change->memory_mib, quota.memory_mib},
        {"vcpus", "vCPUs", change->vcpus, quota.vcpus},
        {"disk_mib", "MiB of disk", change->disk_mib, quota.disk_mib},
    };
    for (size_t i = 0; i < ARRAY_LEN(resources); i++) {
        const struct resource *r = &resources[i];
        int64_t would = json_get_integer(usage, r->member, 0) + r->change;
        if (r->change > 0 && would > (int64_t)r->quota)
            return refuse_quota(tenant, r, would, why);
        json_object_set_new(next, r->member, json_integer(would));
    }
    int rc = next ? store_txn_expect(txn, key, revision) : -ENOMEM;
    if (rc == 0)
        rc = doc_put(txn, key, next);
    return rc < 0 ? txn_refuse(rc, why) : 0;
}

// --- images ---

int image_refer(const struct store *store, struct store_txn *txn, const char *digest, int d,
                struct refusal *why)
{
    char key[DOC_KEY_CAP];
    uint64_t revision;
    doc_key(key, DOC_IMAGES, digest);
    _cleanup_json_ json_t *doc = doc_load(store, key, &revision);
    if (!doc && d < 0)
        return 0; // its document is gone: nothing to count down
    if (!doc) {
        refuse(why, -ENOENT, 422, "no-such-image", "there is no image %s", digest);
        refusal_remedy(why, "Upload it first: PUT /v1/images/%s", digest);
        return -ENOENT;
    }
    json_object_set_new(doc, "refs", json_integer(json_get_integer(doc, "refs", 0) + d));
    int rc = store_txn_expect(txn, key, revision);
    if (rc == 0)
        rc = doc_put(txn, key, doc);
    return rc < 0 ? txn_refuse(rc, why) : 0;
}

static int check_image_type(const struct store *store, const char *digest, const char *member,
                            const char *type, const char *code, const char *remedy, struct refusal *why)
{
    char key[DOC_KEY_CAP];
    doc_key(key, DOC_IMAGES, digest);
    _cleanup_json_ json_t *doc = doc_load(store, key, NULL);
    if (doc && strcmp(json_get_string(doc, "type", ""), type) != 0) {
        refuse(why, -ENOEXEC, 422, code, "%s: %s", digest,
               json_get_string(doc, "note", "is of another type"));
        refusal_remedy(why, "%s", remedy);
        snprintf(why->member, sizeof why->member, "%s", member);
        return -ENOEXEC;
    }
    return 0; // whether it is there is image_refer()'s to say
}

// Arguments and variables as the guest gets them, with their NULs.
static size_t args_bytes(const char *name, const struct env_spec *spec)
{
    size_t total = strlen(spec->argv0 ? spec->argv0 : name) + 1, i;
    json_t *each;
    const char *key;
    json_array_foreach(spec->args, i, each) total += json_string_length(each) + 1;
    json_object_foreach((json_t *)spec->env, key, each) total +=
        strlen(key) + 1 + json_string_length(each) + 1;
    return total;
}

static int refuse_member(struct refusal *why, const char *member, int rc)
{
    snprintf(why->member, sizeof why->member, "%s", member);
    return rc;
}

static int expect_cell(const struct store *store, const char *name, const struct env_spec *spec,
                       struct refusal *why)
{
    size_t n = args_bytes(name, spec);
    if (n > VMCTL_ARGS_BYTES_MAX)
        return refuse_member(
            why, "/spec/args",
            refuse(why, -E2BIG, 422, "invalid-member",
                   "arguments and variables have %zu bytes together, at most %u are possible", n,
                   VMCTL_ARGS_BYTES_MAX));
    int rc = check_image_type(
        store, spec->program, "/spec/program", "static-elf", "program-not-static-elf",
        "Link the program statically for x86-64 (musl-gcc -static, or gcc -static), and upload it "
        "again",
        why);
    if (rc == 0 && spec->archive)
        rc = check_image_type(store, spec->archive, "/spec/archive", "cpio-newc", "archive-not-newc",
                              "Make it with: find . | cpio -o -H newc", why);
    return rc;
}

static int expect_disk(const struct env_spec *spec, const struct manifest *m, uint64_t *ret_mib,
                       struct refusal *why)
{
    uint64_t image_mib = (m->disk_bytes + MIB - 1) / MIB;
    if (spec->disk_mib > 0 && image_mib == 0)
        return refuse_member(why, "/spec/disk_mib",
                             refuse(why, -EINVAL, 422, "invalid-member",
                                    "the image has no disk; give the environment a volume instead"));
    if (spec->disk_mib > 0 && spec->disk_mib < image_mib)
        return refuse_member(why, "/spec/disk_mib",
                             refuse(why, -EINVAL, 422, "invalid-member",
                                    "the disk cannot be smaller than the image's, which has %llu MiB",
                                    (unsigned long long)image_mib));
    *ret_mib = spec->disk_mib > 0 ? spec->disk_mib : image_mib;
    return 0;
}

static int expect_linux(const struct store *store, const struct env_spec *spec, uint64_t *ret_disk_mib,
                        struct refusal *why)
{
    struct manifest m;
    struct err err;
    int rc = image_manifest(store, spec->image, &m, &err);
    if (rc == -ENOENT)
        return 0; // whether it is there is image_refer()'s to say
    if (rc < 0) {
        refuse(why, rc, 422, "image-not-linux", "%s", err.text);
        refusal_remedy(why, "Name a Linux image; list them with: envctl image list");
        return refuse_member(why, "/spec/image", rc);
    }
    size_t n = strlen(m.cmdline) + (spec->cmdline ? strlen(spec->cmdline) + 1 : 0);
    uint64_t root_mib = 0;
    if (n > VMCTL_CMDLINE_MAX)
        rc = refuse_member(why, "/spec/cmdline",
                           refuse(why, -E2BIG, 422, "invalid-member",
                                  "the image's command line and this have %zu bytes together, at most %u are "
                                  "possible",
                                  n, VMCTL_CMDLINE_MAX));
    else
        rc = expect_disk(spec, &m, &root_mib, why);
    manifest_done(&m);
    if (rc == 0)
        *ret_disk_mib = root_mib + spec_volumes_mib(spec);
    return rc;
}

int spec_expect(const struct store *store, const char *name, const json_t *doc, uint64_t *ret_disk_mib,
                struct refusal *why)
{
    struct env_spec spec;
    struct json_fault fault;
    if (spec_check(json_object_get(doc, "spec"), &fault) < 0)
        return refuse_member(why, fault.pointer, refuse(why, -EINVAL, 422, fault.code, "%s", fault.text));
    doc_read_spec(doc, &spec);
    *ret_disk_mib = 0;
    return spec.kind == ENV_KIND_LINUX ? expect_linux(store, &spec, ret_disk_mib, why)
                                       : expect_cell(store, name, &spec, why);
}

// --- changes ---

static const struct env_volume *find_volume(const struct env_spec *spec, const char *name)
{
    for (size_t i = 0; i < spec->n_volumes; i++)
        if (strcmp(spec->volumes[i].name, name) == 0)
            return &spec->volumes[i];
    return NULL;
}

static int refuse_fixed(const char *member, const char *text, struct refusal *why)
{
    refuse(why, -EINVAL, 422, "fixed-member", "/spec/%s %s", member, text);
    refusal_remedy(why, "Make another environment with the new value, and move over what is to be kept");
    snprintf(why->member, sizeof why->member, "/spec/%s", member);
    return -EINVAL;
}

int spec_expect_change(const struct env_spec *before, const struct env_spec *after, struct refusal *why)
{
    if (before->kind != after->kind)
        return refuse_fixed("kind", "cannot change", why);
    if (before->mailbox != after->mailbox)
        return refuse_fixed("mailbox", "cannot change: mail may be on its way through it", why);
    if (before->kind != ENV_KIND_LINUX)
        return 0;
    if (strcmp(before->image, after->image) != 0)
        return refuse_fixed("image", "cannot change: the environment's disk was made over it", why);
    if (before->disk_mib != after->disk_mib)
        return refuse_fixed("disk_mib", "cannot change", why);
    for (size_t i = 0; i < before->n_volumes; i++) {
        const struct env_volume *now = find_volume(after, before->volumes[i].name);
        if (!now || now->size_mib != before->volumes[i].size_mib)
            return refuse_fixed("volumes", "can only grow by new ones: each that is there keeps its size",
                                why);
    }
    return 0;
}

// --- references ---

#define NAMED_MAX 6

struct named {
    const char *digest;
    int d;
};

static size_t name_images(struct named *out, const struct env_spec *spec, int d)
{
    const char *digests[] = {spec ? spec->program : NULL, spec ? spec->archive : NULL,
                             spec ? spec->image : NULL};
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(digests); i++)
        if (digests[i])
            out[n++] = (struct named){digests[i], d};
    return n;
}

int spec_refer_images(const struct store *store, struct store_txn *txn, const struct env_spec *before,
                      const struct env_spec *after, struct refusal *why)
{
    struct named named[NAMED_MAX];
    size_t n = name_images(named, after, 1);
    n += name_images(named + n, before, -1);
    // A key changes once in a transaction: changes of the same image are added up first.
    for (size_t i = 0; i < n; i++)
        for (size_t j = i + 1; named[i].digest && j < n; j++)
            if (named[j].digest && strcmp(named[i].digest, named[j].digest) == 0) {
                named[i].d += named[j].d;
                named[j].digest = NULL;
            }
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n; i++)
        if (named[i].digest && named[i].d != 0)
            rc = image_refer(store, txn, named[i].digest, named[i].d, why);
    return rc;
}
