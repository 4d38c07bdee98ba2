// The disks of environments, as files of the host:
//
//   STATE/disks/UID/root.overlay             what an environment has written over its image's disk
//   STATE/volumes/TENANT/NAME/VOLUME.raw     a volume, sparse
//
// Made durably before the first start, kept over stops and starts, removed with their environment. Everything
// here is blocking file work: for a thread of its own. Called by disk_work.c; knows no states, no store.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "env/spec.h"
#include "proto/name.h"

#define DISKS_FDS_MAX  (1 + SPEC_VOLUMES_MAX)
#define DISKS_ID_BYTES 32

// Whose disks: strings are the caller's.
struct disks_owner {
    const char *state; // the state folder
    const char *tenant, *name, *uid;
};

struct disks_root {
    int base_fd;                     // -1: there is no root disk
    uint8_t base_id[DISKS_ID_BYTES]; // the digest of the image's disk
    uint64_t bytes;                  // 0: as large as the base
};

// Opens the overlay (if there is a base) and then each volume for reading and writing; makes those that are
// missing. 0 and the descriptors, the caller's, in *ret_n; or -errno (-ENOSPC, -EDQUOT: the disk is full)
// with nothing open.
int disks_open(const struct disks_owner *owner, const struct disks_root *root,
               const struct env_volume *volumes, size_t n_volumes, int ret_fds[DISKS_FDS_MAX], size_t *ret_n,
               struct err *err);
// Removes all of them. What is not there is no error.
void disks_remove(const struct disks_owner *owner);
// Removes the disks of everybody for whom keep says false: name is NULL for those found by their uid, uid is
// NULL for those found by their name.
typedef bool disks_keep(void *arg, const char *tenant, const char *name, const char *uid);
void disks_sweep(const char *state, disks_keep *keep, void *arg);
// What they take on the host's disk. Does not wait for the disk as a rule: the file system knows.
uint64_t disks_used_bytes(const struct disks_owner *owner, const struct env_spec *spec);
