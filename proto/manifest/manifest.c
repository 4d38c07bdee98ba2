// Owns reading and writing of Linux images' manifests. Called by envd and envctl; knows no file, no store.
#include "manifest/manifest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"

#define DIGEST_PREFIX "sha256:"
#define DIGEST_HEX    64

static const char *const part_names[] = {
    [MANIFEST_KERNEL] = "kernel", [MANIFEST_INITRD] = "initrd", [MANIFEST_DISK] = "disk"};

const char *manifest_part_name(enum manifest_part part)
{
    return part_names[part];
}

bool manifest_digest_valid(const char *text, size_t len)
{
    size_t prefix = strlen(DIGEST_PREFIX);
    if (len != prefix + DIGEST_HEX || memcmp(text, DIGEST_PREFIX, prefix) != 0)
        return false;
    for (size_t i = prefix; i < len; i++)
        if (!(text[i] >= '0' && text[i] <= '9') && !(text[i] >= 'a' && text[i] <= 'f'))
            return false;
    return true;
}

static int read_part(const json_t *untrusted, enum manifest_part part, struct manifest *m, struct err *err)
{
    const json_t *value = json_object_get(untrusted, part_names[part]);
    if (json_is_null(value) && part != MANIFEST_KERNEL)
        return 0;
    if (!json_is_string(value) || !manifest_digest_valid(json_string_value(value), json_string_length(value)))
        return err_set(err, -EBADMSG, "the manifest's %s is not a digest%s", part_names[part],
                       part == MANIFEST_KERNEL ? "" : " or null");
    snprintf(m->parts[part], sizeof m->parts[part], "%s", json_string_value(value));
    return 0;
}

static bool printable(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return false;
    return true;
}

static int read_cmdline(const json_t *untrusted, struct manifest *m, struct err *err)
{
    const json_t *value = json_object_get(untrusted, "cmdline");
    size_t len = json_string_length(value);
    if (!json_is_string(value))
        return err_set(err, -EBADMSG, "the manifest's cmdline is not a string");
    if (len > MANIFEST_CMDLINE_MAX)
        return err_set(err, -EBADMSG, "the manifest's cmdline has %zu bytes, at most %d are possible", len,
                       MANIFEST_CMDLINE_MAX);
    if (!printable(json_string_value(value), len))
        return err_set(err, -EBADMSG, "the manifest's cmdline has control characters");
    memcpy(m->cmdline, json_string_value(value), len + 1);
    return 0;
}

static int read_disk_bytes(const json_t *untrusted, struct manifest *m, struct err *err)
{
    const json_t *value = json_object_get(untrusted, "disk_bytes");
    json_int_t n = json_integer_value(value);
    bool has_disk = m->parts[MANIFEST_DISK][0] != '\0';
    if (!json_is_integer(value) || n < 0 || (uint64_t)n > MANIFEST_DISK_MAX || n % MANIFEST_BLOCK != 0)
        return err_set(err, -EBADMSG, "the manifest's disk_bytes is not a multiple of %d, at most %llu",
                       MANIFEST_BLOCK, (unsigned long long)MANIFEST_DISK_MAX);
    if (has_disk != (n > 0))
        return err_set(err, -EBADMSG, "the manifest's disk_bytes is %lld, but there is %s disk", (long long)n,
                       has_disk ? "a" : "no");
    m->disk_bytes = (uint64_t)n;
    return 0;
}

static int read_labels(const json_t *untrusted, struct manifest *m, struct err *err)
{
    json_t *labels = json_object_get(untrusted, "labels");
    const char *key;
    json_t *value;
    if (!json_is_object(labels) || json_object_size(labels) > MANIFEST_LABELS_MAX)
        return err_set(err, -EBADMSG, "the manifest's labels are not an object of at most %d members",
                       MANIFEST_LABELS_MAX);
    json_object_foreach(labels, key, value)
    {
        size_t len = json_string_length(value);
        if (!json_is_string(value) || len > MANIFEST_LABEL_MAX || strlen(key) > MANIFEST_LABEL_MAX ||
            key[0] == '\0' || !printable(key, strlen(key)) || !printable(json_string_value(value), len))
            return err_set(err, -EBADMSG,
                           "a label of the manifest is not a pair of printable texts of at most %d bytes",
                           MANIFEST_LABEL_MAX);
    }
    m->labels = json_incref(labels);
    return 0;
}

