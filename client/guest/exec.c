// envctl serve --exec: a command for each message, several at once. Called by verbs/serve.c. The body is a
// file that the command reads as its standard input, and so is its standard output: neither needs us while it
// runs.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "serve.h"

#define GIVE_UP 100 // exit status

struct job {
    pid_t pid; // 0: free
    int out_fd;
    struct env_message *message;
};

struct server {
    struct env *env;
    const struct serve_options *options;
    int signal_fd;
    unsigned n_running;
    unsigned long n_served, n_taken;
    struct job jobs[SERVE_JOBS_MAX];
};

// ---- the command ----

static int body_file(const struct env_message *m)
{
    int fd = memfd_create("body", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    for (size_t done = 0; done < m->body_len;) {
        ssize_t n = write(fd, (const char *)m->body + done, m->body_len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            int rc = -errno;
            close(fd);
            return rc;
        }
        done += (size_t)n;
    }
    lseek(fd, 0, SEEK_SET);
    return fd;
}

// Takes no more than a reply may have: what is beyond fails to be written. Its length is where the file
// stands.
static int reply_file(uint32_t body_max)
{
    int fd = memfd_create("reply", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd >= 0 && ftruncate(fd, body_max) == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_GROW) == 0)
        return fd;
    int rc = -errno;
    if (fd >= 0)
        close(fd);
    return rc;
}

static void set_header(const struct env_header *h)
{
    char name[sizeof "ENV_HEADER_" + ENVELOPE_HEADER_NAME_MAX];
    snprintf(name, sizeof name, "ENV_HEADER_%s", h->name);
    for (char *p = name; *p; p++) {
        bool lower = *p >= 'a' && *p <= 'z';
        bool other = (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9');
        *p = lower ? (char)(*p - 'a' + 'A') : other ? *p : '_';
    }
    setenv(name, h->value, 1);
}

static void set_variables(const struct env_message *m)
{
    char id[ID_TEXT_CAP], correlation[ID_TEXT_CAP] = "", expires[24];
    id_format(&m->id, id);
    if (!id_is_zero(&m->correlation))
        id_format(&m->correlation, correlation);
    snprintf(expires, sizeof expires, "%llu", (unsigned long long)m->expires_ms);
    setenv("ENV_FROM", m->from, 1);
    setenv("ENV_TO", m->to, 1);
    setenv("ENV_SUBJECT", m->subject, 1);
    setenv("ENV_ID", id, 1);
    setenv("ENV_KIND", message_kind_name(m->kind), 1);
    setenv("ENV_CONTENT_TYPE", m->content_type, 1);
    setenv("ENV_CORRELATION", correlation, 1);
    setenv("ENV_EXPIRES_MS", expires, 1);
    for (size_t i = 0; i < m->n_headers; i++)
        set_header(&m->headers[i]);
}

__attribute__((noreturn)) static void be_command(const char *command, const struct env_message *m, int in_fd,
                                                 int out_fd)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    set_variables(m);
    if (dup2(in_fd, STDIN_FILENO) < 0 || dup2(out_fd, STDOUT_FILENO) < 0)
        _exit(126);
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    fprintf(stderr, "envctl serve: /bin/sh: %s\n", strerror(errno));
    _exit(127);
}

// Takes the message over when it succeeds. 0 or -errno.
static int job_start(struct server *s, struct env_message *m)
{
    struct job *j = s->jobs;
    while (j->pid != 0) // there is one: n_running < jobs
        j++;
    int in_fd = body_file(m), out_fd = in_fd < 0 ? in_fd : reply_file(env_identity(s->env)->body_max);
    pid_t pid = out_fd < 0 ? out_fd : fork();
    if (pid == 0)
        be_command(s->options->command, m, in_fd, out_fd);
    int rc = out_fd < 0 ? out_fd : pid < 0 ? -errno : 0;
    if (in_fd >= 0)
        close(in_fd);
    if (rc < 0) {
        if (out_fd >= 0)
            close(out_fd);
        return rc;
    }
    *j = (struct job){.pid = pid, .out_fd = out_fd, .message = m};
    s->n_running++;
    return 0;
}

// ---- its end ----

