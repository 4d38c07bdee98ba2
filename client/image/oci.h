// OCI images (image-spec 1.0, as an archive or a layout folder) and what docker save writes.
#pragma once

#include "image/tree.h"

// Whether the tree is one of these, and not a root file system.
bool oci_is_image(const struct tree *files);
// Puts the layers of the linux/amd64 image in files together into *t (opened, empty). The digest of every
// blob is verified before it is looked at. s holds the contents of both trees.
int oci_read(const struct tree *files, struct spool *s, struct tree *t, struct err *err);