static int check_members(const json_t *untrusted, struct err *err)
{
    static const char *const members[] = {"cmdline", "disk",   "disk_bytes", "envd",
                                          "initrd",  "kernel", "labels"};
    const char *format = json_string_value(json_object_get(untrusted, "envd"));
    if (!json_is_object(untrusted) || !format)
        return err_set(err, -EBADMSG, "this is no manifest: it has no member envd");
    if (strcmp(format, MANIFEST_FORMAT) != 0)
        return err_set(err, -EPROTO, "the manifest's format is %.40s, known is " MANIFEST_FORMAT, format);
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
        if (!json_object_get(untrusted, members[i]))
            return err_set(err, -EBADMSG, "the manifest has no member %s", members[i]);
    if (json_object_size(untrusted) != sizeof members / sizeof members[0])
        return err_set(err, -EBADMSG, "the manifest has members that are not known");
    return 0;
}

int manifest_from_json(const json_t *untrusted, struct manifest *ret, struct err *err)
{
    struct manifest m = {0};
    int rc = check_members(untrusted, err);
    for (int part = 0; rc == 0 && part < MANIFEST_PARTS; part++)
        rc = read_part(untrusted, (enum manifest_part)part, &m, err);
    if (rc == 0 && !m.parts[MANIFEST_INITRD][0] && !m.parts[MANIFEST_DISK][0])
        rc = err_set(err, -EBADMSG, "the manifest names neither a disk nor an initrd");
    if (rc == 0)
        rc = read_disk_bytes(untrusted, &m, err);
    if (rc == 0)
        rc = read_cmdline(untrusted, &m, err);
    if (rc == 0)
        rc = read_labels(untrusted, &m, err);
    if (rc == 0)
        *ret = m;
    return rc;
}

static json_t *part_json(const struct manifest *m, enum manifest_part part)
{
    return m->parts[part][0] ? json_string(m->parts[part]) : json_null();
}

static json_t *to_json(const struct manifest *m)
{
    return json_pack("{s:s, s:s, s:o, s:o, s:o, s:I, s:o}", "envd", MANIFEST_FORMAT, "cmdline", m->cmdline,
                     "kernel", part_json(m, MANIFEST_KERNEL), "initrd", part_json(m, MANIFEST_INITRD), "disk",
                     part_json(m, MANIFEST_DISK), "disk_bytes", (json_int_t)m->disk_bytes, "labels",
                     m->labels ? json_incref(m->labels) : json_object());
}

static void cleanup_json(json_t **json)
{
    json_decref(*json);
}

char *manifest_text(const struct manifest *m, struct err *err)
{
    __attribute__((cleanup(cleanup_json))) json_t *json = to_json(m);
    struct manifest check;
    if (!json) {
        err_set(err, -EBADMSG, "the command line is not valid UTF-8, or there is no memory");
        return NULL;
    }
    if (manifest_from_json(json, &check, err) < 0)
        return NULL;
    manifest_done(&check);
    char *text = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS);
    if (!text)
        err_set(err, -ENOMEM, "no memory for a manifest");
    return text;
}

int manifest_parse(const void *untrusted, size_t len, struct manifest *ret, struct err *err)
{
    json_error_t where;
    struct manifest m;
    if (len > MANIFEST_MAX)
        return err_set(err, -EBADMSG, "a manifest has at most %u bytes, this has %zu", MANIFEST_MAX, len);
    __attribute__((cleanup(cleanup_json))) json_t *json =
        json_loadb(untrusted, len, JSON_REJECT_DUPLICATES, &where);
    if (!json)
        return err_set(err, -EBADMSG, "the manifest is not JSON: %s", where.text);
    int rc = manifest_from_json(json, &m, err);
    if (rc < 0)
        return rc;
    _cleanup_free_ char *text = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS);
    if (!text || strlen(text) != len || memcmp(text, untrusted, len) != 0) {
        manifest_done(&m);
        return err_set(err, -EBADMSG, "the manifest is not in canonical form: sorted keys, no blanks");
    }
    *ret = m;
    return 0;
}

void manifest_done(struct manifest *m)
{
    json_decref(m->labels);
    m->labels = NULL;
}
