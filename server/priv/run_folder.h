// The run folder: a lock that keeps a second envpriv out, and the listening socket. The folder may belong to
// envd's user, so everything in it is touched with that user's rights only: nothing it plants there (links,
// names) can use root's. Called by main.c.
#pragma once

#include <limits.h>
#include <sys/types.h>

#include "common/err.h"

#define RUN_FOLDER_SOCKET "priv.sock"
#define RUN_FOLDER_LOCK   "priv.lock"

struct run_folder {
    uid_t user;
    gid_t group;
    int fd;
    int lock;
    char real_path[PATH_MAX];
};

// Opens the folder, made for the user when missing, and locks it. -EBUSY names the process that holds it.
int run_folder_open(struct run_folder *f, const char *path, uid_t user, gid_t group, struct err *err);
// Makes the listening SOCK_SEQPACKET socket, mode 0600, the user's. The descriptor is the caller's.
int run_folder_listen(const struct run_folder *f, int *ret_fd, struct err *err);
// Removes socket and lock, and gives the folder back. Accepts the half-open.
void run_folder_close(struct run_folder *f);
