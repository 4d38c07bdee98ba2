// Archives (tar in any compression that libarchive itself knows) into a tree.
#pragma once

#include <archive.h>

#include "image/tree.h"

// Opens an archive: a descriptor (read from where it stands; the caller's), a content of the spool, or memory
// (the caller's). 0 and *ret, to be freed with archive_read_free().
int layer_open_fd(int fd, struct archive **ret, struct err *err);
int layer_open_memory(const void *data, size_t len, struct archive **ret, struct err *err);
// range and s outlive the archive.
int layer_open_range(const struct spool *s, const struct spool_range *range, struct archive **ret,
                     struct err *err);
// Reads all of a. whiteouts: names that begin with .wh. hide what earlier layers have (OCI image-spec,
// layer). -EBADMSG: the archive is damaged or has what no file system can hold; err names the path.
int layer_read(struct archive *a, bool whiteouts, struct tree *t, struct spool *s, struct err *err);
