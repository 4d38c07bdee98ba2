// The agent's process (world.h): agent/core in a poll loop over AF_UNIX sockets, as an agent for Linux would
// run it.
#include "testing.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/agent.h"
#include "world.h"

#define BUFFER 65536

struct world {
    char dir[64];
    pid_t pid;
    int leash; // closing it ends the process
};

struct conn {
    int fd; // -1: none
    size_t len;
    uint8_t kept[BUFFER]; // read, but not taken by the agent
    bool full;            // the last write was short
};

struct process {
    struct agent *agent;
    struct loop_host *host;
    struct conn link; // our end; host_fd is the host's
    int host_fd;
    bool link_wanted;
    struct conn clients[AGENT_CLIENTS_MAX];
    uint64_t timer_ns;
};

static void conn_close(struct conn *c)
{
    close(c->fd);
    *c = (struct conn){.fd = -1};
}

static int op_connect_host(void *ctx)
{
    ((struct process *)ctx)->link_wanted = true;
    return 0;
}

static void op_close_host(void *ctx)
{
    struct process *p = ctx;
    p->link_wanted = false;
    if (p->link.fd < 0)
        return;
    conn_close(&p->link);
    close(p->host_fd);
    p->host_fd = -1;
}

static size_t conn_write(struct conn *c, const void *data, size_t n)
{
    ssize_t written = send(c->fd, data, n, MSG_NOSIGNAL | MSG_DONTWAIT);
    size_t taken = written > 0 ? (size_t)written : 0;
    c->full = taken < n;
    return taken;
}

static size_t op_write_host(void *ctx, const void *data, size_t n)
{
    return conn_write(&((struct process *)ctx)->link, data, n);
}

static size_t op_write_client(void *ctx, int client, const void *data, size_t n)
{
    return conn_write(&((struct process *)ctx)->clients[client], data, n);
}

static void op_close_client(void *ctx, int client)
{
    conn_close(&((struct process *)ctx)->clients[client]);
}

static uint64_t now_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t op_monotonic_ns(void *ctx)
{
    (void)ctx;
    return now_ns(CLOCK_MONOTONIC);
}

static uint64_t op_realtime_ns(void *ctx)
{
    (void)ctx;
    return now_ns(CLOCK_REALTIME);
}

static void op_random(void *ctx, void *out, size_t n)
{
    (void)ctx;
    if (getrandom(out, n, 0) != (ssize_t)n)
        abort();
}

static void op_set_timer(void *ctx, uint64_t monotonic_ns)
{
    ((struct process *)ctx)->timer_ns = monotonic_ns;
}

static void op_shutdown(void *ctx, uint32_t grace_ms, const char *reason)
{
    (void)ctx;
    (void)grace_ms;
    (void)reason;
}

static void *op_allocate(void *ctx, size_t size_bytes)
{
    (void)ctx;
    return malloc(size_bytes);
}

static void op_deallocate(void *ctx, void *p)
{
    (void)ctx;
    free(p);
}

static const struct agent_ops ops = {
    .allocate = op_allocate,
    .deallocate = op_deallocate,
    .connect_host = op_connect_host,
    .close_host = op_close_host,
    .write_host = op_write_host,
    .write_client = op_write_client,
    .close_client = op_close_client,
    .monotonic_ns = op_monotonic_ns,
    .realtime_ns = op_realtime_ns,
    .random = op_random,
    .set_timer = op_set_timer,
    .shutdown = op_shutdown,
};

static void link_connect(struct process *p)
{
    int pair[2];
    if (!p->link_wanted)
        return;
    p->link_wanted = false;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0)
        abort();
    p->link.fd = pair[0];
    p->host_fd = pair[1];
    loop_host_reset(p->host);
    agent_host_up(p->agent);
}

static void link_break(struct process *p)
{
    op_close_host(p);
    agent_host_down(p->agent);
}

static void host_serve(struct process *p, short events)
{
    uint8_t data[BUFFER];
    ssize_t n = events & POLLIN ? recv(p->host_fd, data, sizeof data, 0) : -1;
    if (n > 0 && !loop_host_input(p->host, data, (size_t)n)) {
        link_break(p);
        return;
    }
    size_t len;
    const uint8_t *out = loop_host_output(p->host, &len);
    n = len > 0 ? send(p->host_fd, out, len, MSG_NOSIGNAL) : 0;
    if (n > 0)
        loop_host_written(p->host, (size_t)n);
}

static bool wants(struct process *p, int client)
{
    return client < 0 ? agent_host_wants_input(p->agent) : agent_client_wants_input(p->agent, client);
}

