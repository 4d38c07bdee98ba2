// Child processes: who wants to know that one ended. Called by whatever forks; as PID 1 it also reaps what
// nobody here started.
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#define CHILDREN_MAX 256

// status: as waitpid(2) says it.
typedef void child_cb(void *arg, int status);

// False when there are too many. Call it right after fork(): reaping happens in the loop only.
bool children_watch(pid_t pid, child_cb *cb, void *arg);
// Whatever ends for arg is nobody's business any more.
void children_forget(const void *arg);
// Reaps everything that has ended; called on SIGCHLD.
void children_reap(void);
