// A Linux image as one file, to be carried elsewhere: a tar with manifest.json, then blobs/sha256/HEX for
// each part. Holes stay holes. The same image gives the same bytes.
#pragma once

#include "image/linux_image.h"

// Writes it; every part that the manifest names needs its file.
int bundle_write(const struct linux_image *image, int fd, struct err *err);
// Reads one from fd (a pipe is fine), in any compression that libarchive itself knows. Digests are verified;
// what the manifest does not name is refused; max_bytes bounds each part. Free with linux_image_done().
int bundle_read(int fd, uint64_t max_bytes, struct linux_image *ret, struct err *err);
int bundle_read_memory(const void *data, size_t len, uint64_t max_bytes, struct linux_image *ret,
                       struct err *err); // for tests
