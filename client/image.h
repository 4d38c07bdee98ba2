// Images on the client's side: content addressed, uploaded only when envd does not have them.
#pragma once

#include "cli.h"
#include "image/linux_image.h"

#define IMAGE_DIGEST_CAP 72 // "sha256:" and 64 digits

// Whether envd has the image and its bytes; bytes that it lost, or found to be others, are to be uploaded
// again.
int image_exists(struct cli *cli, const char *digest, bool *ret_exists);
// Uploads the file's bytes unless envd has them. 0 with the digest in out, or an exit code.
int image_put_file(struct cli *cli, const char *path, char out[IMAGE_DIGEST_CAP]);
// The same for the files of a folder, packed as a cpio archive (newc); a path that is no folder is taken for
// an archive.
int image_put_files(struct cli *cli, const char *path, char out[IMAGE_DIGEST_CAP]);

// A whole Linux image: the parts that envd does not have, then the manifest, under a name (NULL: none). Parts
// without a file must be there. 0 with the image's digest in out, or an exit code.
int image_put_linux(struct cli *cli, const struct linux_image *image, const char *name,
                    char out[IMAGE_DIGEST_CAP]);
// The digest of the image that text names: a digest, or a name, which must be one image's. 0 or an exit code.
int image_resolve(struct cli *cli, const char *text, char out[IMAGE_DIGEST_CAP]);
// The manifest of the Linux image digest; free with manifest_done().
int image_get_manifest(struct cli *cli, const char *digest, struct manifest *ret);
// Downloads the parts (and the manifest) into unlinked temporary files, holes kept, digests verified. parts:
// a bit for each part that is wanted. Free with linux_image_done() (also after a failure).
int image_get_parts(struct cli *cli, const char *digest, unsigned parts, struct linux_image *ret);
