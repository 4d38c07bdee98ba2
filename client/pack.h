// A folder as a cpio archive (newc), the form in which a cell gets its read-only files.
#pragma once

#include "common/err.h"

// Writes the archive of everything below path to fd. Deterministic: entries sorted by name, no owners, no
// times, so that the same files have the same digest. Regular files, folders and symbolic links; anything
// else is refused. 0 or -errno.
int pack_folder(const char *path, int fd, struct err *err);
