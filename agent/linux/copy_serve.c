// See copy_serve.h. A file that comes in is written beside its place under a name of its own, flushed, and
// moved there: whoever looks sees the old file or the new one. Nothing is left behind by a copy that fails.
#include "copy_serve.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/checked.h"
#include "common/cleanup.h"
#include "common/io.h"
#include "common/sha256.h"

struct copy {
    int fd;
    const struct session_copy *c;
    char path[PATH_MAX];
    const uint8_t *behind;
    size_t n_behind;
    uint8_t in[SESSION_PAYLOAD_MAX];
    uint8_t out[SESSION_HEADER_LEN + SESSION_PAYLOAD_MAX];
};

// The file that is being written, removed by on_terminate(); empty: none.
static char partial[PATH_MAX];

static void on_terminate(int signal_number)
{
    (void)signal_number;
    if (partial[0])
        unlink(partial);
    _exit(1);
}

// ---- frames ----

static int say(struct copy *k, const struct session_frame *f)
{
    struct wire_writer w;
    wire_writer_init(&w, k->out, sizeof k->out);
    session_frame_write(&w, f);
    return w.overflow ? -EMSGSIZE : io_write_all(k->fd, k->out, w.pos);
}

__attribute__((format(printf, 3, 4))) static int refuse(struct copy *k, enum session_error code,
                                                        const char *format, ...)
{
    char text[SESSION_ERROR_MAX + 1];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (!wire_utf8_valid(text, strlen(text)))
        for (char *p = text; *p; p++)
            *p = (unsigned char)*p < 0x80 ? *p : '?';
    say(k, &(struct session_frame){.type = SESSION_ERROR,
                                   .error = {.code = code, .text = {(const uint8_t *)text, strlen(text)}}});
    return 1;
}

static int refuse_errno(struct copy *k, int error, const char *what)
{
    static const struct {
        int error;
        enum session_error code;
        const char *hint;
    } meanings[] = {
        {ENOENT, SESSION_ERROR_NOT_FOUND, "see the path, and that its folder is there"},
        {ENOTDIR, SESSION_ERROR_NOT_FOLDER, "a part of the path is no folder"},
        {EISDIR, SESSION_ERROR_IS_FOLDER, "give a file's path"},
        {ENOSPC, SESSION_ERROR_NO_SPACE, "make room in the guest; nothing was left behind"},
        {EDQUOT, SESSION_ERROR_NO_SPACE, "the guest's quota is used up; nothing was left behind"},
        {EFBIG, SESSION_ERROR_NO_SPACE, "the guest's file system takes no file of that size"},
        {EROFS, SESSION_ERROR_READ_ONLY, "the guest's file system is read-only there"},
        {EACCES, SESSION_ERROR_DENIED, "the agent may not"},
        {EPERM, SESSION_ERROR_DENIED, "the agent may not"},
        {EEXIST, SESSION_ERROR_EXISTS, "something else is there"},
        {ELOOP, SESSION_ERROR_NOT_FOUND, "too many links"},
        {0, SESSION_ERROR_IO, "see the guest's kernel log"},
    };
    size_t i = 0;
    while (meanings[i].error && meanings[i].error != error)
        i++;
    return refuse(k, meanings[i].code, "%s %s: %s (%s)", what, k->path, strerror(error), meanings[i].hint);
}

static int say_end(struct copy *k, const uint8_t *sha256)
{
    struct session_frame f = {.type = SESSION_END};
    if (sha256)
        memcpy(f.sha256, sha256, sizeof f.sha256);
    return say(k, &f) < 0 ? 1 : 0;
}

static bool read_exactly(struct copy *k, uint8_t *out, size_t n)
{
    while (n > 0) {
        ssize_t got;
        if (k->n_behind > 0) {
            got = (ssize_t)(n < k->n_behind ? n : k->n_behind);
            memcpy(out, k->behind, (size_t)got);
            k->behind += got;
            k->n_behind -= (size_t)got;
        } else {
            got = read(k->fd, out, n);
        }
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        out += got;
        n -= (size_t)got;
    }
    return true;
}

