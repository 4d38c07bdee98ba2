// The measurement: one digest over all that an environment is started from. Called when a virtual machine is
// started.
//
// SHA-256 over these lines, in this order, each a netstring ("LEN:bytes,"): "envd-measurement-1", the digests
// of kernel, program and archive (empty: none), the number of arguments and each, the number of variables and
// each as KEY=value, sorted by key.
#pragma once

#include "env/documents.h"
#include "manifest/manifest.h"

// name: argv[0]. 0 or -ENOMEM.
int measure_environment(const char *kernel_digest, const char *name, const struct env_spec *spec,
                        char ret_digest[DOC_DIGEST_CAP]);
// The same of kind linux: "envd-measurement-linux-1", the digests of the image, its kernel, initrd and disk
// (empty: none), and the command line: the image's words and then the environment's.
int measure_linux(const char *image, const struct manifest *manifest, const char *cmdline,
                  char ret_digest[DOC_DIGEST_CAP]);
// The digest of a whole file. 0 or -errno.
int measure_file(int fd, char ret_digest[DOC_DIGEST_CAP]);
