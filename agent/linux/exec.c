// See exec.h. The end of a command: EXIT follows when it has ended and both of its outputs are at their end.
// A process that it left behind may hold them open for ever, so DRAIN_MS after the command's end what is
// there by then is read, no more, and EXIT follows that.
#include "exec.h"

#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "children.h"
#include "common/checked.h"
#include "common/cleanup.h"
#include "common/io.h"
#include "spawn.h"

#define DRAIN_MS     100
#define KILL_MS      2000
#define IN_CAP       65536u // how much input may be on its way to the command
#define CREDIT_MIN   16384u // smaller grants are saved up
#define READ_MAX     32768u
#define TTY_EOF      4 // ^D
#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

struct output {
    struct exec *exec;
    enum session_frame_type type;
    int fd; // -1: at its end
    struct loop_source *source;
    uint32_t events;
    bool draining; // the command has ended: drain_left bytes are still to be read
    size_t drain_left;
};

struct exec {
    struct session *session; // NULL: its client is gone
    struct loop_source *timer;
    pid_t pid;
    bool tty, started, ended, in_eof;
    int status;
    char command[64]; // for people
    int report_fd;
    struct loop_source *report_source;
    struct output outputs[2];
    int in_fd; // -1: none, or the command closed it
    struct loop_source *in_source;
    uint32_t in_events;
    size_t in_len, credit, credit_owed; // credit: what the client may still send; owed: what it will be given
    uint8_t in[IN_CAP + 1];             // and one ^D
};

