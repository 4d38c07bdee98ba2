// The child's side of a command: from fork() to execve(). Called by exec and services.
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "users.h"

enum spawn_stage { SPAWN_SETUP = 1, SPAWN_USER, SPAWN_CWD, SPAWN_EXEC };

// What the child writes to report_fd when it fails; nothing, and end of file, when the command runs.
struct spawn_report {
    enum spawn_stage stage;
    int error; // errno
};

struct spawn {
    const char *const *argv;
    const char *const *env;
    const char *cwd;         // NULL: the user's home folder, / when it is not there
    const struct user *user; // NULL: stay who we are
    int stdio[3];
    bool tty;      // stdio[0] is to be the controlling terminal
    int report_fd; // close-on-exec
};

// Forks; the child is the leader of a session, and of a process group, of its own. Its pid, or -errno.
pid_t spawn(const struct spawn *s);
