// Owns copying out of a guest. Called by the verb cp. The guest is not trusted: a name that it lists is one
// name, nothing that it had made here is followed, no file of it gets more rights than its owner's, and a
// file is in its place only when it is whole.
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/io.h"
#include "copy.h"
#include "harmless.h"

#define ENTRIES_MAX 100000u // of one folder
#define TEMP_CAP    40

struct entry {
    enum session_file_type type;
    uint32_t mode;
    char *name, *target;
};

struct entries {
    struct entry *items;
    size_t n, cap;
};

// --- one file ---

// fd gets the content as it comes; *ret_stat is what the guest says of the file, without its texts.
static int receive(struct copy *c, struct channel *channel, const char *guest_path, int fd,
                   EVP_MD_CTX *digest, struct session_stat *ret_stat)
{
    struct session_frame f;
    uint64_t done = 0;
    uint8_t sum[SESSION_SHA256_LEN];
    int rc = channel_expect(c->cli, channel, guest_path, &f);
    if (rc == 0 && (f.type != SESSION_STAT || f.stat.type != SESSION_FILE_REGULAR))
        return cli_fail(c->cli, CLI_ERROR, "%s: it is no regular file", guest_path);
    if (rc == 0)
        *ret_stat = f.stat;
    while (rc == 0 && (rc = channel_expect(c->cli, channel, guest_path, &f)) == 0 && f.type == SESSION_DATA) {
        int written = io_write_all(fd, f.data.data, f.data.len);
        if (written < 0)
            return cli_fail(c->cli, CLI_ERROR, "write what was %s: %s", guest_path, strerror(-written));
        EVP_DigestUpdate(digest, f.data.data, f.data.len);
        done += f.data.len;
        copy_progress(c, guest_path, done, ret_stat->size);
    }
    if (rc != 0)
        return rc;
    if (f.type != SESSION_END || EVP_DigestFinal_ex(digest, sum, NULL) != 1 ||
        memcmp(sum, f.sha256, sizeof sum) != 0)
        return cli_fail(c->cli, CLI_ERROR,
                        "%s: what came is not what the guest's agent has read: its digest differs",
                        guest_path);
    return 0;
}

static int get(struct copy *c, const char *guest_path, int fd, struct session_stat *ret_stat)
{
    struct channel *channel;
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    int rc = digest && EVP_DigestInit_ex(digest, EVP_sha256(), NULL) == 1
                 ? copy_begin(c, "get", guest_path, NULL, &channel)
                 : cli_fail(c->cli, CLI_ERROR, "no memory");
    if (rc == 0) {
        rc = receive(c, channel, guest_path, fd, digest, ret_stat);
        copy_progress_done(c);
        channel_free(channel);
    }
    EVP_MD_CTX_free(digest);
    return rc;
}

int copy_out_stream(struct copy *c, const char *guest_path, int fd)
{
    struct session_stat stat;
    return get(c, guest_path, fd, &stat);
}

static int local_failure(struct copy *c, const char *name)
{
    return cli_fail(c->cli, CLI_ERROR, "%s: %s", name, strerror(errno));
}

// A file beside its place, that nobody can have waited for.
static int make_temp(int dir_fd, char name[TEMP_CAP])
{
    uint64_t random;
    if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random)
        return -1;
    snprintf(name, TEMP_CAP, ".envctl-%016llx", (unsigned long long)random);
    return openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
}

static int put_in_place(struct copy *c, int fd, int dir_fd, const char *temp, const char *name,
                        const struct session_stat *stat)
{
    struct timespec times[2] = {
        {.tv_nsec = UTIME_NOW},
        {.tv_sec = (time_t)(stat->mtime_ns / 1000000000u), .tv_nsec = (long)(stat->mtime_ns % 1000000000u)}};
    // Set-user-ID and the like are not for a guest to give.
    if (fchmod(fd, stat->mode & 0777) < 0 || futimens(fd, times) < 0 ||
        renameat(dir_fd, temp, dir_fd, name) < 0)
        return local_failure(c, name);
    return 0;
}

int copy_out_file(struct copy *c, const char *guest_path, int dir_fd, const char *name)
{
    char temp[TEMP_CAP];
    struct session_stat stat;
    _cleanup_close_ int fd = make_temp(dir_fd, temp);
    if (fd < 0)
        return local_failure(c, name);
    int rc = get(c, guest_path, fd, &stat);
    if (rc == 0)
        rc = put_in_place(c, fd, dir_fd, temp, name, &stat);
    if (rc != 0)
        unlinkat(dir_fd, temp, 0);
    return rc;
}

