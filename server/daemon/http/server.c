// Owns the listeners, the table of connections and its caps, and what happens when descriptors run out.
// Called by main and libevent. A TLS listener would differ in how it makes the bufferevent and the peer, and
// in nothing else.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/io.h"
#include "common/log.h"
#include "http/conn.h"
#include "http/route.h"

#define BACKLOG         128
#define ACCEPTS_A_ROUND 16          // so that connects cannot starve connections
#define REARM_MS        200         // after descriptors ran out
#define COMPLAIN_NS     10000000000 // at most one log line about it so often

struct listener {
    struct http_server *server;
    int fd;
    int reserve_fd; // given up to accept and refuse one client when no descriptor is left; -1: given up
    struct event *readable;
    struct event *rearm;
    uint64_t complained_ns;
    char path[sizeof((struct sockaddr_un *)0)->sun_path];
};

#define REFUSAL_BODY                                                                                         \
    "{\"type\":\"urn:envd:problem:too-many-connections\",\"title\":\"Service Unavailable\",\"status\":503,"  \
    "\"detail\":\"too many connections\",\"code\":\"too-many-connections\"}"
static const char REFUSAL[] =
    "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n"
    "Retry-After: 1\r\nConnection: close\r\nContent-Length: 153\r\n\r\n" REFUSAL_BODY;
_Static_assert(sizeof REFUSAL_BODY - 1 == 153, "REFUSAL says so");

static void refuse(int fd)
{
    char unread[4096]; // a request left unread would turn the close into a reset
    if (recv(fd, unread, sizeof unread, MSG_DONTWAIT) >= 0 || errno == EAGAIN) {
        ssize_t ignored = send(fd, REFUSAL, sizeof REFUSAL - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        (void)ignored;
    }
    close(fd);
}

static struct http_peer peer_of(int fd)
{
    struct ucred cred;
    socklen_t len = sizeof cred;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 || cred.uid == (uid_t)-1)
        return (struct http_peer){.has_credentials = false};
    return (struct http_peer){.has_credentials = true, .uid = cred.uid, .gid = cred.gid, .pid = cred.pid};
}

// A free slot in the table, or -1 at a cap. One walk counts the user's connections, too.
static ssize_t find_slot(const struct http_server *server, const struct http_peer *peer)
{
    ssize_t slot = -1;
    uint32_t same_uid = 0;
    for (size_t i = 0; i < server->config.limits.connections; i++) {
        const struct http_conn *conn = server->slots[i];
        if (!conn && slot < 0)
            slot = (ssize_t)i;
        same_uid +=
            conn && conn->peer.has_credentials && peer->has_credentials && conn->peer.uid == peer->uid;
    }
    return same_uid < server->config.limits.connections_per_uid ? slot : -1;
}

// Takes fd.
static void serve(struct http_server *server, int fd)
{
    struct http_peer peer = peer_of(fd);
    ssize_t slot = find_slot(server, &peer);
    if (slot < 0) {
        server->stats.refused_cap++;
        refuse(fd);
        return;
    }
    struct bufferevent *bev = bufferevent_socket_new(server->config.base, fd, BEV_OPT_CLOSE_ON_FREE);
    if (!bev) {
        server->stats.refused_resources++;
        refuse(fd);
        return;
    }
    if (http_conn_open(server, (size_t)slot, bev, &peer, &server->slots[slot]) < 0) {
        server->stats.refused_resources++;
        return;
    }
    server->stats.accepted++;
    server->stats.connections++;
}

void http_server_forget(struct http_server *server, struct http_conn *conn)
{
    if (server->slots[conn->slot] != conn) // it never got that far
        return;
    server->slots[conn->slot] = NULL;
    server->stats.connections--;
}

// --- the listener ---

static void open_reserve(struct listener *l)
{
    if (l->reserve_fd < 0)
        l->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

// Out of descriptors or memory. A waiting client keeps the listener readable: refuse one with the reserve,
// then rest.
static void on_exhausted(struct listener *l, int cause)
{
    uint64_t now = io_monotonic_ns();
    l->server->stats.refused_resources++;
    if (l->complained_ns == 0 || now - l->complained_ns > COMPLAIN_NS)
        log_warn(NULL, "http: cannot accept clients: %s; resting %d ms", strerror(cause), REARM_MS);
    l->complained_ns = now;
    if (l->reserve_fd >= 0) {
        close(take_fd(&l->reserve_fd));
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            refuse(fd);
        open_reserve(l);
    }
    event_del(l->readable);
    struct timeval after = {.tv_usec = REARM_MS * 1000L};
    evtimer_add(l->rearm, &after);
}

static void on_rearm(evutil_socket_t fd, short events, void *arg)
{
    struct listener *l = arg;
    (void)fd;
    (void)events;
    open_reserve(l);
    event_add(l->readable, NULL);
}

static void on_readable(evutil_socket_t listen_fd, short events, void *arg)
{
    struct listener *l = arg;
    (void)events;
    for (int i = 0; i < ACCEPTS_A_ROUND; i++) {
        int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            serve(l->server, fd);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            on_exhausted(l, errno);
            return;
        } else if (errno != ECONNABORTED && errno != EINTR) { // EAGAIN: no one left
            return;
        }
    }
}

static void listener_free(struct listener *l)
{
    if (!l)
        return;
    if (l->readable)
        event_free(l->readable);
    if (l->rearm)
        event_free(l->rearm);
    if (l->fd >= 0) {
        close(l->fd);
        unlink(l->path);
    }
    if (l->reserve_fd >= 0)
        close(l->reserve_fd);
    free(l);
}

