// Copying between this host and a guest, one step of proto/session.h at a time. Called by the verb cp; out is
// from the guest to here (copy_out.c), in is the other way (copy_in.c).
#pragma once

#include <jansson.h>
#include <stdint.h>
#include <sys/types.h>

#include "channel.h"

#define COPY_DEPTH_MAX 64

struct copy {
    struct cli *cli;
    const char *address; // TENANT/NAME
    char path[256];      // of the API
    bool recursive;
    struct progress {
        bool shown;
        uint64_t shown_ns;
    } progress;
    unsigned n_skipped; // files that could not be copied for what they are
};

// Begins one step; body is completed with op and guest_path, and stolen. what is for messages.
int copy_begin(struct copy *c, const char *op, const char *guest_path, json_t *body, struct channel **ret);
// One that has no content: mkdir, symlink.
int copy_step(struct copy *c, const char *op, const char *guest_path, json_t *body);
// What guest_path is. CLI_NOT_FOUND when it is not there.
int copy_stat(struct copy *c, const char *guest_path, enum session_file_type *ret_type);
// A line on a terminal, now and then; total 0: unknown. copy_progress_done() clears it.
void copy_progress(struct copy *c, const char *name, uint64_t done, uint64_t total);
void copy_progress_done(struct copy *c);
// parent and name with a slash between them, the caller's to free; NULL: no memory.
char *copy_join(const char *parent, const char *name);

// fd: a regular file, or any descriptor of a file of st's size. The guest's file is there in whole, or as it
// was.
int copy_in_file(struct copy *c, int fd, uint64_t size, mode_t mode, uint64_t mtime_ns,
                 const char *guest_path);
// name below dir_fd, and what is in it, becomes guest_path.
int copy_in_tree(struct copy *c, int dir_fd, const char *name, const char *guest_path, unsigned depth);

// To name below dir_fd: there in whole and checked, or not at all.
int copy_out_file(struct copy *c, const char *guest_path, int dir_fd, const char *name);
// To fd, as it comes; checked at its end.
int copy_out_stream(struct copy *c, const char *guest_path, int fd);
// The folder guest_path becomes name below dir_fd, with mode when all is there (SESSION_MODE_DEFAULT: as it
// is).
int copy_out_tree(struct copy *c, const char *guest_path, int dir_fd, const char *name, uint32_t mode,
                  unsigned depth);