// The client's next frame: DATA or END. False: it is gone, or ERROR was said.
static bool next_frame(struct copy *k, struct session_frame *f)
{
    uint8_t raw[SESSION_HEADER_LEN];
    struct session_header h;
    struct wire_error error;
    if (!read_exactly(k, raw, sizeof raw))
        return false;
    const char *what = session_header_read(raw, &h);
    if (!what && h.type != SESSION_DATA && h.type != SESSION_END)
        what = "neither DATA nor END";
    if (!what && !read_exactly(k, k->in, h.len_bytes))
        return false;
    if (!what && !session_frame_read(&h, k->in, f, &error))
        what = error.what;
    if (what)
        refuse(k, SESSION_ERROR_PROTOCOL, "malformed frame: %s", what);
    return !what;
}

// ---- in ----

struct incoming {
    int fd;
    char target[PATH_MAX]; // what a link at the path leads to, or the path
    bool replaces;
    struct stat old;
};

// 0 or 1 after ERROR.
static int look_at_target(struct copy *k, struct incoming *in)
{
    if (!realpath(k->path, in->target)) {
        if (errno != ENOENT)
            return refuse_errno(k, errno, "write");
        snprintf(in->target, sizeof in->target, "%s", k->path);
        return 0;
    }
    if (stat(in->target, &in->old) < 0)
        return refuse_errno(k, errno, "write");
    if (S_ISDIR(in->old.st_mode))
        return refuse_errno(k, EISDIR, "write");
    if (!S_ISREG(in->old.st_mode))
        return refuse(k, SESSION_ERROR_NOT_FILE, "write %s: a device, socket or pipe is there", k->path);
    in->replaces = true;
    return 0;
}

// In the target's folder, where a rename is atomic.
static int open_partial(struct copy *k, struct incoming *in)
{
    const char *slash = strrchr(in->target, '/');
    int folder_len = slash ? (int)(slash - in->target) + 1 : 0;
    int len = snprintf(partial, sizeof partial, "%.*s.envagent-XXXXXX", folder_len, in->target);
    if (len >= (int)sizeof partial) {
        partial[0] = '\0';
        return refuse_errno(k, ENAMETOOLONG, "write");
    }
    in->fd = mkostemp(partial, O_CLOEXEC);
    if (in->fd >= 0)
        return 0;
    int error = errno;
    partial[0] = '\0';
    return refuse_errno(k, error, "write");
}

// Room for all of it, so that a disk that is too small is said at once.
static int reserve(struct copy *k, struct incoming *in)
{
    if (k->c->size > INT64_MAX)
        return refuse_errno(k, EFBIG, "write");
    if (k->c->size == 0 || fallocate(in->fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)k->c->size) == 0)
        return 0;
    return errno == ENOSPC || errno == EFBIG || errno == EDQUOT ? refuse_errno(k, errno, "write") : 0;
}

static int receive(struct copy *k, struct incoming *in, uint8_t digest[SHA256_LEN])
{
    struct session_frame f;
    struct sha256 sum;
    uint64_t total = 0;
    sha256_init(&sum);
    for (;;) {
        if (!next_frame(k, &f))
            return 1;
        if (f.type == SESSION_END)
            break;
        total += f.data.len;
        if (total > k->c->size)
            return refuse(k, SESSION_ERROR_INTEGRITY, "write %s: more came than was announced", k->path);
        sha256_add(&sum, f.data.data, f.data.len);
        int rc = io_write_all(in->fd, f.data.data, f.data.len);
        if (rc < 0)
            return refuse_errno(k, -rc, "write");
    }
    sha256_end(&sum, digest);
    if (total < k->c->size || memcmp(digest, f.sha256, SHA256_LEN) != 0)
        return refuse(k, SESSION_ERROR_INTEGRITY, "write %s: what came is not what was sent; try again",
                      k->path);
    return 0;
}

// Owner first: chown takes set-user-id bits away.
static int set_attributes(const struct copy *k, const struct incoming *in)
{
    const struct session_copy *c = k->c;
    uid_t uid = c->uid != SESSION_OWNER_DEFAULT ? c->uid : in->replaces ? in->old.st_uid : geteuid();
    gid_t gid = c->gid != SESSION_OWNER_DEFAULT ? c->gid : in->replaces ? in->old.st_gid : getegid();
    mode_t mode = c->mode != SESSION_MODE_DEFAULT ? c->mode : in->replaces ? in->old.st_mode & 07777 : 0644;
    const struct timespec times[2] = {
        {.tv_nsec = UTIME_NOW},
        {.tv_sec = (time_t)(c->mtime_ns / 1000000000u), .tv_nsec = (long)(c->mtime_ns % 1000000000u)}};
    if (fchown(in->fd, uid, gid) < 0 || fchmod(in->fd, mode) < 0)
        return -errno;
    if (c->mtime_ns != SESSION_MTIME_NOW && futimens(in->fd, times) < 0)
        return -errno;
    return 0;
}

