// See modules.h. modules.dep(5): "path: dependency dependency…", what is to be loaded first being last.
#include "modules.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "common/checked.h"
#include "common/cleanup.h"
#include "common/io.h"

#define INIT_COMPRESSED 4 // MODULE_INIT_COMPRESSED_FILE, linux/module.h since 5.17
#define TEXT_MAX        (8 << 20)

// The whole file as a string, or NULL.
static char *read_text(const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0 || st.st_size <= 0 || st.st_size > TEXT_MAX)
        return NULL;
    char *text = malloc((size_t)st.st_size + 1);
    ssize_t n = text ? io_read_file(path, text, (size_t)st.st_size) : -1;
    if (n < 0) {
        free(text);
        return NULL;
    }
    text[n] = '\0';
    return text;
}

void modules_init(struct modules *m, const char *root)
{
    struct utsname u;
    char path[300];
    *m = (struct modules){0};
    snprintf(path, sizeof path, "%s/modules/order", root);
    m->order = read_text(path);
    if (uname(&u) < 0)
        return;
    snprintf(m->folder, sizeof m->folder, "%s/lib/modules/%s", root, u.release);
    snprintf(path, sizeof path, "%s/modules.dep", m->folder);
    m->dep = read_text(path);
}

void modules_done(struct modules *m)
{
    free(m->dep);
    free(m->order);
    m->dep = m->order = NULL;
}

bool modules_match(const char *path, size_t len, const char *name)
{
    size_t at = len;
    while (at > 0 && path[at - 1] != '/')
        at--;
    if (len - at > 3 && path[at + 2] == '-' && path[at] >= '0' && path[at] <= '9')
        at += 3; // its place in a list
    for (; *name; name++, at++) {
        if (at >= len)
            return false;
        char a = path[at] == '-' ? '_' : path[at], b = *name == '-' ? '_' : *name;
        if (a != b)
            return false;
    }
    return len - at >= 3 && strncmp(path + at, ".ko", 3) == 0 && (len - at == 3 || path[at + 3] == '.');
}

static size_t split_line(const char *line, size_t len, char paths[MODULES_DEPENDENCIES_MAX][256])
{
    size_t n = 0;
    for (size_t i = 0; i < len && n < MODULES_DEPENDENCIES_MAX;) {
        size_t end = i;
        while (end < len && line[end] != ' ' && line[end] != ':')
            end++;
        if (end > i && end - i < 256) {
            memcpy(paths[n], line + i, end - i);
            paths[n++][end - i] = '\0';
        }
        i = end + 1;
    }
    for (size_t i = 0; i < n / 2; i++) { // last first
        char swap[256];
        memcpy(swap, paths[i], sizeof swap);
        memcpy(paths[i], paths[n - 1 - i], sizeof swap);
        memcpy(paths[n - 1 - i], swap, sizeof swap);
    }
    return n;
}

size_t modules_find(const char *dep, const char *name, char paths[MODULES_DEPENDENCIES_MAX][256])
{
    while (*dep) {
        size_t len = strcspn(dep, "\n"), path_len = strcspn(dep, ":\n");
        if (path_len < len && modules_match(dep, path_len, name))
            return split_line(dep, len, paths);
        dep += len + (dep[len] == '\n');
    }
    return 0;
}

static int load_file(const char *path, struct err *err)
{
    size_t len = strlen(path);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, -errno, "open %s", path);
    int flags = len > 3 && strcmp(path + len - 3, ".ko") == 0 ? 0 : INIT_COMPRESSED;
    if (syscall(SYS_finit_module, fd, "", flags) < 0 && errno != EEXIST)
        return err_errno(err, -errno, "load %s", path);
    return 0;
}

static bool is_for_later(const char *path, size_t len)
{
    // What nothing needs to reach the host.
    static const char *const later[] = {"virtio_net",     "virtio_blk", "virtio_console",
                                        "virtio_balloon", "virtio_rng", "ext4"};
    for (size_t i = 0; i < ARRAY_LEN(later); i++)
        if (modules_match(path, len, later[i]))
            return true;
    return false;
}

// The list up to a module, or all of it (name NULL).
static int load_listed(const char *order, const char *name, struct err *err)
{
    int rc = 0;
    for (size_t len; *order; order += len + (order[len] == '\n')) {
        char path[512];
        len = strcspn(order, "\n");
        bool found = name && modules_match(order, len, name);
        if (len == 0 || len >= sizeof path || (name && !found && is_for_later(order, len)))
            continue;
        memcpy(path, order, len);
        path[len] = '\0';
        int load_rc = load_file(path, err);
        rc = load_rc < 0 ? load_rc : rc;
        if (found)
            break;
    }
    return rc;
}

static bool is_listed(const char *order, const char *name)
{
    for (size_t len; *order; order += len + (order[len] == '\n')) {
        len = strcspn(order, "\n");
        if (modules_match(order, len, name))
            return true;
    }
    return false;
}

int modules_load(const struct modules *m, const char *name, struct err *err)
{
    static char paths[MODULES_DEPENDENCIES_MAX][256];
    char full[sizeof m->folder + sizeof paths[0]];
    if (m->order)
        return is_listed(m->order, name) ? load_listed(m->order, name, err) : 0;
    size_t n = m->dep ? modules_find(m->dep, name, paths) : 0;
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        snprintf(full, sizeof full, "%s/%s", m->folder, paths[i]);
        rc = load_file(full, err);
    }
    return rc;
}

int modules_load_rest(const struct modules *m, struct err *err)
{
    return m->order ? load_listed(m->order, NULL, err) : 0;
}