static int reply(struct server *s, const struct job *j)
{
    off_t len = lseek(j->out_fd, 0, SEEK_CUR);
    void *body = len > 0 ? mmap(NULL, (size_t)len, PROT_READ, MAP_PRIVATE, j->out_fd, 0) : NULL;
    if (len < 0 || body == MAP_FAILED) {
        serve_note(j->message, "its reply cannot be read");
        return 0;
    }
    const struct env_outgoing out = {.body = body, .body_len = (size_t)len};
    int rc = env_reply(s->env, j->message, &out);
    serve_note(j->message, rc == 0 ? "answered" : env_error(s->env));
    if (body)
        munmap(body, (size_t)len);
    return rc < 0 ? rc : 0; // a refusal is the caller's loss
}

static int settle(struct server *s, const struct job *j, int status)
{
    char what[64];
    int rc = 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        if (j->message->kind == MESSAGE_CALL)
            rc = reply(s, j);
        else
            serve_note(j->message, "processed");
        return rc < 0 ? rc : env_ack(s->env, j->message);
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == GIVE_UP) {
        serve_note(j->message, "given up");
        return env_ack(s->env, j->message);
    }
    if (WIFEXITED(status))
        snprintf(what, sizeof what, "failed with status %d, comes again later", WEXITSTATUS(status));
    else
        snprintf(what, sizeof what, "ended by signal %d, comes again later", WTERMSIG(status));
    serve_note(j->message, what);
    return env_release(s->env, j->message);
}

static int reap(struct server *s)
{
    struct signalfd_siginfo info;
    int status, rc = 0;
    while (read(s->signal_fd, &info, sizeof info) > 0)
        ;
    for (pid_t pid; rc == 0 && (pid = waitpid(-1, &status, WNOHANG)) > 0;)
        for (size_t i = 0; rc == 0 && i < SERVE_JOBS_MAX; i++) {
            struct job *j = &s->jobs[i];
            if (j->pid != pid)
                continue;
            rc = settle(s, j, status);
            close(j->out_fd);
            env_message_free(j->message);
            *j = (struct job){.pid = 0};
            s->n_running--;
            s->n_served++;
        }
    return rc;
}

// ---- all of them ----

static bool may_take(const struct server *s)
{
    return s->n_running < s->options->jobs && (s->options->n == 0 || s->n_taken < s->options->n);
}

static int take(struct server *s, struct env_message *m)
{
    int rc = 0;
    s->n_taken++;
    if (serve_wants(s->options, m)) {
        rc = job_start(s, m);
        if (rc == 0)
            return 0;
        fprintf(stderr, "envctl serve: start the command: %s\n", strerror(-rc));
        rc = env_release(s->env, m);
    } else {
        serve_note(m, "not one of our subjects, ignored");
        rc = env_ack(s->env, m);
    }
    env_message_free(m);
    s->n_served++;
    return rc;
}

static int take_some(struct server *s)
{
    int rc = 0;
    while (rc == 0 && may_take(s)) {
        struct env_message *m;
        rc = env_recv(s->env, 0, &m);
        if (rc == 0)
            rc = take(s, m);
    }
    return rc == -ETIMEDOUT ? 0 : rc;
}

static void wait_for_something(const struct server *s)
{
    struct pollfd fds[2] = {{.fd = s->signal_fd, .events = POLLIN},
                            {.fd = may_take(s) ? env_fd(s->env) : -1, .events = POLLIN}};
    poll(fds, 2, -1);
}

// The environment ends, or our connection: commands that run are not waited for, their messages come again.
static void let_go(struct server *s)
{
    for (size_t i = 0; i < SERVE_JOBS_MAX; i++) {
        if (s->jobs[i].pid == 0)
            continue;
        kill(s->jobs[i].pid, SIGTERM);
        close(s->jobs[i].out_fd);
        env_message_free(s->jobs[i].message);
    }
    close(s->signal_fd);
}

int serve_exec(struct env *env, const struct serve_options *o)
{
    static struct server s;
    sigset_t set;
    s = (struct server){.env = env, .options = o};
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    s.signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (s.signal_fd < 0)
        return -errno;
    env_set_window(env,
                   (unsigned)o->jobs); // so many messages are here, and no more: the others wait at the host
    int rc = 0;
    while (rc == 0 && (o->n == 0 || s.n_served < o->n)) {
        rc = take_some(&s);
        if (rc == 0)
            wait_for_something(&s);
        if (rc == 0)
            rc = reap(&s);
    }
    let_go(&s);
    return rc;
}
