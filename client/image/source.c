// Owns telling sources apart. Called by build.c.
#include "image/source.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "image/folder.h"
#include "image/layer.h"
#include "image/oci.h"

#define BYTES_DEFAULT (64ULL << 30)
#define FILES_DEFAULT 4000000

static int open_both(const struct source_limits *limits, struct tree *t, struct spool *s, struct err *err)
{
    *t = (struct tree){0};
    *s = (struct spool){.fd = -1};
    int rc = spool_open(s, limits->max_bytes ? limits->max_bytes : BYTES_DEFAULT, err);
    return rc < 0 ? rc : tree_open(t, limits->max_files ? limits->max_files : FILES_DEFAULT, err);
}

// The tree of an OCI image's own files gives way to the tree of its layers.
static int resolve_oci(struct tree *t, struct spool *s, struct err *err)
{
    struct tree layers;
    if (!oci_is_image(t))
        return 0;
    int rc = tree_open(&layers, t->max_nodes, err);
    if (rc == 0)
        rc = oci_read(t, s, &layers, err);
    tree_close(t);
    *t = layers;
    return rc;
}

// libarchive takes names for text of the locale: with this one they are the bytes that they are.
static int read_archive(struct archive *a, struct tree *t, struct spool *s, struct err *err)
{
    locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    locale_t before = uselocale(utf8);
    int rc = layer_read(a, false, t, s, err);
    archive_read_free(a);
    if (rc == 0)
        rc = resolve_oci(t, s, err);
    uselocale(before);
    if (utf8)
        freelocale(utf8);
    return rc;
}

int source_read(const char *path, const struct source_limits *limits, struct tree *t, struct spool *s,
                struct err *err)
{
    struct stat st;
    struct archive *a;
    int rc = open_both(limits, t, s, err);
    if (rc < 0)
        return rc;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_errno(err, -errno, "open %s", path);
    if (S_ISDIR(st.st_mode)) {
        rc = folder_read(path, t, s, err);
        if (rc == 0)
            rc = resolve_oci(t, s, err);
        return rc;
    }
    rc = layer_open_fd(fd, &a, err);
    if (rc == 0)
        rc = read_archive(a, t, s, err);
    return rc < 0 ? err_wrap(err, rc, "%s", path) : 0;
}

int source_read_memory(const void *data, size_t len, const struct source_limits *limits, struct tree *t,
                       struct spool *s, struct err *err)
{
    struct archive *a;
    int rc = open_both(limits, t, s, err);
    if (rc == 0)
        rc = layer_open_memory(data, len, &a, err);
    return rc < 0 ? rc : read_archive(a, t, s, err);
}
