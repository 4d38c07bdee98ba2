// See services.h.
#include "services.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "children.h"
#include "common/io.h"
#include "common/log.h"
#include "services_serve.h"

#define RESTART_MS 1000

struct services {
    struct loop *loop;
    const struct services_config *config;
    struct loop_source *timer;
    pid_t pid; // 0: does not run
    bool stopped;
};

static void on_ended(void *arg, int status)
{
    struct services *s = arg;
    s->pid = 0;
    if (s->stopped || (WIFEXITED(status) && WEXITSTATUS(status) == 0))
        return;
    loop_timer_set(s->timer, io_monotonic_ns() + RESTART_MS * 1000000ull);
}

__attribute__((noreturn)) static void be_child(const struct services *s)
{
    sigset_t none;
    sigemptyset(&none);
    if (syscall(SYS_close_range, 3, ~0u, 0) < 0)
        for (int i = 3; i < 4096; i++) // before Linux 5.9
            close(i);
    setsid();
    sigprocmask(SIG_SETMASK, &none, NULL);
    setenv("ENV_AGENT_SOCKET", s->config->socket, 1);
    _exit(services_serve(s->config->folder));
}

void services_start(struct services *s)
{
    struct stat st;
    if (s->pid || s->stopped || stat(s->config->folder, &st) < 0 || !S_ISDIR(st.st_mode))
        return;
    pid_t pid = fork();
    if (pid == 0)
        be_child(s);
    if (pid > 0 && children_watch(pid, on_ended, s)) {
        s->pid = pid;
        return;
    }
    if (pid > 0)
        kill(pid, SIGKILL);
    loop_timer_set(s->timer, io_monotonic_ns() + RESTART_MS * 1000000ull);
}

static void on_timer(void *arg, uint32_t events)
{
    (void)events;
    services_start(arg);
}

void services_stop(struct services *s)
{
    s->stopped = true;
    if (s->pid)
        kill(s->pid, SIGTERM);
}

struct services *services_new(struct loop *loop, const struct services_config *config)
{
    struct services *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    *s = (struct services){.loop = loop, .config = config, .timer = loop_add_timer(loop, on_timer, s)};
    if (s->timer)
        return s;
    free(s);
    return NULL;
}

void services_free(struct services *s)
{
    if (!s)
        return;
    children_forget(s);
    services_stop(s);
    loop_remove(s->timer);
    free(s);
}