// A socket file that no process answers on is left over from a crash.
static int clear_path(const struct sockaddr_un *addr, struct err *err)
{
    struct stat st;
    if (lstat(addr->sun_path, &st) < 0)
        return errno == ENOENT ? 0 : err_errno(err, -errno, "listen on %s", addr->sun_path);
    if (!S_ISSOCK(st.st_mode))
        return err_set(err, -EEXIST, "listen on %s: a file that is no socket is there: move it away",
                       addr->sun_path);
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_errno(err, -errno, "listen on %s", addr->sun_path);
    if (connect(fd, (const struct sockaddr *)addr, sizeof *addr) == 0 || errno != ECONNREFUSED)
        return err_set(err, -EADDRINUSE,
                       "listen on %s: another process listens there: is envd running already?",
                       addr->sun_path);
    return unlink(addr->sun_path) < 0 ? err_errno(err, -errno, "remove the stale socket %s", addr->sun_path)
                                      : 0;
}

// The mode is on the descriptor before the file exists (Linux takes it from there), so it is never wider.
static int bind_path(int fd, const struct sockaddr_un *addr, mode_t mode, gid_t gid, struct err *err)
{
    const char *path = addr->sun_path;
    if (fchmod(fd, gid == (gid_t)-1 ? mode : mode & S_IRWXU) < 0 ||
        bind(fd, (const struct sockaddr *)addr, sizeof *addr) < 0)
        return err_errno(err, -errno, "listen on %s", path);
    if ((gid != (gid_t)-1 && lchown(path, (uid_t)-1, gid) < 0) || chmod(path, mode) < 0 ||
        listen(fd, BACKLOG) < 0) {
        int rc = -errno;
        unlink(path);
        return err_errno(err, rc, "listen on %s", path);
    }
    return 0;
}

static int open_socket(const char *path, mode_t mode, gid_t gid, int *ret_fd, struct err *err)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof addr.sun_path)
        return err_set(err, -ENAMETOOLONG, "listen on %s: a socket's path has at most %zu bytes", path,
                       sizeof addr.sun_path - 1);
    memcpy(addr.sun_path, path, strlen(path));
    int rc = clear_path(&addr, err);
    if (rc < 0)
        return rc;
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_errno(err, -errno, "listen on %s", path);
    rc = bind_path(fd, &addr, mode, gid, err);
    if (rc == 0)
        *ret_fd = take_fd(&fd);
    return rc;
}

int http_server_listen_unix(struct http_server *server, const char *path, mode_t mode, gid_t gid,
                            struct err *err)
{
    if (server->listener)
        return err_set(err, -EALREADY, "listen on %s: listening on %s already", path, server->listener->path);
    struct listener *l = calloc(1, sizeof *l);
    if (!l)
        return err_errno(err, -ENOMEM, "listen on %s", path);
    l->server = server;
    l->fd = l->reserve_fd = -1;
    int rc = open_socket(path, mode, gid, &l->fd, err);
    if (rc < 0)
        goto fail;
    memcpy(l->path, path, strlen(path) + 1);
    l->readable = event_new(server->config.base, l->fd, EV_READ | EV_PERSIST, on_readable, l);
    l->rearm = evtimer_new(server->config.base, on_rearm, l);
    if (!l->readable || !l->rearm || event_add(l->readable, NULL) < 0) {
        rc = err_errno(err, -ENOMEM, "listen on %s", path);
        goto fail;
    }
    open_reserve(l);
    server->listener = l;
    return 0;
fail:
    listener_free(l);
    return rc;
}

// --- the server ---

static void fill_limits(struct http_limits *limits)
{
    const struct http_limits defaults = {.connections = 1024,
                                         .connections_per_uid = 512,
                                         .head_ms = 10000,
                                         .idle_ms = 60000,
                                         .window_ms = 20000,
                                         .window_bytes = 1 << 20,
                                         .stream_buffer = 256 << 10};
#define FILL(field) limits->field = limits->field ? limits->field : defaults.field
    FILL(connections);
    FILL(connections_per_uid);
    FILL(head_ms);
    FILL(idle_ms);
    FILL(window_ms);
    FILL(window_bytes);
    FILL(stream_buffer);
#undef FILL
    if (limits->connections > UINT16_MAX)
        limits->connections = UINT16_MAX; // a request's id has 16 bits for it
}

int http_server_new(const struct http_server_config *config, struct http_server **ret, struct err *err)
{
    int rc = http_routes_check(config->routes, config->n_routes, err);
    if (rc < 0)
        return rc;
    struct http_server *server = calloc(1, sizeof *server);
    if (!server)
        return err_errno(err, -ENOMEM, "start the HTTP server");
    signal(SIGPIPE, SIG_IGN); // libevent writes with writev(2), which cannot be told not to raise it
    server->config = *config;
    fill_limits(&server->config.limits);
    server->slots = calloc(server->config.limits.connections, sizeof(struct http_conn *));
    if (!server->slots) {
        free(server);
        return err_errno(err, -ENOMEM, "start the HTTP server");
    }
    *ret = server;
    return 0;
}

void http_server_free(struct http_server *server)
{
    if (!server)
        return;
    listener_free(server->listener);
    for (size_t i = 0; i < server->config.limits.connections; i++)
        if (server->slots[i])
            http_conn_free(server->slots[i]);
    free(server->slots);
    free(server);
}

void http_server_get_stats(const struct http_server *server, struct http_server_stats *ret)
{
    *ret = server->stats;
}
