// See harness.h.
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/io.h"

#define LIMIT_S 10

struct wire_view text_view(const char *s)
{
    return (struct wire_view){(const uint8_t *)s, strlen(s)};
}

void pause_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

int harness_enter(void)
{
    if (geteuid() == 0)
        return 0;
    fprintf(stderr, "SKIPPED: needs root: envagent runs in namespaces of its own and changes users\n");
    return 77;
}

// ---- processes ----

static void set_limit(int fd)
{
    const struct timeval limit = {.tv_sec = LIMIT_S};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit), 0);
}

static struct host *host_new(void)
{
    struct host *h = calloc(1, sizeof *h);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    assert_non_null(h);
    snprintf(h->folder, sizeof h->folder, "/tmp/envagent-test-XXXXXX");
    assert_non_null(mkdtemp(h->folder));
    assert_int_equal(chmod(h->folder, 0755), 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s/host.sock", h->folder);
    snprintf(h->socket, sizeof h->socket, "%s/programs/agent.sock", h->folder);
    h->link = -1;
    h->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(h->listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(h->listener, 64), 0);
    set_limit(h->listener);
    return h;
}

static const char *build_folder(void)
{
    const char *build = getenv("ENVD_BUILD");
    return build ? build : ".";
}

static void die(const char *what)
{
    perror(what);
    _exit(99);
}

// Also closes what the test was started with.
static void isolate(int more)
{
    syscall(SYS_close_range, 3, ~0u, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWUTS | more) < 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        die("namespaces");
}

struct host *host_start(void)
{
    struct host *h = host_new();
    char program[512], link[256], services[256];
    snprintf(program, sizeof program, "%s/bin/envagent", build_folder());
    snprintf(link, sizeof link, "unix:%s/host.sock", h->folder);
    snprintf(services, sizeof services, "%s/services", h->folder);
    h->pid = fork();
    if (h->pid == 0) {
        isolate(0);
        execl(program, "envagent", "--link", link, "--socket", h->socket, "--services", services, NULL);
        die(program);
    }
    return h;
}

static void run_line(const char *format, ...)
{
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (system(line) != 0)
        fail_msg("%s", line);
}

// What an image of kernel, busybox and agent has.
static void make_root(const struct host *h, const char *script)
{
    run_line("cd %s && mkdir -p bin dev etc/env etc/env/services && cp \"$(command -v busybox)\" bin/ && ln "
             "-s busybox "
             "bin/sh && cp %s/guest/envagent init && mknod dev/null c 1 3 && mknod dev/ptmx c 5 2 && chmod "
             "666 dev/*",
             h->folder, build_folder());
    if (script)
        run_line("cd %s && printf '#!/bin/sh\\n%s\\n' > etc/env/init && chmod 755 etc/env/init", h->folder,
                 script);
}

// /dev is a mount of the root's own, so that the agent leaves this machine's devices alone.
static void be_init(const struct host *h)
{
    char dev[96];
    snprintf(dev, sizeof dev, "%s/dev", h->folder);
    isolate(CLONE_NEWPID | CLONE_NEWIPC);
    pid_t pid = fork();
    if (pid != 0) {
        int status = 0;
        waitpid(pid, &status, 0);
        _exit(WIFSIGNALED(status) ? WTERMSIG(status) : 100 + WEXITSTATUS(status));
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL); // what host_stop() kills is its parent
    if (mount(dev, dev, NULL, MS_BIND, NULL) < 0 || mount("tmpfs", dev, "tmpfs", 0, NULL) < 0 ||
        chroot(h->folder) < 0 || chdir("/") < 0)
        die("root");
    mknod("/dev/null", S_IFCHR | 0666, makedev(1, 3));
    mknod("/dev/ptmx", S_IFCHR | 0666, makedev(5, 2));
    execl("/init", "envagent", "--link", "unix:/host.sock", NULL);
    die("/init");
}

struct host *host_start_init(const char *script)
{
    struct host *h = host_new();
    make_root(h, script);
    snprintf(h->socket, sizeof h->socket, "%s/run/env/agent.sock", h->folder);
    h->pid = fork();
    if (h->pid == 0)
        be_init(h);
    return h;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void host_stop(struct host *h)
{
    int status;
    if (h->link >= 0)
        close(h->link);
    close(h->listener);
    if (h->pid > 0) {
        kill(h->pid, SIGKILL);
        waitpid(h->pid, &status, 0);
    }
    nftw(h->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(h->frame);
    free(h);
}

void host_run_inside(struct host *h, const char *line)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/ns/net", h->pid);
    pid_t pid = fork();
    if (pid == 0) {
        int fd = open(path, O_RDONLY);
        if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
            die(path);
        _exit(system(line) == 0 ? 0 : 1);
    }
    int status;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
}

// ---- the link ----

static bool read_exactly(int fd, void *out, size_t n)
{
    uint8_t *p = out;
    while (n > 0) {
        ssize_t got = read(fd, p, n);
        if (got < 0 && errno == EAGAIN)
            fail_msg("nothing came within %d s", LIMIT_S);
        if (got <= 0)
            return false;
        p += got;
        n -= (size_t)got;
    }
    return true;
}

static struct agent_frame next_frame(struct host *h, int fd)
{
    uint8_t raw[AGENT_HEADER_LEN];
    struct agent_header header;
    struct agent_frame f;
    struct wire_error error;
    assert_true(read_exactly(fd, raw, sizeof raw));
    assert_null(agent_header_read(raw, &header));
    free(h->frame);
    h->frame = malloc(header.len_bytes + 1);
    assert_non_null(h->frame);
    assert_true(read_exactly(fd, h->frame, header.len_bytes));
    assert_true(agent_frame_read(&header, h->frame, &f, &error));
    return f;
}

void host_say(struct host *h, struct agent_frame *f)
{
    size_t n = agent_frame_size(f);
    uint8_t *data = malloc(n);
    struct wire_writer w;
    assert_non_null(data);
    wire_writer_init(&w, data, n);
    agent_frame_write(&w, f);
    assert_false(w.overflow);
    assert_int_equal(io_write_all(h->link, data, n), 0);
    free(data);
}

struct agent_frame host_expect(struct host *h, enum agent_frame_type type)
{
    for (;;) {
        struct agent_frame f = next_frame(h, h->link);
        if (f.type == type)
            return f;
        if (f.type != AGENT_CREDIT)
            fail_msg("%s instead of %s", agent_frame_type_name(f.type), agent_frame_type_name(type));
    }
}

void host_greet(struct host *h)
{
    struct timespec now;
    if (h->link >= 0)
        close(h->link);
    h->link = accept4(h->listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(h->link >= 0);
    set_limit(h->link);
    h->capabilities = host_expect(h, AGENT_HELLO).hello.capabilities;
    clock_gettime(CLOCK_REALTIME, &now);
    host_say(h, &(struct agent_frame){
                    .type = AGENT_HELLO_OK,
                    .hello_ok = {.version = AGENT_VERSION,
                                 .tenant = text_view("acme"),
                                 .name = text_view("web"),
                                 .body_max = ENVELOPE_BODY_DEFAULT,
                                 .realtime_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec}});
}

enum receipt_code host_ask(struct host *h, struct agent_frame *f)
{
    f->tag = ++h->tag;
    host_say(h, f);
    struct agent_frame result = host_expect(h, AGENT_RESULT);
    assert_int_equal(result.tag, f->tag);
    return result.receipt.code;
}

// ---- sessions ----

int session_open(struct host *h, enum agent_session_kind kind)
{
    struct agent_frame f = {.type = AGENT_OPEN, .session = {.kind = kind}};
    struct id token = {{(uint8_t)++h->tag, (uint8_t)kind, 1}};
    f.session.token = token;
    assert_int_equal(host_ask(h, &f), RECEIPT_ACCEPTED);
    int fd = accept4(h->listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(fd >= 0);
    set_limit(fd);
    struct agent_frame attach = next_frame(h, fd);
    assert_int_equal(attach.type, AGENT_ATTACH);
    assert_true(id_equals(&attach.session.token, &token));
    return fd;
}

void session_say(int fd, const struct session_frame *f)
{
    size_t n = session_frame_size(f);
    uint8_t *data = malloc(n);
    struct wire_writer w;
    assert_non_null(data);
    wire_writer_init(&w, data, n);
    session_frame_write(&w, f);
    assert_false(w.overflow);
    assert_int_equal(io_write_all(fd, data, n), 0);
    free(data);
}

void session_say_data(int fd, enum session_frame_type type, const void *data, size_t n)
{
    session_say(fd, &(struct session_frame){.type = type, .data = {data, n}});
}

bool session_next(int fd, struct session_frame *ret)
{
    static uint8_t payload[SESSION_PAYLOAD_MAX];
    uint8_t raw[SESSION_HEADER_LEN];
    struct session_header header;
    struct wire_error error;
    if (!read_exactly(fd, raw, sizeof raw))
        return false;
    assert_null(session_header_read(raw, &header));
    assert_true(read_exactly(fd, payload, header.len_bytes));
    assert_true(session_frame_read(&header, payload, ret, &error));
    return true;
}

struct session_frame session_expect(int fd, enum session_frame_type type)
{
    struct session_frame f;
    if (!session_next(fd, &f))
        fail_msg("the stream ended instead of %s", session_frame_type_name(type));
    if (f.type == SESSION_ERROR && type != SESSION_ERROR)
        fail_msg("%.*s", (int)f.error.text.len, (const char *)f.error.text.data);
    if (f.type != type)
        fail_msg("%s instead of %s", session_frame_type_name(f.type), session_frame_type_name(type));
    return f;
}

void exec_say(int fd, struct session_exec *e, const char *const *argv)
{
    struct session_frame f = {.type = SESSION_EXEC, .exec = *e};
    for (f.exec.n_args = 0; argv[f.exec.n_args]; f.exec.n_args++)
        f.exec.args[f.exec.n_args] = text_view(argv[f.exec.n_args]);
    session_say(fd, &f);
}

static void append(char **text, size_t *len, struct wire_view data)
{
    *text = realloc(*text, *len + data.len + 1);
    assert_non_null(*text);
    if (data.len > 0)
        memcpy(*text + *len, data.data, data.len);
    *len += data.len;
    (*text)[*len] = '\0';
}

// Sends as much input as the agent asks for. True when there is none left and its end was said.
static bool feed(int fd, const uint8_t *input, size_t n, size_t *done, size_t *credit)
{
    while (*done<n && * credit> 0) {
        size_t piece = n - *done < *credit ? n - *done : *credit;
        piece = piece > SESSION_PAYLOAD_MAX ? SESSION_PAYLOAD_MAX : piece;
        session_say_data(fd, SESSION_STDIN, input + *done, piece);
        *done += piece;
        *credit -= piece;
    }
    return *done == n;
}

struct outcome run_with(struct host *h, struct session_exec *e, const char *const *argv, const void *input,
                        size_t n)
{
    struct outcome o = {.value = -1};
    struct session_frame f;
    size_t done = 0, credit = 0;
    bool ended = !input;
    int fd = session_open(h, AGENT_SESSION_EXEC);
    append(&o.out, &o.out_len, (struct wire_view){0});
    append(&o.err, &o.err_len, (struct wire_view){0});
    e->flags |= input ? SESSION_EXEC_STDIN : 0;
    exec_say(fd, e, argv);
    while (session_next(fd, &f)) {
        if (f.type == SESSION_STDOUT || f.type == SESSION_STDERR) {
            bool out = f.type == SESSION_STDOUT;
            append(out ? &o.out : &o.err, out ? &o.out_len : &o.err_len, f.data);
        } else if (f.type == SESSION_CREDIT) {
            credit += f.credit;
        } else if (f.type == SESSION_EXIT) {
            o.kind = f.exit.kind;
            o.value = f.exit.value;
        } else if (f.type == SESSION_ERROR) {
            o.error = f.error.code;
            wire_view_to_cstr(f.error.text, o.text, sizeof o.text);
        }
        if (!ended && o.value < 0 && !o.error && feed(fd, input, n, &done, &credit)) {
            session_say(fd, &(struct session_frame){.type = SESSION_STDIN_EOF});
            ended = true;
        }
    }
    close(fd);
    return o;
}

struct outcome run_shell(struct host *h, const char *line)
{
    const char *const argv[] = {"sh", "-c", line, NULL};
    struct session_exec e = {0};
    return run_with(h, &e, argv, NULL, 0);
}

void outcome_free(struct outcome *o)
{
    free(o->out);
    free(o->err);
}
