// What an image is built from: a folder, a tar, an OCI image, told apart by looking.
#pragma once

#include "image/tree.h"

struct source_limits {
    uint64_t max_bytes; // of all files together; 0: 64 GiB
    uint64_t max_files; // 0: 4 million
};

// Reads path into *t and *s; both are opened here, and the caller closes them (also after a failure).
int source_read(const char *path, const struct source_limits *limits, struct tree *t, struct spool *s,
                struct err *err);
// The same for an archive in memory: for tests.
int source_read_memory(const void *data, size_t len, const struct source_limits *limits, struct tree *t,
                       struct spool *s, struct err *err);
