// See services_serve.h. A message in hand is WAITING for a free place, RUNNING, or HELD before it is given
// back. Handlers must belong to root (or to whom we are) and be writable by nobody else: a message must not
// run what any program of the guest has put there.
#include "services_serve.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/checked.h"
#include "common/cleanup.h"
#include "common/io.h"
#include "common/log.h"
#include "env/env.h"
#include "spawn.h"

#define JOBS_MAX   64
#define HOLD_MS    100 // the agent adds more, the more often it comes
#define GIVE_UP    100 // exit status
#define ENV_MAX    (ENVELOPE_HEADERS_MAX + 12)
#define PATH_CAP   4096
#define READ_CHUNK 65536u

enum job_state { JOB_FREE, JOB_WAITING, JOB_RUNNING, JOB_HELD };

struct job {
    enum job_state state;
    struct env_message *message;
    char path[PATH_CAP];
    pid_t pid; // 0: reaped
    int status;
    int in_fd, out_fd; // -1: done with
    size_t in_done, out_len, out_cap;
    char *out;
    uint64_t deadline_ns; // of RUNNING and HELD
};

struct server {
    const char *folder;
    struct env *env;
    int signal_fd;
    unsigned n_jobs, n_running;
    size_t body_max;
    struct job jobs[JOBS_MAX];
};

// ---- finding the handler ----

static bool is_safe(const struct stat *st)
{
    return (st->st_uid == 0 || st->st_uid == geteuid()) && !(st->st_mode & (S_IWGRP | S_IWOTH));
}

static bool try_handler(const char *folder, const char *name, char path[PATH_CAP])
{
    struct stat st;
    if (snprintf(path, PATH_CAP, "%s/%s", folder, name) >= PATH_CAP || stat(path, &st) < 0 ||
        !S_ISREG(st.st_mode) || access(path, X_OK) < 0)
        return false;
    if (is_safe(&st))
        return true;
    log_warn(NULL, "%s is not used: it must belong to root and be writable by nobody else", path);
    return false;
}

static bool find_handler(const struct server *s, const struct env_message *m, char path[PATH_CAP])
{
    char folder[PATH_CAP];
    struct address to;
    bool is_service = address_parse(m->to, strlen(m->to), &to) == NULL && to.is_service;
    int len = is_service ? snprintf(folder, sizeof folder, "%s/%s", s->folder, to.name)
                         : snprintf(folder, sizeof folder, "%s", s->folder);
    if (len >= (int)sizeof folder)
        return false;
    // An empty subject would be the folder itself, which is no regular file.
    return try_handler(folder, m->subject, path) || try_handler(folder, "@default", path);
}

// ---- one job ----

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void job_free(struct server *s, struct job *j)
{
    close_fd(&j->in_fd);
    close_fd(&j->out_fd);
    free(j->out);
    env_message_free(j->message);
    *j = (struct job){.in_fd = -1, .out_fd = -1};
    s->n_jobs--;
}

static void hold(struct job *j)
{
    j->state = JOB_HELD;
    j->deadline_ns = io_monotonic_ns() + HOLD_MS * 1000000ull;
}

static bool add_variable(char **env, size_t *n, const char *name, const char *value)
{
    if (asprintf(&env[*n], "%s=%s", name, value) < 0) {
        env[*n] = NULL;
        return false;
    }
    (*n)++;
    return true;
}

static bool add_header(char **env, size_t *n, const struct env_header *h)
{
    char name[sizeof "ENV_HEADER_" + ENVELOPE_HEADER_NAME_MAX];
    snprintf(name, sizeof name, "ENV_HEADER_%s", h->name);
    for (char *p = name; *p; p++)
        *p = isalnum((unsigned char)*p) ? (char)toupper((unsigned char)*p) : '_';
    return add_variable(env, n, name, h->value);
}

// ENV_MAX + 1 pointers, the last NULL. False without memory.
static bool make_env(const struct env_message *m, char **env)
{
    static const char *const kinds[] = {"send", "call", "reply", "event"};
    char id[ID_TEXT_CAP], correlation[ID_TEXT_CAP] = "", expires[24];
    size_t n = 0;
    id_format(&m->id, id);
    if (!id_is_zero(&m->correlation))
        id_format(&m->correlation, correlation);
    snprintf(expires, sizeof expires, "%llu", (unsigned long long)m->expires_ms);
    const char *const fixed[][2] = {
        {"PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
        {"HOME", "/"},
        {"ENV_FROM", m->from},
        {"ENV_TO", m->to},
        {"ENV_SUBJECT", m->subject},
        {"ENV_ID", id},
        {"ENV_KIND", kinds[m->kind]},
        {"ENV_CONTENT_TYPE", m->content_type},
        {"ENV_CORRELATION", correlation},
        {"ENV_EXPIRES_MS", expires},
    };
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++)
        if (!add_variable(env, &n, fixed[i][0], fixed[i][1]))
            return false;
    for (size_t i = 0; i < m->n_headers; i++)
        if (!add_header(env, &n, &m->headers[i]))
            return false;
    return true;
}

