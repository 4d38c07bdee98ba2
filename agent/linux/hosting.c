// See hosting.h. agent/core's operations must not call back into it: what they cause is only noted, and
// settle() acts upon it after every call into the core. A connection's bytes that the core does not take wait
// in its buffer, and nothing more is read for it meanwhile: that is the back-pressure.
#include "hosting.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/io.h"
#include "common/log.h"

#define HOST            AGENT_CLIENTS_MAX // the index of the link to the host
#define IN_CAP          16384
#define PER_UID_MAX     32 // connections of one user who is not root: the others shall find room
#define ACCEPT_AGAIN_MS 100

struct conn {
    struct hosting *hosting;
    int index;
    int fd; // -1: none
    struct loop_source *source;
    uint32_t events;
    uid_t uid;
    bool connecting, blocked, broken;
    size_t in_len;
    uint8_t *in; // IN_CAP bytes
};

struct hosting {
    struct loop *loop;
    const struct transport *transport;
    const struct hosting_guest *guest;
    struct agent_ops ops;
    struct agent *core;
    struct loop_source *timer, *accept_timer, *listener_source;
    int listener;
    unsigned n_programs;
    struct conn conns[AGENT_CLIENTS_MAX + 1];
};

// ---- one connection ----

static void conn_close(struct conn *c)
{
    if (c->fd < 0)
        return;
    loop_remove(c->source);
    close(c->fd);
    free(c->in);
    if (c->index != HOST)
        c->hosting->n_programs--;
    *c = (struct conn){.hosting = c->hosting, .index = c->index, .fd = -1};
}

static void on_conn(void *arg, uint32_t events);

// Takes fd over, also when it fails.
static int conn_open(struct hosting *h, int index, int fd, bool connecting)
{
    struct conn *c = &h->conns[index];
    uint8_t *in = malloc(IN_CAP);
    uint32_t events = connecting ? EPOLLOUT : EPOLLIN;
    struct loop_source *source = in ? loop_add(h->loop, fd, events, on_conn, c) : NULL;
    if (!source) {
        free(in);
        close(fd);
        return -ENOMEM;
    }
    *c = (struct conn){.hosting = h,
                       .index = index,
                       .fd = fd,
                       .source = source,
                       .events = events,
                       .connecting = connecting,
                       .in = in};
    if (index != HOST)
        h->n_programs++;
    return 0;
}

