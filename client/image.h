// Images on the client's side: content addressed, uploaded only when envd does not have them.
#pragma once

#include "cli.h"

#define IMAGE_DIGEST_CAP 72 // "sha256:" and 64 digits

// Uploads the file's bytes unless envd has them. 0 with the digest in out, or an exit code.
int image_put_file(struct cli *cli, const char *path, char out[IMAGE_DIGEST_CAP]);
// The same for the files of a folder, packed as a cpio archive (newc); a path that is no folder is taken for
// an archive.
int image_put_files(struct cli *cli, const char *path, char out[IMAGE_DIGEST_CAP]);
