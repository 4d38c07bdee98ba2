// Owns how an environment's measurement is computed. Called by run.c and manager.c.
#include "env/measure.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"

#define CHUNK 16384

static void finish(EVP_MD_CTX *md, char ret_digest[DOC_DIGEST_CAP])
{
    unsigned char raw[EVP_MAX_MD_SIZE];
    unsigned int n = 0;
    EVP_DigestFinal_ex(md, raw, &n);
    size_t at = (size_t)snprintf(ret_digest, DOC_DIGEST_CAP, "sha256:");
    for (unsigned int i = 0; i < n && at + 2 < DOC_DIGEST_CAP; i++, at += 2)
        snprintf(ret_digest + at, 3, "%02x", raw[i]);
}

static EVP_MD_CTX *begin(void)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    if (md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1)
        return md;
    EVP_MD_CTX_free(md);
    return NULL;
}

// One netstring of head, middle and tail together.
static void add_parts(EVP_MD_CTX *md, const char *head, const char *middle, const char *tail)
{
    char len[32];
    int n = snprintf(len, sizeof len, "%zu:", strlen(head) + strlen(middle) + strlen(tail));
    EVP_DigestUpdate(md, len, (size_t)n);
    EVP_DigestUpdate(md, head, strlen(head));
    EVP_DigestUpdate(md, middle, strlen(middle));
    EVP_DigestUpdate(md, tail, strlen(tail));
    EVP_DigestUpdate(md, ",", 1);
}

static void add(EVP_MD_CTX *md, const char *text)
{
    add_parts(md, text, "", "");
}

static void add_count(EVP_MD_CTX *md, size_t n)
{
    char text[32];
    snprintf(text, sizeof text, "%zu", n);
    add(md, text);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int add_variables(EVP_MD_CTX *md, const json_t *env)
{
    size_t n = json_object_size(env), i = 0;
    _cleanup_free_ const char **keys = calloc(n + 1, sizeof *keys);
    const char *key;
    json_t *value;
    if (!keys)
        return -ENOMEM;
    json_object_foreach((json_t *)env, key, value) keys[i++] = key;
    qsort(keys, n, sizeof *keys, by_text);
    add_count(md, n);
    for (i = 0; i < n; i++)
        add_parts(md, keys[i], "=", json_get_string(env, keys[i], ""));
    return 0;
}

int measure_environment(const char *kernel_digest, const char *name, const struct env_spec *spec,
                        char ret_digest[DOC_DIGEST_CAP])
{
    EVP_MD_CTX *md = begin();
    size_t i;
    json_t *arg;
    if (!md)
        return -ENOMEM;
    add(md, "envd-measurement-1");
    add(md, kernel_digest);
    add(md, spec->program);
    add(md, spec->archive ? spec->archive : "");
    add_count(md, json_array_size(spec->args) + 1);
    add(md, spec->argv0 ? spec->argv0 : name);
    json_array_foreach(spec->args, i, arg) add(md, json_string_value(arg));
    int rc = add_variables(md, spec->env);
    if (rc == 0)
        finish(md, ret_digest);
    EVP_MD_CTX_free(md);
    return rc;
}

int measure_linux(const char *image, const struct manifest *manifest, const char *cmdline,
                  char ret_digest[DOC_DIGEST_CAP])
{
    EVP_MD_CTX *md = begin();
    if (!md)
        return -ENOMEM;
    add(md, "envd-measurement-linux-1");
    add(md, image);
    for (size_t part = 0; part < MANIFEST_PARTS; part++)
        add(md, manifest->parts[part]);
    add(md, cmdline);
    finish(md, ret_digest);
    EVP_MD_CTX_free(md);
    return 0;
}

int measure_file(int fd, char ret_digest[DOC_DIGEST_CAP])
{
    char data[CHUNK];
    EVP_MD_CTX *md = begin();
    if (!md)
        return -ENOMEM;
    off_t at = 0;
    ssize_t n;
    while ((n = pread(fd, data, sizeof data, at)) > 0) {
        EVP_DigestUpdate(md, data, (size_t)n);
        at += n;
    }
    int rc = n < 0 ? -errno : 0;
    if (rc == 0)
        finish(md, ret_digest);
    EVP_MD_CTX_free(md);
    return rc;
}