static size_t conn_write(struct conn *c, const void *data, size_t n)
{
    if (c->fd < 0 || c->broken)
        return 0;
    ssize_t done = send(c->fd, data, n, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (done < 0 && errno != EAGAIN && errno != EINTR && errno != ENOBUFS)
        c->broken = true;
    done = done < 0 ? 0 : done;
    c->blocked = (size_t)done < n;
    return (size_t)done;
}

static bool conn_wants(const struct conn *c)
{
    const struct agent *core = c->hosting->core;
    return c->index == HOST ? agent_host_wants_input(core) : agent_client_wants_input(core, c->index);
}

// Gives the core what waits. True when it took some.
static bool conn_offer(struct conn *c)
{
    if (c->fd < 0 || c->in_len == 0 || c->connecting || !conn_wants(c))
        return false;
    struct agent *core = c->hosting->core;
    uint8_t *in = c->in;
    size_t n = c->in_len;
    // The core may close this very connection meanwhile, so it gets a buffer that is not the connection's.
    c->in = NULL;
    size_t taken =
        c->index == HOST ? agent_host_input(core, in, n) : agent_client_input(core, c->index, in, n);
    if (c->fd < 0) {
        free(in);
        return true;
    }
    c->in = in;
    c->in_len = n - taken;
    memmove(in, in + taken, c->in_len);
    return taken > 0;
}

static void conn_arm(struct conn *c)
{
    uint32_t events = 0;
    if (c->fd < 0)
        return;
    if (c->connecting)
        events = EPOLLOUT;
    else
        events = (c->blocked ? EPOLLOUT : 0u) | (c->in_len == 0 && conn_wants(c) ? EPOLLIN : 0u);
    if (events != c->events && loop_modify(c->source, events) == 0)
        c->events = events;
}

static void conn_report_broken(struct conn *c)
{
    struct agent *core = c->hosting->core;
    int index = c->index;
    conn_close(c);
    if (index == HOST)
        agent_host_down(core);
    else
        agent_client_closed(core, index);
}

// Called after every call into the core. Each round either moves bytes or ends a connection, so it ends.
static void settle(struct hosting *h)
{
    bool again;
    do {
        again = false;
        for (int i = 0; i <= HOST; i++) {
            struct conn *c = &h->conns[i];
            if (c->fd >= 0 && c->broken) {
                conn_report_broken(c);
                again = true;
            }
            again |= conn_offer(c);
        }
    } while (again);
    for (int i = 0; i <= HOST; i++)
        conn_arm(&h->conns[i]);
}

static void conn_read(struct conn *c)
{
    ssize_t n = recv(c->fd, c->in, IN_CAP, MSG_DONTWAIT);
    if (n > 0)
        c->in_len = (size_t)n;
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        c->broken = true;
}

static void conn_connected(struct conn *c)
{
    c->connecting = false;
    if (transport_result(c->fd) < 0)
        c->broken = true;
    else
        agent_host_up(c->hosting->core);
}

static void on_conn(void *arg, uint32_t events)
{
    struct conn *c = arg;
    if (c->connecting) {
        conn_connected(c);
    } else {
        if (events & EPOLLOUT) {
            c->blocked = false;
            if (c->index == HOST)
                agent_host_writable(c->hosting->core);
            else
                agent_client_writable(c->hosting->core, c->index);
        }
        if (c->fd >= 0 && (events & EPOLLIN) && c->in_len == 0)
            conn_read(c);
        else if (c->fd >= 0 && (events & (EPOLLHUP | EPOLLERR)))
            c->broken = true;
    }
    settle(c->hosting);
}

// ---- the core's operations ----

static void *op_allocate(void *ctx, size_t n)
{
    (void)ctx;
    return malloc(n);
}

static void op_deallocate(void *ctx, void *p)
{
    (void)ctx;
    free(p);
}

static int op_connect_host(void *ctx)
{
    struct hosting *h = ctx;
    int fd = transport_connect(h->transport);
    return fd < 0 ? fd : conn_open(h, HOST, fd, true);
}

static void op_close_host(void *ctx)
{
    conn_close(&((struct hosting *)ctx)->conns[HOST]);
}

static size_t op_write_host(void *ctx, const void *data, size_t n)
{
    return conn_write(&((struct hosting *)ctx)->conns[HOST], data, n);
}

static size_t op_write_client(void *ctx, int client, const void *data, size_t n)
{
    return conn_write(&((struct hosting *)ctx)->conns[client], data, n);
}

static void op_close_client(void *ctx, int client)
{
    conn_close(&((struct hosting *)ctx)->conns[client]);
}

static uint64_t op_monotonic_ns(void *ctx)
{
    (void)ctx;
    return io_monotonic_ns();
}

static uint64_t op_realtime_ns(void *ctx)
{
    struct timespec t;
    (void)ctx;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

// Right after boot the kernel's generator may not be seeded: what the core wants is spread, not secrecy.
static void op_random(void *ctx, void *out, size_t n)
{
    if (getrandom(out, n, GRND_NONBLOCK) == (ssize_t)n)
        return;
    uint64_t x = op_monotonic_ns(ctx) | 1;
    for (size_t i = 0; i < n; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        ((uint8_t *)out)[i] = (uint8_t)x;
    }
}

static void op_set_timer(void *ctx, uint64_t monotonic_ns)
{
    loop_timer_set(((struct hosting *)ctx)->timer, monotonic_ns == AGENT_TIMER_OFF ? 0 : monotonic_ns);
}

static void op_shutdown(void *ctx, uint32_t grace_ms, const char *reason)
{
    const struct hosting_guest *g = ((struct hosting *)ctx)->guest;
    g->shutdown(g->ctx, grace_ms, reason);
}

static void op_log(void *ctx, const char *text)
{
    (void)ctx;
    log_info(NULL, "%s", text);
}

static enum receipt_code op_configure(void *ctx, const struct agent_configure *c, const char **ret_detail)
{
    const struct hosting_guest *g = ((struct hosting *)ctx)->guest;
    return g->configure(g->ctx, c, ret_detail);
}

static enum receipt_code op_open_session(void *ctx, const struct id *token, enum agent_session_kind kind,
                                         const char **ret_detail)
{
    const struct hosting_guest *g = ((struct hosting *)ctx)->guest;
    return g->open_session(g->ctx, token, kind, ret_detail);
}

static void op_stats(void *ctx, struct agent_stats *ret)
{
    const struct hosting_guest *g = ((struct hosting *)ctx)->guest;
    g->stats(g->ctx, ret);
}

static void op_set_clock(void *ctx, uint64_t realtime_ns)
{
    const struct hosting_guest *g = ((struct hosting *)ctx)->guest;
    g->set_clock(g->ctx, realtime_ns);
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
    .log = op_log,
    .configure = op_configure,
    .open_session = op_open_session,
    .stats = op_stats,
    .set_clock = op_set_clock,
};

static void on_timer(void *arg, uint32_t events)
{
    struct hosting *h = arg;
    (void)events;
    agent_timer(h->core);
    settle(h);
}

// ---- programs ----

static int free_index(const struct hosting *h, uid_t uid)
{
    int found = -1;
    unsigned n_of_uid = 0;
    for (int i = 0; i < AGENT_CLIENTS_MAX; i++) {
        if (h->conns[i].fd < 0)
            found = found < 0 ? i : found;
        else
            n_of_uid += h->conns[i].uid == uid;
    }
    return uid != 0 && n_of_uid >= PER_UID_MAX ? -1 : found;
}

static void admit(struct hosting *h, int fd)
{
    struct ucred peer = {.uid = (uid_t)-1};
    socklen_t len = sizeof peer;
    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len);
    int index = free_index(h, peer.uid);
    if (index < 0) {
        log_warn(NULL, "a program of uid %u is refused: too many connections", peer.uid);
        close(fd);
        return;
    }
    if (conn_open(h, index, fd, false) < 0)
        return;
    h->conns[index].uid = peer.uid;
    if (!agent_client_open(h->core, index))
        conn_close(&h->conns[index]);
}

// Out of descriptors, level-triggered readiness would spin: the listener rests instead.
static void on_listener(void *arg, uint32_t events)
{
    struct hosting *h = arg;
    (void)events;
    int fd = accept4(h->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
        admit(h, fd);
        settle(h);
    } else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
        loop_modify(h->listener_source, 0);
        loop_timer_set(h->accept_timer, io_monotonic_ns() + ACCEPT_AGAIN_MS * 1000000ull);
    }
}