static void sync_folder(const char *path)
{
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (!slash)
        return;
    slash[slash == folder ? 1 : 0] = '\0';
    _cleanup_close_ int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0)
        fsync(fd); // a file system that cannot do this has nothing to promise
}

static int put_in_place(struct copy *k, struct incoming *in)
{
    int rc = set_attributes(k, in);
    if (rc == 0 && fsync(in->fd) < 0)
        rc = -errno;
    if (rc == 0 && rename(partial, in->target) < 0)
        rc = -errno;
    if (rc < 0)
        return refuse_errno(k, -rc, "write");
    partial[0] = '\0';
    sync_folder(in->target);
    return 0;
}

static int serve_put(struct copy *k)
{
    uint8_t digest[SHA256_LEN];
    struct incoming in = {.fd = -1};
    int rc = look_at_target(k, &in);
    if (rc == 0)
        rc = open_partial(k, &in);
    if (rc == 0)
        rc = reserve(k, &in);
    if (rc == 0)
        rc = say(k, &(struct session_frame){.type = SESSION_STARTED}) < 0;
    if (rc == 0)
        rc = receive(k, &in, digest);
    if (rc == 0)
        rc = put_in_place(k, &in);
    if (partial[0])
        unlink(partial);
    partial[0] = '\0';
    if (in.fd >= 0)
        close(in.fd);
    return rc == 0 ? say_end(k, digest) : 1;
}

// ---- out ----

