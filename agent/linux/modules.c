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

#include "common/cleanup.h"
#include "common/io.h"

#define INIT_COMPRESSED 4 // MODULE_INIT_COMPRESSED_FILE, linux/module.h since 5.17
#define DEP_MAX         (8u << 20)

void modules_init(struct modules *m, const char *root)
{
    struct utsname u;
    char path[300];
    struct stat st;
    *m = (struct modules){0};
    if (uname(&u) < 0)
        return;
    snprintf(m->folder, sizeof m->folder, "%s/lib/modules/%s", root, u.release);
    snprintf(path, sizeof path, "%s/modules.dep", m->folder);
    if (stat(path, &st) < 0 || st.st_size <= 0 || st.st_size > DEP_MAX)
        return;
    char *dep = malloc((size_t)st.st_size + 1);
    ssize_t n = dep ? io_read_file(path, dep, (size_t)st.st_size) : -1;
    if (n < 0) {
        free(dep);
        return;
    }
    dep[n] = '\0';
    m->dep = dep;
}

void modules_done(struct modules *m)
{
    free(m->dep);
    m->dep = NULL;
}

// True when the path's last part is name.ko or name.ko.*, - and _ being the same.
static bool is_module(const char *path, size_t len, const char *name)
{
    size_t at = len;
    while (at > 0 && path[at - 1] != '/')
        at--;
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
        if (path_len < len && is_module(dep, path_len, name))
            return split_line(dep, len, paths);
        dep += len + (dep[len] == '\n');
    }
    return 0;
}

static int load_file(const struct modules *m, const char *path, struct err *err)
{
    char full[600];
    size_t len = strlen(path);
    snprintf(full, sizeof full, "%s/%s", m->folder, path);
    _cleanup_close_ int fd = open(full, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, -errno, "open %s", full);
    int flags = len > 3 && strcmp(path + len - 3, ".ko") == 0 ? 0 : INIT_COMPRESSED;
    if (syscall(SYS_finit_module, fd, "", flags) < 0 && errno != EEXIST)
        return err_errno(err, -errno, "load %s", path);
    return 0;
}

int modules_load(const struct modules *m, const char *name, struct err *err)
{
    static char paths[MODULES_DEPENDENCIES_MAX][256];
    size_t n = m->dep ? modules_find(m->dep, name, paths) : 0;
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = load_file(m, paths[i], err);
    return rc;
}