// Offers what was kept; reads more when poll said so.
static void conn_read(struct process *p, int client, bool readable)
{
    struct conn *c = client < 0 ? &p->link : &p->clients[client];
    if (readable && c->len < BUFFER) {
        ssize_t n = recv(c->fd, c->kept + c->len, BUFFER - c->len, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN)) {
            conn_close(c);
            if (client < 0)
                agent_host_down(p->agent);
            else
                agent_client_closed(p->agent, client);
            return;
        }
        c->len += n > 0 ? (size_t)n : 0;
    }
    while (c->fd >= 0 && c->len > 0 && wants(p, client)) {
        uint8_t offered[BUFFER];
        size_t n = c->len;
        memcpy(offered, c->kept, n);
        size_t taken = client < 0 ? agent_host_input(p->agent, offered, n)
                                  : agent_client_input(p->agent, client, offered, n);
        if (c->fd < 0)
            break; // closed meanwhile
        c->len -= taken;
        memmove(c->kept, c->kept + taken, c->len);
    }
}

static void client_accept(struct process *p, int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    for (int i = 0; fd >= 0 && i < AGENT_CLIENTS_MAX; i++) {
        if (p->clients[i].fd >= 0)
            continue;
        p->clients[i] = (struct conn){.fd = fd};
        agent_client_open(p->agent, i);
        return;
    }
    if (fd >= 0)
        close(fd);
}

static struct pollfd poll_entry(struct process *p, int client)
{
    struct conn *c = client < 0 ? &p->link : &p->clients[client];
    short events = wants(p, client) ? POLLIN : 0;
    return (struct pollfd){.fd = c->fd, .events = (short)(events | (c->full ? POLLOUT : 0))};
}

static void serve_clients(struct process *p, const struct pollfd *polled)
{
    for (int i = -1; i < AGENT_CLIENTS_MAX; i++) {
        struct conn *c = i < 0 ? &p->link : &p->clients[i];
        short events = polled[i + 1].revents;
        if (c->fd < 0 || c->fd != polled[i + 1].fd)
            continue;
        if (events & POLLOUT) {
            c->full = false;
            if (i < 0)
                agent_host_writable(p->agent);
            else
                agent_client_writable(p->agent, i);
        }
        if (c->fd >= 0)
            conn_read(p, i, events & (POLLIN | POLLHUP));
    }
}

static int timeout_ms(const struct process *p)
{
    uint64_t now = now_ns(CLOCK_MONOTONIC);
    if (p->timer_ns == AGENT_TIMER_OFF)
        return -1;
    return p->timer_ns <= now ? 0 : (int)((p->timer_ns - now) / 1000000 + 1);
}

static void run(struct process *p, int listener, int leash)
{
    for (;;) {
        struct pollfd polled[AGENT_CLIENTS_MAX + 4];
        size_t len;
        link_connect(p);
        for (int i = -1; i < AGENT_CLIENTS_MAX; i++)
            polled[i + 1] = poll_entry(p, i);
        struct pollfd *host = &polled[AGENT_CLIENTS_MAX + 1];
        loop_host_output(p->host, &len);
        host[0] = (struct pollfd){.fd = p->host_fd, .events = (short)(POLLIN | (len > 0 ? POLLOUT : 0))};
        host[1] = (struct pollfd){.fd = listener, .events = POLLIN};
        host[2] = (struct pollfd){.fd = leash, .events = POLLIN};
        poll(polled, AGENT_CLIENTS_MAX + 4, timeout_ms(p));
        if (host[2].revents)
            return;
        if (timeout_ms(p) == 0)
            agent_timer(p->agent);
        serve_clients(p, polled);
        if (host[0].revents && p->host_fd == host[0].fd)
            host_serve(p, host[0].revents);
        if (host[1].revents)
            client_accept(p, listener);
    }
}

static void process_main(int listener, int leash)
{
    static struct process p;
    p.host = loop_host_new();
    p.link.fd = p.host_fd = -1;
    p.timer_ns = AGENT_TIMER_OFF;
    for (int i = 0; i < AGENT_CLIENTS_MAX; i++)
        p.clients[i].fd = -1;
    p.agent = agent_new(&ops, &p, "test");
    agent_start(p.agent);
    run(&p, listener, leash);
    agent_free(p.agent);
    loop_host_free(p.host);
    exit(0);
}

static int listen_at(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    snprintf(addr.sun_path, sizeof addr.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof addr) < 0 || listen(fd, 16) < 0)
        abort();
    return fd;
}

struct world *world_start(void)
{
    struct world *w = calloc(1, sizeof *w);
    int leash[2];
    char path[80];
    assert_non_null(w);
    strcpy(w->dir, "/tmp/envd-world-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    snprintf(path, sizeof path, "%s/agent.sock", w->dir);
    int listener = listen_at(path);
    assert_int_equal(pipe2(leash, O_CLOEXEC), 0);
    fflush(NULL);
    w->pid = fork();
    if (w->pid == 0) {
        close(leash[1]);
        process_main(listener, leash[0]);
    }
    assert_true(w->pid > 0);
    close(listener);
    close(leash[0]);
    w->leash = leash[1];
    setenv("ENV_AGENT_SOCKET", path, 1);
    return w;
}

void world_stop(struct world *w)
{
    char path[80];
    int status = -1;
    close(w->leash);
    waitpid(w->pid, &status, 0);
    snprintf(path, sizeof path, "%s/agent.sock", w->dir);
    unlink(path);
    rmdir(w->dir);
    free(w);
    assert_int_equal(status, 0);
}
