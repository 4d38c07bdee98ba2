// See children.h.
#include "children.h"

#include <sys/wait.h>

#include "common/checked.h"

static struct child {
    pid_t pid; // 0: free
    child_cb *cb;
    void *arg;
} children[CHILDREN_MAX];

bool children_watch(pid_t pid, child_cb *cb, void *arg)
{
    for (size_t i = 0; i < ARRAY_LEN(children); i++) {
        if (children[i].pid)
            continue;
        children[i] = (struct child){pid, cb, arg};
        return true;
    }
    return false;
}

void children_forget(const void *arg)
{
    for (size_t i = 0; i < ARRAY_LEN(children); i++)
        if (children[i].arg == arg)
            children[i] = (struct child){0};
}

static void ended(pid_t pid, int status)
{
    for (size_t i = 0; i < ARRAY_LEN(children); i++) {
        if (children[i].pid != pid)
            continue;
        struct child c = children[i];
        children[i] = (struct child){0};
        c.cb(c.arg, status);
        return;
    }
}

void children_reap(void)
{
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
        ended(pid, status);
}
