// The manifest of a Linux image: which kernel, initrd and disk an environment boots, named by their digests.
// Read by envd (uploads, starts) and by envctl (build, export, import). Bytes in, a struct out; no I/O.
//
// Canonical JSON: sorted keys, no blanks, every member present, so that the same image has one digest:
//
//   {"cmdline":"…","disk":DIGEST|null,"disk_bytes":N,"envd":"linux-image-1","initrd":DIGEST|null,
//    "kernel":DIGEST,"labels":{KEY:VALUE,…}}
//
// A digest is "sha256:" and 64 lower-case hex digits. There is a disk or an initrd, or both. disk_bytes is
// the disk's size, a multiple of 4096, and 0 without one. cmdline: words added to the kernel's command line,
// printable, at most MANIFEST_CMDLINE_MAX bytes of UTF-8.
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

#define MANIFEST_FORMAT      "linux-image-1"
#define MANIFEST_MAX         65536u // bytes of JSON
#define MANIFEST_CMDLINE_MAX 2047
#define MANIFEST_LABELS_MAX  64
#define MANIFEST_LABEL_MAX   252           // bytes of a key or value
#define MANIFEST_DISK_MAX    (64ULL << 40) // bytes
#define MANIFEST_BLOCK       4096
#define MANIFEST_DIGEST_CAP  72 // "sha256:", 64 digits, NUL

enum manifest_part { MANIFEST_KERNEL, MANIFEST_INITRD, MANIFEST_DISK, MANIFEST_PARTS };

struct manifest {
    char parts[MANIFEST_PARTS][MANIFEST_DIGEST_CAP]; // empty: none
    uint64_t disk_bytes;
    char cmdline[MANIFEST_CMDLINE_MAX + 1];
    json_t *labels; // object of strings, owned
};

// "kernel", "initrd", "disk": the member, and the type of the blob behind it.
const char *manifest_part_name(enum manifest_part part);
bool manifest_digest_valid(const char *text, size_t len);

// Reads what claims to be a manifest: total, strict, and only the canonical form. 0; or -EPROTO (another
// version), -EBADMSG, -ENOMEM, with err saying what is wrong. Free with manifest_done().
int manifest_parse(const void *untrusted, size_t len, struct manifest *ret, struct err *err);
// The same for a document in memory (no need to be in canonical order).
int manifest_from_json(const json_t *untrusted, struct manifest *ret, struct err *err);
// The canonical text, the caller's to free. NULL: no memory, or not what manifest_parse() takes (err).
char *manifest_text(const struct manifest *m, struct err *err);
void manifest_done(struct manifest *m);