static enum session_file_type type_of(mode_t mode)
{
    if (S_ISREG(mode))
        return SESSION_FILE_REGULAR;
    if (S_ISDIR(mode))
        return SESSION_FILE_FOLDER;
    return S_ISLNK(mode) ? SESSION_FILE_SYMLINK : SESSION_FILE_OTHER;
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

// link: where the entry itself is, for its target; NULL when it cannot be a link.
static int say_stat(struct copy *k, const char *name, const struct stat *st, const char *link)
{
    char target[SESSION_PATH_MAX + 1];
    ssize_t n = link && S_ISLNK(st->st_mode) ? readlink(link, target, sizeof target - 1) : 0;
    uint64_t mtime_ns = st->st_mtim.tv_sec < 0
                            ? 0
                            : (uint64_t)st->st_mtim.tv_sec * 1000000000u + (uint64_t)st->st_mtim.tv_nsec;
    struct session_frame f = {.type = SESSION_STAT,
                              .stat = {.type = type_of(st->st_mode),
                                       .mode = st->st_mode & 07777,
                                       .uid = st->st_uid,
                                       .gid = st->st_gid,
                                       .size = (uint64_t)st->st_size,
                                       .mtime_ns = mtime_ns,
                                       .name = {(const uint8_t *)name, strlen(name)},
                                       .target = {(const uint8_t *)target, n > 0 ? (size_t)n : 0}}};
    return say(k, &f) < 0 ? 1 : 0;
}

// Until the end, whatever the size was: a log grows, and files of /proc have none.
static int send_content(struct copy *k, int fd)
{
    uint8_t digest[SHA256_LEN];
    struct sha256 sum;
    ssize_t n;
    sha256_init(&sum);
    while ((n = read(fd, k->in, sizeof k->in)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return refuse_errno(k, errno, "read");
        sha256_add(&sum, k->in, (size_t)n);
        if (say(k, &(struct session_frame){.type = SESSION_DATA, .data = {k->in, (size_t)n}}) < 0)
            return 1;
    }
    sha256_end(&sum, digest);
    return say_end(k, digest);
}

static int serve_get(struct copy *k)
{
    struct stat st;
    // Not blocking: opening a pipe would wait for its writer.
    _cleanup_close_ int fd = open(k->path, O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return refuse_errno(k, errno, "read");
    if (S_ISDIR(st.st_mode))
        return refuse_errno(k, EISDIR, "read");
    if (!S_ISREG(st.st_mode))
        return refuse(k, SESSION_ERROR_NOT_FILE, "read %s: a device, socket or pipe", k->path);
    return say_stat(k, last_part(k->path), &st, NULL) == 0 ? send_content(k, fd) : 1;
}

static int serve_stat(struct copy *k)
{
    struct stat st;
    if (lstat(k->path, &st) < 0)
        return refuse_errno(k, errno, "look at");
    return say_stat(k, last_part(k->path), &st, k->path) == 0 ? say_end(k, NULL) : 1;
}

static void cleanup_closedir(DIR **folder)
{
    if (*folder)
        closedir(*folder);
}

static int serve_list(struct copy *k)
{
    char path[PATH_MAX];
    struct stat st;
    __attribute__((cleanup(cleanup_closedir))) DIR *folder = opendir(k->path);
    if (!folder)
        return errno == ENOTDIR ? serve_stat(k) : refuse_errno(k, errno, "list");
    for (struct dirent *e; (e = readdir(folder)) != NULL;) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (snprintf(path, sizeof path, "%s/%s", k->path, e->d_name) >= (int)sizeof path ||
            lstat(path, &st) < 0)
            continue; // it went away meanwhile
        if (say_stat(k, e->d_name, &st, path) != 0)
            return 1;
    }
    return say_end(k, NULL);
}

// ---- folders, links ----

static int serve_mkdir(struct copy *k)
{
    const struct session_copy *c = k->c;
    struct stat st;
    bool made = mkdir(k->path, 0700) == 0;
    if (!made && (errno != EEXIST || stat(k->path, &st) < 0))
        return refuse_errno(k, errno, "make folder");
    if (!made && !S_ISDIR(st.st_mode))
        return refuse_errno(k, EEXIST, "make folder");
    uid_t uid = c->uid != SESSION_OWNER_DEFAULT ? c->uid : (uid_t)-1;
    gid_t gid = c->gid != SESSION_OWNER_DEFAULT ? c->gid : (gid_t)-1;
    bool set_mode = made || c->mode != SESSION_MODE_DEFAULT;
    if (chown(k->path, uid, gid) < 0 ||
        (set_mode && chmod(k->path, c->mode != SESSION_MODE_DEFAULT ? c->mode : 0755) < 0))
        return refuse_errno(k, errno, "make folder");
    return say_end(k, NULL);
}

// A link that is there is replaced, anything else is not.
static int serve_symlink(struct copy *k)
{
    char target[SESSION_PATH_MAX + 1];
    struct stat st;
    wire_view_to_cstr(k->c->target, target, sizeof target);
    if (lstat(k->path, &st) == 0 && S_ISLNK(st.st_mode))
        unlink(k->path);
    uid_t uid = k->c->uid != SESSION_OWNER_DEFAULT ? k->c->uid : (uid_t)-1;
    gid_t gid = k->c->gid != SESSION_OWNER_DEFAULT ? k->c->gid : (gid_t)-1;
    if (symlink(target, k->path) < 0 || lchown(k->path, uid, gid) < 0)
        return refuse_errno(k, errno, "make link");
    return say_end(k, NULL);
}

int copy_serve(int fd, const struct session_copy *c, const uint8_t *behind, size_t n_behind)
{
    static int (*const serve[SESSION_COPY_OP_COUNT])(struct copy *) = {
        [SESSION_COPY_PUT] = serve_put,         [SESSION_COPY_GET] = serve_get,
        [SESSION_COPY_LIST] = serve_list,       [SESSION_COPY_MKDIR] = serve_mkdir,
        [SESSION_COPY_SYMLINK] = serve_symlink, [SESSION_COPY_STAT] = serve_stat,
    };
    static struct copy k; // large
    k = (struct copy){.fd = fd, .c = c, .behind = behind, .n_behind = n_behind};
    signal(SIGTERM, on_terminate);
    bool absolute = c->path.data[0] == '/';
    int len = snprintf(k.path, sizeof k.path, "%s%.*s", absolute ? "" : "/", (int)c->path.len,
                       (const char *)c->path.data);
    if (len >= (int)sizeof k.path)
        return refuse_errno(&k, ENAMETOOLONG, "copy");
    while (len > 1 && k.path[len - 1] == '/') // "folder/" is the folder
        k.path[--len] = '\0';
    return serve[c->op](&k);
}
