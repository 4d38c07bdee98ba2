// See copy.h. What runs here before copy_serve() is the agent, what runs there is the child.
#include "copy.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "children.h"
#include "copy_serve.h"

#define STREAM_FD 3

static void on_child_ended(void *arg, int status)
{
    struct session *s = arg;
    (void)status;
    s->copy_pid = 0;
    loop_timer_set(s->timer, 1); // at once: it frees the session
}

// Nothing but the stream: a program's connection that the agent closes must be closed.
static void keep_only(int fd)
{
    if (fd != STREAM_FD)
        dup2(fd, STREAM_FD);
    if (syscall(SYS_close_range, STREAM_FD + 1, ~0u, 0) == 0)
        return;
    for (int i = STREAM_FD + 1; i < 4096; i++) // before Linux 5.9
        close(i);
}

__attribute__((noreturn)) static void be_child(const struct session *s, const struct session_copy *c,
                                               const uint8_t *behind, size_t n_behind)
{
    sigset_t none;
    sigemptyset(&none);
    keep_only(s->fd);
    fcntl(STREAM_FD, F_SETFL, 0);
    signal(SIGPIPE, SIG_IGN);
    sigprocmask(SIG_SETMASK, &none, NULL);
    _exit(copy_serve(STREAM_FD, c, behind, n_behind));
}

void copy_start(struct session *s, const struct session_copy *c, const uint8_t *behind, size_t n_behind)
{
    pid_t pid = fork();
    if (pid == 0)
        be_child(s, c, behind, n_behind);
    if (pid > 0 && children_watch(pid, on_child_ended, s)) {
        s->state = STREAM_COPY;
        s->copy_pid = pid;
        return;
    }
    if (pid > 0)
        kill(pid, SIGKILL);
    session_fail(s, SESSION_ERROR_LIMIT, "copy: the guest cannot make another process (%s)", strerror(errno));
}

void copy_forget(struct session *s)
{
    children_forget(s);
    if (s->copy_pid > 0)
        kill(s->copy_pid, SIGTERM);
    s->copy_pid = 0;
}