static void close_fd(int *fd, struct loop_source **source)
{
    loop_remove(*source);
    *source = NULL;
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void close_all(struct exec *x)
{
    close_fd(&x->report_fd, &x->report_source);
    close_fd(&x->in_fd, &x->in_source);
    for (size_t i = 0; i < ARRAY_LEN(x->outputs); i++)
        close_fd(&x->outputs[i].fd, &x->outputs[i].source);
}

static void release(struct exec *x)
{
    close_all(x);
    children_forget(x);
    loop_remove(x->timer);
    if (x->session)
        x->session->exec = NULL;
    free(x);
}

// ---- out ----

static void arm_outputs(struct exec *x)
{
    bool room = session_has_room(x->session);
    for (size_t i = 0; i < ARRAY_LEN(x->outputs); i++) {
        struct output *o = &x->outputs[i];
        uint32_t events = room && x->started ? EPOLLIN : 0;
        if (o->fd >= 0 && events != o->events && loop_modify(o->source, events) == 0)
            o->events = events;
    }
}

// Says EXIT when nothing more can come. True: x is gone.
static bool finish_if_done(struct exec *x)
{
    if (!x->ended || !x->started || x->outputs[0].fd >= 0 || x->outputs[1].fd >= 0)
        return false;
    struct session_frame f = {.type = SESSION_EXIT};
    f.exit.kind = WIFSIGNALED(x->status) ? SESSION_SIGNALLED : SESSION_EXITED;
    f.exit.value = (uint8_t)(WIFSIGNALED(x->status) ? WTERMSIG(x->status) : WEXITSTATUS(x->status));
    struct session *s = x->session;
    release(x);
    session_push(s, &f);
    session_finish(s);
    return true;
}

static void read_output(struct output *o)
{
    static uint8_t data[READ_MAX];
    size_t want = o->draining && o->drain_left < sizeof data ? o->drain_left : sizeof data;
    ssize_t n = want > 0 ? read(o->fd, data, want) : 0;
    if (n < 0 && (errno == EAGAIN || errno == EINTR) && !o->draining)
        return;
    if (n <= 0) { // a terminal says EIO when nobody has it open
        close_fd(&o->fd, &o->source);
        return;
    }
    session_push(o->exec->session,
                 &(struct session_frame){.type = o->type, .data = {.data = data, .len = (size_t)n}});
    if (o->draining) {
        o->drain_left -= (size_t)n;
        if (o->drain_left == 0)
            close_fd(&o->fd, &o->source);
    }
}

static void on_output(void *arg, uint32_t events)
{
    struct output *o = arg;
    struct exec *x = o->exec;
    (void)events;
    if (session_has_room(x->session))
        read_output(o);
    session_flush(x->session);
    if (!finish_if_done(x))
        arm_outputs(x);
}

void exec_on_room(struct exec *x)
{
    session_flush(x->session);
    arm_outputs(x);
}

// ---- in ----

static void give_credit(struct exec *x)
{
    if (x->credit_owed < CREDIT_MIN && x->in_len > 0)
        return;
    if (x->credit_owed == 0 || x->in_eof)
        return;
    session_push(x->session,
                 &(struct session_frame){.type = SESSION_CREDIT, .credit = (uint32_t)x->credit_owed});
    x->credit += x->credit_owed;
    x->credit_owed = 0;
}

static void drop_input(struct exec *x)
{
    x->credit_owed += x->in_len;
    x->in_len = 0;
    close_fd(&x->in_fd, &x->in_source);
}

// A command that does not read its input loses it, and is not waited for.
static void write_input(struct exec *x)
{
    if (x->in_fd < 0) {
        drop_input(x);
    } else if (x->in_len > 0) {
        ssize_t n = write(x->in_fd, x->in, x->in_len);
        if (n > 0) {
            x->in_len -= (size_t)n;
            x->credit_owed += (size_t)n;
            memmove(x->in, x->in + n, x->in_len);
        } else if (n < 0 && errno != EAGAIN && errno != EINTR) {
            drop_input(x);
        }
    }
    if (x->in_eof && x->in_len == 0 && !x->tty)
        close_fd(&x->in_fd, &x->in_source);
    uint32_t events = x->in_len > 0 ? EPOLLOUT : 0;
    if (x->in_fd >= 0 && events != x->in_events && loop_modify(x->in_source, events) == 0)
        x->in_events = events;
    give_credit(x);
}

static void on_input(void *arg, uint32_t events)
{
    struct exec *x = arg;
    (void)events;
    write_input(x);
    session_flush(x->session);
}

static void handle_stdin(struct exec *x, const struct session_frame *f)
{
    if (f->data.len > x->credit || x->in_eof) {
        session_fail(x->session, SESSION_ERROR_PROTOCOL, "more STDIN than was asked for");
        return;
    }
    x->credit -= f->data.len;
    memcpy(x->in + x->in_len, f->data.data, f->data.len);
    x->in_len += f->data.len;
    write_input(x);
}

static void handle_eof(struct exec *x, const struct session_frame *f)
{
    (void)f;
    if (x->in_eof)
        return;
    x->in_eof = true;
    if (x->tty && x->in_fd >= 0)
        x->in[x->in_len++] = TTY_EOF;
    write_input(x);
}

static void handle_resize(struct exec *x, const struct session_frame *f)
{
    const struct winsize size = {.ws_col = f->size.cols, .ws_row = f->size.rows};
    if (x->tty && x->outputs[0].fd >= 0)
        ioctl(x->outputs[0].fd, TIOCSWINSZ, &size); // a terminal of any size is a terminal
}

static void handle_signal(struct exec *x, const struct session_frame *f)
{
    if (!x->ended)
        kill(-x->pid, f->signal); // it may have ended meanwhile
}

void exec_handle(struct exec *x, const struct session_frame *f)
{
    static void (*const handlers[SESSION_FRAME_TYPE_COUNT])(struct exec *, const struct session_frame *) = {
        [SESSION_STDIN] = handle_stdin,
        [SESSION_STDIN_EOF] = handle_eof,
        [SESSION_RESIZE] = handle_resize,
        [SESSION_SIGNAL] = handle_signal,
    };
    if (!x)
        return;
    if (handlers[f->type]) {
        handlers[f->type](x, f);
        return;
    }
    session_fail(x->session, SESSION_ERROR_PROTOCOL, "a %s frame is out of place",
                 session_frame_type_name(f->type));
}

// ---- beginning and end ----

static void on_ended(void *arg, int status)
{
    struct exec *x = arg;
    x->ended = true;
    x->status = status;
    if (!x->session)
        return; // the timer ends its group
    loop_timer_set(x->timer, io_monotonic_ns() + DRAIN_MS * 1000000ull);
    finish_if_done(x);
}

static void begin_draining(struct exec *x)
{
    for (size_t i = 0; i < ARRAY_LEN(x->outputs); i++) {
        struct output *o = &x->outputs[i];
        int n = 0;
        if (o->fd < 0)
            continue;
        o->draining = true;
        o->drain_left = ioctl(o->fd, FIONREAD, &n) == 0 && n > 0 ? (size_t)n : 0;
        if (o->drain_left == 0)
            close_fd(&o->fd, &o->source);
    }
    if (!finish_if_done(x))
        arm_outputs(x);
}

static void on_timer(void *arg, uint32_t events)
{
    struct exec *x = arg;
    (void)events;
    if (x->session) {
        begin_draining(x);
        return;
    }
    kill(-x->pid, SIGKILL); // what is left of the group
    release(x);
}

void exec_free(struct exec *x)
{
    if (!x)
        return;
    x->session->exec = NULL;
    x->session = NULL;
    close_all(x);
    if (x->ended) {
        release(x);
        return;
    }
    kill(-x->pid, SIGHUP);
    kill(-x->pid, SIGCONT);
    loop_timer_set(x->timer, io_monotonic_ns() + KILL_MS * 1000000ull);
}

// What a failed start means to the client.
static void fail_by(struct session *s, const char *command, const struct spawn_report *report)
{
    static const struct {
        enum spawn_stage stage;
        int error; // 0: any other
        enum session_error code;
        const char *hint;
    } meanings[] = {
        {SPAWN_EXEC, ENOENT, SESSION_ERROR_NOT_FOUND,
         "neither a path nor in PATH, or the interpreter it names is not there; try its full path"},
        {SPAWN_EXEC, ENOTDIR, SESSION_ERROR_NOT_FOUND, "try its full path"},
        {SPAWN_EXEC, EACCES, SESSION_ERROR_NOT_EXECUTABLE, "see its mode (chmod +x), or try another user"},
        {SPAWN_EXEC, ENOEXEC, SESSION_ERROR_NOT_EXECUTABLE,
         "not a program for this machine, nor a script that begins with #!; try sh and its name"},
        {SPAWN_EXEC, EAGAIN, SESSION_ERROR_LIMIT, "the user has as many processes as it may"},
        {SPAWN_EXEC, 0, SESSION_ERROR_NOT_EXECUTABLE, "try it in the environment itself"},
        {SPAWN_CWD, 0, SESSION_ERROR_NO_CWD, "the folder to run it in; try another"},
        {SPAWN_USER, EAGAIN, SESSION_ERROR_LIMIT, "the user has as many processes as it may"},
        {SPAWN_USER, 0, SESSION_ERROR_DENIED, "the agent may not become that user"},
        {SPAWN_SETUP, 0, SESSION_ERROR_IO, "preparing its terminal or pipes"},
    };
    size_t i = 0;
    while (i + 1 < ARRAY_LEN(meanings) &&
           (meanings[i].stage != report->stage || (meanings[i].error && meanings[i].error != report->error)))
        i++;
    session_fail(s, meanings[i].code, "run %s: %s (%s)", command, strerror(report->error), meanings[i].hint);
}

static void on_report(void *arg, uint32_t events)
{
    struct exec *x = arg;
    struct session *s = x->session;
    struct spawn_report report;
    (void)events;
    ssize_t n = read(x->report_fd, &report, sizeof report);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    close_fd(&x->report_fd, &x->report_source);
    if (n == (ssize_t)sizeof report) {
        char command[sizeof x->command];
        memcpy(command, x->command, sizeof command);
        release(x);
        fail_by(s, command, &report);
        return;
    }
    x->started = true;
    session_push(s, &(struct session_frame){.type = SESSION_STARTED, .pid = (uint32_t)x->pid});
    if (x->in_fd >= 0)
        x->credit_owed = IN_CAP;
    give_credit(x);
    session_flush(s);
    if (!finish_if_done(x))
        arm_outputs(x);
}

// ---- starting ----

static char *text_of(struct wire_view v)
{
    char *text = malloc(v.len + 1);
    if (text) {
        memcpy(text, v.data, v.len);
        text[v.len] = '\0';
    }
    return text;
}

static void free_texts(char ***texts)
{
    for (char **t = *texts; t && *t; t++)
        free(*t);
    free(*texts);
}
#define _cleanup_texts_ __attribute__((cleanup(free_texts)))

// NULL-terminated copies, with room for n_more; NULL without memory.
static char **texts_of(const struct wire_view *views, size_t n, size_t n_more)
{
    _cleanup_texts_ char **texts = calloc(n + n_more + 1, sizeof *texts);
    for (size_t i = 0; texts && i < n; i++)
        if (!(texts[i] = text_of(views[i])))
            return NULL;
    return take_ptr(texts);
}

// NAME=value, unless the caller has said what NAME is.
static bool add_default(char **env, const char *name, const char *value)
{
    size_t len = strlen(name);
    for (; *env; env++)
        if (strncmp(*env, name, len) == 0 && (*env)[len] == '=')
            return true;
    return asprintf(env, "%s=%s", name, value) >= 0 || (*env = NULL, false);
}

static char **make_env(const struct session_exec *e, const struct user *u)
{
    _cleanup_texts_ char **env = texts_of(e->env, e->n_env, 6);
    bool tty = e->flags & SESSION_EXEC_TTY;
    if (!env || !add_default(env, "PATH", DEFAULT_PATH) || !add_default(env, "HOME", u->home) ||
        !add_default(env, "USER", u->name) || !add_default(env, "LOGNAME", u->name) ||
        !add_default(env, "SHELL", u->shell) || (tty && !add_default(env, "TERM", "xterm")))
        return NULL;
    return take_ptr(env);
}

// theirs: for the child; the session's ends go into x. 0 or -errno.
static int make_terminal(struct exec *x, const struct session_exec *e, int theirs[3])
{
    const struct winsize size = {.ws_col = e->cols, .ws_row = e->rows};
    int master;
    if (openpty(&master, &theirs[0], NULL, NULL, &size) < 0)
        return -errno;
    x->outputs[0].fd = master;
    fcntl(master, F_SETFD, FD_CLOEXEC);
    fcntl(master, F_SETFL, O_NONBLOCK);
    for (int i = 0; i < 3; i++) // above 2, and closed in the command but as 0, 1 and 2
        if (i == 0 ? fcntl(theirs[0], F_SETFD, FD_CLOEXEC) < 0
                   : (theirs[i] = fcntl(theirs[0], F_DUPFD_CLOEXEC, 3)) < 0)
            return -errno;
    x->in_fd = fcntl(master, F_DUPFD_CLOEXEC, 3); // again, to be watched apart
    return x->in_fd < 0 ? -errno : 0;
}

static int make_pipe(int *ours, int *theirs, bool we_read)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    *ours = ends[we_read ? 0 : 1];
    *theirs = ends[we_read ? 1 : 0];
    return fcntl(*ours, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

static int make_pipes(struct exec *x, const struct session_exec *e, int theirs[3])
{
    int rc = 0;
    if (e->flags & SESSION_EXEC_STDIN)
        rc = make_pipe(&x->in_fd, &theirs[0], false);
    else
        theirs[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (rc == 0 && theirs[0] < 0)
        rc = -errno;
    if (rc == 0)
        rc = make_pipe(&x->outputs[0].fd, &theirs[1], true);
    return rc == 0 ? make_pipe(&x->outputs[1].fd, &theirs[2], true) : rc;
}

static bool watch_all(struct exec *x)
{
    struct loop *loop = sessions_loop(x->session->owner);
    x->report_source = loop_add(loop, x->report_fd, EPOLLIN, on_report, x);
    x->timer = loop_add_timer(loop, on_timer, x);
    bool ok = x->report_source && x->timer;
    if (x->in_fd >= 0)
        ok = (x->in_source = loop_add(loop, x->in_fd, 0, on_input, x)) && ok;
    for (size_t i = 0; i < ARRAY_LEN(x->outputs); i++)
        if (x->outputs[i].fd >= 0)
            ok =
                (x->outputs[i].source = loop_add(loop, x->outputs[i].fd, 0, on_output, &x->outputs[i])) && ok;
    return ok;
}

// Forks with everything prepared. 0 or -errno.
static int run(struct exec *x, const struct session_exec *e, const struct user *u, int theirs[3],
               int report_fd)
{
    char cwd[SESSION_PATH_MAX + 1];
    _cleanup_texts_ char **argv = texts_of(e->args, e->n_args, 0);
    _cleanup_texts_ char **env = make_env(e, u);
    wire_view_to_cstr(e->cwd, cwd, sizeof cwd);
    if (!argv || !env || !watch_all(x))
        return -ENOMEM;
    snprintf(x->command, sizeof x->command, "%s", argv[0]);
    const struct spawn s = {.argv = (const char *const *)argv,
                            .env = (const char *const *)env,
                            .cwd = *cwd ? cwd : NULL,
                            .user = u,
                            .stdio = {theirs[0], theirs[1], theirs[2]},
                            .tty = x->tty,
                            .report_fd = report_fd};
    pid_t pid = spawn(&s);
    if (pid < 0)
        return pid;
    x->pid = pid;
    if (children_watch(pid, on_ended, x))
        return 0;
    kill(pid, SIGKILL);
    return -EAGAIN;
}

static struct exec *exec_new(struct session *s, bool tty)
{
    struct exec *x = calloc(1, sizeof *x);
    if (!x)
        return NULL;
    x->session = s;
    x->tty = tty;
    x->report_fd = x->in_fd = -1;
    x->outputs[0] = (struct output){.exec = x, .type = SESSION_STDOUT, .fd = -1};
    x->outputs[1] = (struct output){.exec = x, .type = SESSION_STDERR, .fd = -1};
    s->exec = x;
    return x;
}

static int start(struct exec *x, const struct session_exec *e, const struct user *u)
{
    int theirs[3] = {-1, -1, -1};
    int report_fd = -1;
    int rc = make_pipe(&x->report_fd, &report_fd, true);
    if (rc == 0)
        rc = x->tty ? make_terminal(x, e, theirs) : make_pipes(x, e, theirs);
    if (rc == 0)
        rc = run(x, e, u, theirs, report_fd);
    for (int i = 0; i < 3; i++)
        if (theirs[i] >= 0)
            close(theirs[i]);
    if (report_fd >= 0)
        close(report_fd);
    return rc;
}

void exec_start(struct session *s, const struct session_exec *e)
{
    char name[SESSION_USER_MAX + 1];
    struct user u;
    struct err err;
    wire_view_to_cstr(e->user, name, sizeof name);
    if (users_find("", name, &u, &err) < 0) {
        session_fail(s, SESSION_ERROR_NO_USER, "%s", err.text);
        return;
    }
    struct exec *x = exec_new(s, e->flags & SESSION_EXEC_TTY);
    int rc = x ? start(x, e, &u) : -ENOMEM;
    if (rc == 0)
        return;
    if (x)
        release(x);
    session_fail(s, SESSION_ERROR_LIMIT,
                 "run a command: %s (the guest is short of processes, memory or descriptors)", strerror(-rc));
}