// 0 or -errno. The child's ends are close-on-exec, ours do not block.
static int job_spawn(struct job *j, char *const *env)
{
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) < 0)
        return -errno;
    if (pipe2(out, O_CLOEXEC) < 0) {
        int rc = -errno;
        close(in[0]);
        close(in[1]);
        return rc;
    }
    j->in_fd = in[1];
    j->out_fd = out[0];
    fcntl(j->in_fd, F_SETFL, O_NONBLOCK);
    fcntl(j->out_fd, F_SETFL, O_NONBLOCK);
    const char *const argv[] = {j->path, NULL};
    const struct spawn sp = {.argv = argv,
                             .env = (const char *const *)env,
                             .cwd = "/",
                             .stdio = {in[0], out[1], STDERR_FILENO},
                             .report_fd = -1};
    pid_t pid = spawn(&sp);
    close(in[0]);
    close(out[1]);
    j->pid = pid > 0 ? pid : 0;
    return pid < 0 ? pid : 0;
}

static void job_run(struct server *s, struct job *j)
{
    char *env[ENV_MAX + 1] = {NULL};
    int rc = make_env(j->message, env) ? job_spawn(j, env) : -ENOMEM;
    for (char **v = env; *v; v++)
        free(*v);
    if (rc < 0) {
        log_error(NULL, "run %s: %s", j->path, strerror(-rc));
        close_fd(&j->in_fd);
        close_fd(&j->out_fd);
        hold(j);
        return;
    }
    j->state = JOB_RUNNING;
    j->deadline_ns = io_monotonic_ns() + SERVE_MS * 1000000ull;
    s->n_running++;
}

static void feed(struct job *j)
{
    const char *body = j->message->body;
    ssize_t n = 0;
    if (j->in_done < j->message->body_len)
        n = write(j->in_fd, body + j->in_done, j->message->body_len - j->in_done);
    if (n > 0)
        j->in_done += (size_t)n;
    // A handler may well not want its input.
    if (j->in_done == j->message->body_len || (n < 0 && errno != EAGAIN && errno != EINTR))
        close_fd(&j->in_fd);
}

static void kill_group(struct job *j)
{
    if (j->pid)
        kill(-j->pid, SIGKILL);
}

static void drink(const struct server *s, struct job *j)
{
    if (j->out_cap - j->out_len < READ_CHUNK) {
        char *more = realloc(j->out, j->out_cap + 2 * (size_t)READ_CHUNK);
        if (!more) {
            kill_group(j);
            close_fd(&j->out_fd);
            return;
        }
        j->out = more;
        j->out_cap += 2 * (size_t)READ_CHUNK;
    }
    ssize_t n = read(j->out_fd, j->out + j->out_len, READ_CHUNK);
    if (n > 0)
        j->out_len += (size_t)n;
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        close_fd(&j->out_fd);
    if (j->out_len > s->body_max) {
        log_warn(NULL, "%s: its reply is above the limit of %zu bytes", j->path, s->body_max);
        kill_group(j);
        close_fd(&j->out_fd);
    }
}

// Returns a failed connection's code, or 0.
static int job_finish(struct server *s, struct job *j)
{
    bool ok = WIFEXITED(j->status) && WEXITSTATUS(j->status) == 0 && j->out_len <= s->body_max;
    bool given_up = WIFEXITED(j->status) && WEXITSTATUS(j->status) == GIVE_UP;
    int rc = 0;
    s->n_running--;
    close_fd(&j->in_fd);
    if (!ok && !given_up) {
        log_warn(NULL, "%s failed on a message from %s (status %d); it is delivered again", j->path,
                 j->message->from, WIFEXITED(j->status) ? WEXITSTATUS(j->status) : 128 + WTERMSIG(j->status));
        hold(j);
        return 0;
    }
    if (ok && j->message->kind == MESSAGE_CALL) {
        const struct env_outgoing reply = {.body = j->out, .body_len = j->out_len};
        rc = env_reply(s->env, j->message, &reply);
        if (rc > 0) // the caller's loss: late, most likely
            log_info(NULL, "%s: the reply to %s is refused: %s", j->path, j->message->from,
                     env_error(s->env));
    }
    if (rc >= 0)
        rc = env_ack(s->env, j->message);
    job_free(s, j);
    return rc < 0 ? rc : 0;
}

// ---- all jobs ----

static void take_message(struct server *s, struct env_message *m)
{
    size_t i = 0;
    while (s->jobs[i].state != JOB_FREE) // there is one: n_jobs < JOBS_MAX
        i++;
    struct job *j = &s->jobs[i];
    *j = (struct job){.state = JOB_WAITING, .message = m, .in_fd = -1, .out_fd = -1};
    s->n_jobs++;
    if (find_handler(s, m, j->path))
        return;
    log_warn(NULL, "nobody in %s serves %s to %s; it is delivered again", s->folder, m->subject, m->to);
    hold(j);
}