// --- folders ---

static void entries_free(struct entries *e)
{
    for (size_t i = 0; i < e->n; i++) {
        free(e->items[i].name);
        free(e->items[i].target);
    }
    free(e->items);
}

static char *text_of(struct wire_view v)
{
    return strndup((const char *)v.data, v.len);
}

static bool is_one_name(struct wire_view v)
{
    return v.len > 0 && !memchr(v.data, '/', v.len) && !wire_view_equals(v, ".") &&
           !wire_view_equals(v, "..");
}

static int add_entry(struct copy *c, struct entries *e, const char *guest_path, const struct session_stat *s)
{
    if (!is_one_name(s->name))
        return cli_fail(c->cli, CLI_ERROR, "%s: the guest lists a name that is none: %.*s", guest_path,
                        (int)s->name.len, (const char *)s->name.data);
    if (e->n == ENTRIES_MAX)
        return cli_fail(c->cli, CLI_ERROR, "%s: more than %u entries", guest_path, ENTRIES_MAX);
    if (e->n == e->cap) {
        size_t cap = e->cap ? e->cap * 2 : 64;
        struct entry *items = realloc(e->items, cap * sizeof *items);
        if (!items)
            return cli_fail(c->cli, CLI_ERROR, "no memory");
        e->items = items;
        e->cap = cap;
    }
    struct entry *entry = &e->items[e->n++];
    *entry = (struct entry){s->type, s->mode, text_of(s->name), text_of(s->target)};
    return entry->name && entry->target ? 0 : cli_fail(c->cli, CLI_ERROR, "no memory");
}

static int list(struct copy *c, const char *guest_path, struct entries *ret)
{
    struct channel *channel;
    struct session_frame f;
    int rc = copy_begin(c, "list", guest_path, NULL, &channel);
    if (rc != 0)
        return rc;
    while ((rc = channel_expect(c->cli, channel, guest_path, &f)) == 0 && f.type == SESSION_STAT &&
           (rc = add_entry(c, ret, guest_path, &f.stat)) == 0)
        ;
    if (rc == 0 && f.type != SESSION_END)
        rc = cli_fail(c->cli, CLI_ERROR, "%s: the guest's agent broke off its list", guest_path);
    channel_free(channel);
    return rc;
}

static int make_symlink(struct copy *c, const struct entry *entry, int dir_fd)
{
    if (symlinkat(entry->target, dir_fd, entry->name) == 0)
        return 0;
    if (errno != EEXIST || unlinkat(dir_fd, entry->name, 0) < 0 ||
        symlinkat(entry->target, dir_fd, entry->name) < 0)
        return local_failure(c, entry->name);
    return 0;
}

static int out_entry(struct copy *c, const struct entry *entry, const char *guest_path, int dir_fd,
                     unsigned depth)
{
    _cleanup_free_ char *below = copy_join(guest_path, entry->name);
    if (!below)
        return cli_fail(c->cli, CLI_ERROR, "no memory");
    switch (entry->type) {
    case SESSION_FILE_REGULAR:
        return copy_out_file(c, below, dir_fd, entry->name);
    case SESSION_FILE_FOLDER:
        return copy_out_tree(c, below, dir_fd, entry->name, entry->mode, depth + 1);
    case SESSION_FILE_SYMLINK:
        return make_symlink(c, entry, dir_fd);
    case SESSION_FILE_OTHER:
        break;
    }
    harmless_text(below);
    fprintf(stderr, "envctl: %s: skipped, it is neither a file, a folder nor a link\n", below);
    c->n_skipped++;
    return 0;
}

int copy_out_tree(struct copy *c, const char *guest_path, int dir_fd, const char *name, uint32_t mode,
                  unsigned depth)
{
    struct entries entries = {0};
    if (depth > COPY_DEPTH_MAX)
        return cli_fail(c->cli, CLI_ERROR, "%s: more than %d folders deep", guest_path, COPY_DEPTH_MAX);
    if (mkdirat(dir_fd, name, 0755) < 0 && errno != EEXIST)
        return local_failure(c, name);
    // A link of that name may be from an earlier copy, and so a guest's.
    _cleanup_close_ int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return local_failure(c, name);
    int rc = list(c, guest_path, &entries);
    for (size_t i = 0; rc == 0 && i < entries.n; i++)
        rc = out_entry(c, &entries.items[i], guest_path, fd, depth);
    entries_free(&entries);
    if (rc == 0 && mode != SESSION_MODE_DEFAULT && fchmod(fd, mode & 0777) < 0)
        rc = local_failure(c, name);
    return rc;
}