static void on_accept_timer(void *arg, uint32_t events)
{
    (void)events;
    loop_modify(((struct hosting *)arg)->listener_source, EPOLLIN);
}

static int make_parent(char *path)
{
    char *slash = strrchr(path, '/');
    if (!slash || slash == path)
        return 0;
    *slash = '\0';
    int rc = mkdir(path, 0755) < 0 && errno != EEXIST ? -errno : 0;
    *slash = '/';
    return rc;
}

// Any user may connect: what one may say is the host's policy for the whole environment.
int hosting_listen(struct hosting *h, const char *path, struct err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return err_set(err, -ENAMETOOLONG, "the socket's path is too long: %s", path);
    strcpy(address.sun_path, path);
    int rc = make_parent(address.sun_path);
    if (rc < 0)
        return err_errno(err, rc, "make the folder of %s", path);
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    unlink(path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || chmod(path, 0666) < 0 ||
        listen(fd, 64) < 0)
        return err_errno(err, -errno, "listen at %s", path);
    h->listener_source = loop_add(h->loop, fd, EPOLLIN, on_listener, h);
    if (!h->listener_source)
        return err_set(err, -ENOMEM, "listen at %s: no memory", path);
    h->listener = take_fd(&fd);
    return 0;
}

unsigned hosting_count_programs(const struct hosting *h)
{
    return h->n_programs;
}

// ---- life ----

int hosting_new(struct loop *loop, const struct transport *transport, const struct hosting_guest *guest,
                struct hosting **ret, struct err *err)
{
    struct hosting *h = calloc(1, sizeof *h);
    if (!h)
        return err_set(err, -ENOMEM, "no memory");
    *h = (struct hosting){.loop = loop, .transport = transport, .guest = guest, .ops = ops, .listener = -1};
    for (int i = 0; i <= HOST; i++)
        h->conns[i] = (struct conn){.hosting = h, .index = i, .fd = -1};
    h->ops.capabilities = guest->capabilities;
    h->timer = loop_add_timer(loop, on_timer, h);
    h->accept_timer = loop_add_timer(loop, on_accept_timer, h);
    h->core = agent_new(&h->ops, h, "envagent/" ENVD_VERSION);
    if (!h->core || !h->timer || !h->accept_timer) {
        hosting_free(h);
        return err_set(err, -ENOMEM, "no memory");
    }
    *ret = h;
    return 0;
}

void hosting_start(struct hosting *h)
{
    agent_start(h->core);
    settle(h);
}

void hosting_free(struct hosting *h)
{
    if (!h)
        return;
    agent_free(h->core);
    for (int i = 0; i <= HOST; i++)
        conn_close(&h->conns[i]);
    loop_remove(h->listener_source);
    loop_remove(h->accept_timer);
    loop_remove(h->timer);
    if (h->listener >= 0)
        close(h->listener);
    free(h);
}