// Returns env_recv()'s code when the connection is over, else 0.
static int take_messages(struct server *s)
{
    while (s->n_jobs < JOBS_MAX) {
        struct env_message *m;
        int rc = env_recv(s->env, 0, &m);
        if (rc == -ETIMEDOUT)
            return 0;
        if (rc != 0)
            return rc;
        take_message(s, m);
    }
    return 0;
}

static void reap(struct server *s)
{
    struct signalfd_siginfo info;
    int status;
    while (read(s->signal_fd, &info, sizeof info) > 0)
        ;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
        for (size_t i = 0; i < JOBS_MAX; i++)
            if (s->jobs[i].pid == pid) {
                s->jobs[i].pid = 0;
                s->jobs[i].status = status;
            }
}

// One step of a job. Returns a failed connection's code, or 0.
static int advance(struct server *s, struct job *j, uint64_t now_ns)
{
    int rc = 0;
    if (j->state == JOB_WAITING && s->n_running < SERVE_RUNNING_MAX)
        job_run(s, j);
    if (j->state == JOB_RUNNING && now_ns >= j->deadline_ns) {
        if (j->pid)
            log_warn(NULL, "%s is ended: it took longer than %d s", j->path, SERVE_MS / 1000);
        kill_group(j);
        close_fd(&j->out_fd); // also one that a background process holds
    }
    if (j->state == JOB_RUNNING && j->pid == 0 && j->out_fd < 0)
        return job_finish(s, j);
    if (j->state == JOB_HELD && now_ns >= j->deadline_ns) {
        rc = env_release(s->env, j->message);
        job_free(s, j);
    }
    return rc;
}

static int timeout_ms(const struct server *s)
{
    uint64_t first = UINT64_MAX, now_ns = io_monotonic_ns();
    for (size_t i = 0; i < JOBS_MAX; i++)
        if ((s->jobs[i].state == JOB_RUNNING || s->jobs[i].state == JOB_HELD) &&
            s->jobs[i].deadline_ns < first)
            first = s->jobs[i].deadline_ns;
    if (first == UINT64_MAX)
        return -1;
    return first <= now_ns ? 0 : (int)((first - now_ns) / 1000000u) + 1;
}

static void wait_and_move(struct server *s)
{
    struct pollfd fds[2 + 2 * JOBS_MAX] = {
        {.fd = s->n_jobs < JOBS_MAX ? env_fd(s->env) : -1, .events = POLLIN},
        {.fd = s->signal_fd, .events = POLLIN}};
    for (size_t i = 0; i < JOBS_MAX; i++) {
        bool runs = s->jobs[i].state == JOB_RUNNING;
        fds[2 + 2 * i] = (struct pollfd){.fd = runs ? s->jobs[i].in_fd : -1, .events = POLLOUT};
        fds[3 + 2 * i] = (struct pollfd){.fd = runs ? s->jobs[i].out_fd : -1, .events = POLLIN};
    }
    if (poll(fds, ARRAY_LEN(fds), timeout_ms(s)) <= 0)
        return;
    if (fds[1].revents)
        reap(s);
    for (size_t i = 0; i < JOBS_MAX; i++) {
        if (fds[2 + 2 * i].revents)
            feed(&s->jobs[i]);
        if (fds[3 + 2 * i].revents)
            drink(s, &s->jobs[i]);
    }
}

static int register_services(struct server *s)
{
    int rc = 0;
    DIR *folder = opendir(s->folder);
    if (!folder)
        return -errno;
    for (struct dirent *e; rc >= 0 && (e = readdir(folder)) != NULL;) {
        char path[PATH_CAP];
        struct stat st;
        if (!name_valid(e->d_name, strlen(e->d_name)) ||
            snprintf(path, sizeof path, "%s/%s", s->folder, e->d_name) >= PATH_CAP || stat(path, &st) < 0 ||
            !S_ISDIR(st.st_mode))
            continue;
        rc = env_register(s->env, e->d_name);
        if (rc == 0)
            log_info(NULL, "serving :%s", e->d_name);
        else if (rc > 0)
            log_warn(NULL, "register :%s: %s", e->d_name, env_error(s->env));
    }
    closedir(folder);
    return rc < 0 ? rc : 0;
}

int services_serve(const char *folder)
{
    static struct server s;
    sigset_t set;
    s = (struct server){.folder = folder};
    for (size_t i = 0; i < JOBS_MAX; i++)
        s.jobs[i].in_fd = s.jobs[i].out_fd = -1;
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    s.signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    int rc = env_open(&s.env);
    if (rc < 0 || s.signal_fd < 0)
        return 1;
    s.body_max = env_identity(s.env)->body_max;
    env_set_window(s.env, JOBS_MAX);
    rc = register_services(&s);
    while (rc == 0) {
        rc = take_messages(&s);
        uint64_t now_ns = io_monotonic_ns();
        for (size_t i = 0; rc == 0 && i < JOBS_MAX; i++)
            rc = advance(&s, &s.jobs[i], now_ns);
        if (rc == 0)
            wait_and_move(&s);
    }
    return rc == -ESHUTDOWN ? 0 : 1;
}
