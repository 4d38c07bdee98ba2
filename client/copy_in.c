// Owns copying into a guest. Called by the verb cp. Links on this host are copied as links.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "copy.h"

static int send_content(struct copy *c, struct channel *channel, int fd, uint64_t size,
                        const char *guest_path, EVP_MD_CTX *digest, uint8_t *data)
{
    uint64_t done = 0;
    int rc = 0;
    while (rc == 0 && done < size) {
        size_t want = size - done < SESSION_PAYLOAD_MAX ? (size_t)(size - done) : SESSION_PAYLOAD_MAX;
        ssize_t n = read(fd, data, want);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return cli_fail(c->cli, CLI_ERROR, "read what becomes %s: %s", guest_path,
                            n < 0 ? strerror(errno) : "the file has become shorter");
        EVP_DigestUpdate(digest, data, (size_t)n);
        rc = channel_push(c->cli, channel, guest_path,
                          &(struct session_frame){.type = SESSION_DATA, .data = {data, (size_t)n}});
        done += (uint64_t)n;
        copy_progress(c, guest_path, done, size);
    }
    return rc;
}

static int put(struct copy *c, struct channel *channel, int fd, uint64_t size, const char *guest_path)
{
    struct session_frame f, end = {.type = SESSION_END};
    _cleanup_free_ uint8_t *data = malloc(SESSION_PAYLOAD_MAX);
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    int rc = data && digest && EVP_DigestInit_ex(digest, EVP_sha256(), NULL) == 1
                 ? channel_expect(c->cli, channel, guest_path, &f) // STARTED
                 : cli_fail(c->cli, CLI_ERROR, "no memory");
    if (rc == 0)
        rc = send_content(c, channel, fd, size, guest_path, digest, data);
    if (rc == 0 && EVP_DigestFinal_ex(digest, end.sha256, NULL) != 1)
        rc = cli_fail(c->cli, CLI_ERROR, "no memory");
    EVP_MD_CTX_free(digest);
    if (rc == 0)
        rc = channel_push(c->cli, channel, guest_path, &end);
    while (rc == 0 && f.type != SESSION_END)
        rc = channel_expect(c->cli, channel, guest_path, &f);
    return rc;
}

int copy_in_file(struct copy *c, int fd, uint64_t size, mode_t mode, uint64_t mtime_ns,
                 const char *guest_path)
{
    struct channel *channel;
    json_t *body = json_pack("{s:i, s:I, s:I}", "mode", (int)(mode & 07777), "size", (json_int_t)size,
                             "mtime_ns", (json_int_t)mtime_ns);
    int rc = copy_begin(c, "put", guest_path, body, &channel);
    if (rc != 0)
        return rc;
    rc = put(c, channel, fd, size, guest_path);
    copy_progress_done(c);
    channel_free(channel);
    return rc;
}

static int local_failure(struct copy *c, const char *name)
{
    return cli_fail(c->cli, errno == ENOENT ? CLI_NOT_FOUND : CLI_ERROR, "%s: %s", name, strerror(errno));
}

static int in_regular(struct copy *c, int dir_fd, const char *name, const char *guest_path)
{
    struct stat st;
    _cleanup_close_ int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) < 0)
        return local_failure(c, name);
    uint64_t mtime_ns =
        st.st_mtim.tv_sec > 0 ? (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec : 0;
    return copy_in_file(c, fd, (uint64_t)st.st_size, st.st_mode, mtime_ns, guest_path);
}

static int in_symlink(struct copy *c, int dir_fd, const char *name, const char *guest_path)
{
    char target[SESSION_PATH_MAX + 1];
    ssize_t n = readlinkat(dir_fd, name, target, sizeof target);
    if (n <= 0 || (size_t)n == sizeof target)
        return local_failure(c, name);
    target[n] = '\0';
    json_t *text = json_string(target);
    if (!text)
        return cli_fail(c->cli, CLI_ERROR, "%s: the link's target is not UTF-8", name);
    return copy_step(c, "symlink", guest_path, json_pack("{s:o}", "target", text));
}

static int in_entries(struct copy *c, DIR *dir, const char *guest_path, unsigned depth)
{
    int rc = 0;
    struct dirent *entry;
    while (rc == 0 && (errno = 0, entry = readdir(dir))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        _cleanup_free_ char *below = copy_join(guest_path, entry->d_name);
        rc = below ? copy_in_tree(c, dirfd(dir), entry->d_name, below, depth + 1)
                   : cli_fail(c->cli, CLI_ERROR, "no memory");
    }
    return rc;
}

static int in_folder(struct copy *c, int dir_fd, const char *name, mode_t mode, const char *guest_path,
                     unsigned depth)
{
    if (depth > COPY_DEPTH_MAX)
        return cli_fail(c->cli, CLI_ERROR, "%s: more than %d folders deep", guest_path, COPY_DEPTH_MAX);
    int rc = copy_step(c, "mkdir", guest_path, json_pack("{s:i}", "mode", (int)(mode & 07777)));
    if (rc != 0)
        return rc;
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        rc = local_failure(c, name);
        if (fd >= 0)
            close(fd);
        return rc;
    }
    rc = in_entries(c, dir, guest_path, depth);
    closedir(dir);
    return rc;
}

int copy_in_tree(struct copy *c, int dir_fd, const char *name, const char *guest_path, unsigned depth)
{
    struct stat st;
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return local_failure(c, name);
    if (S_ISDIR(st.st_mode))
        return in_folder(c, dir_fd, name, st.st_mode, guest_path, depth);
    if (S_ISREG(st.st_mode))
        return in_regular(c, dir_fd, name, guest_path);
    if (S_ISLNK(st.st_mode))
        return in_symlink(c, dir_fd, name, guest_path);
    fprintf(stderr, "envctl: %s: skipped, it is neither a file, a folder nor a link\n", name);
    c->n_skipped++;
    return 0;
}
