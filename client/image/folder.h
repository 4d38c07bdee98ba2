// A folder of the host into a tree.
#pragma once

#include "image/tree.h"

// Reads everything below path, which stays on its file system (what is mounted there is left out). Hard links
// stay links; sockets are left out. Owners are kept; but a builder who is not root, and so can have made
// files only as themselves, means root by them.
int folder_read(const char *path, struct tree *t, struct spool *s, struct err *err);
