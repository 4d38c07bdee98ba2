// See spawn.h. The agent has one thread, so the child may use all of libc.
#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

__attribute__((noreturn)) static void fail(const struct spawn *s, enum spawn_stage stage)
{
    struct spawn_report report = {.stage = stage, .error = errno};
    ssize_t n = write(s->report_fd, &report, sizeof report);
    _exit(n == (ssize_t)sizeof report ? 127 : 126);
}

// As a login would find them: nothing blocked, nothing ignored.
static void reset_signals(void)
{
    sigset_t none;
    sigemptyset(&none);
    for (int signal_number = 1; signal_number < NSIG; signal_number++)
        signal(signal_number, SIG_DFL); // fails for SIGKILL and SIGSTOP, and may
    sigprocmask(SIG_SETMASK, &none, NULL);
}

// The agent may be protected from the kernel's out-of-memory killer; what it starts shall not be.
static void reset_oom_score(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (write(fd, "0", 1) != 1)
        errno = 0; // without /proc there is no protection either
    close(fd);
}

// stdio's descriptors are above 2: the agent's own 0, 1 and 2 are always open.
static void set_up(const struct spawn *s)
{
    reset_signals();
    reset_oom_score();
    if (setsid() < 0 || (s->tty && ioctl(s->stdio[0], TIOCSCTTY, 0) < 0))
        fail(s, SPAWN_SETUP);
    for (int i = 0; i < 3; i++)
        if (dup2(s->stdio[i], i) < 0)
            fail(s, SPAWN_SETUP);
    umask(022);
}

static void become(const struct spawn *s)
{
    const struct user *u = s->user;
    if (!u || (geteuid() != 0 && u->uid == geteuid()))
        return;
    if (setgroups(u->n_groups, u->groups) < 0 || setgid(u->gid) < 0 || setuid(u->uid) < 0)
        fail(s, SPAWN_USER);
}

static void enter_folder(const struct spawn *s)
{
    if (s->cwd) {
        if (chdir(s->cwd) < 0)
            fail(s, SPAWN_CWD);
    } else if (!s->user || chdir(s->user->home) < 0) {
        if (chdir("/") < 0)
            fail(s, SPAWN_CWD);
    }
}

static const char *find_path(const char *const *env)
{
    for (; *env; env++)
        if (strncmp(*env, "PATH=", 5) == 0)
            return *env + 5;
    return "/bin:/usr/bin";
}

// Like execvpe(3), but without a shell for what is no program: errno says what the last useful attempt met.
static void execute(const struct spawn *s)
{
    char file[PATH_MAX];
    int error = ENOENT;
    char *const *argv = (char *const *)s->argv, *const *env = (char *const *)s->env; // it changes neither
    if (strchr(s->argv[0], '/')) {
        execve(s->argv[0], argv, env);
        return;
    }
    for (const char *path = find_path(s->env), *end; *path; path = *end ? end + 1 : end) {
        end = strchrnul(path, ':');
        int len = snprintf(file, sizeof file, "%.*s/%s", (int)(end - path), path, s->argv[0]);
        if (len >= (int)sizeof file)
            continue;
        execve(file, argv, env);
        if (errno != ENOENT && errno != ENOTDIR)
            error = errno;
    }
    errno = error;
}

pid_t spawn(const struct spawn *s)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid < 0 ? -errno : pid;
    set_up(s);
    become(s);
    enter_folder(s);
    execute(s);
    fail(s, SPAWN_EXEC);
}
