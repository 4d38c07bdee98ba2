// Owns the connection to envpriv: hello, list, requests by tag, the way back up after it broke. Called by
// manager.c; must not know environments.
#include "env/priv_link.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/io.h"

#define OUTSTANDING_MAX 4096
#define ANSWER_MS       15000 // a SPAWN makes a tap, a cgroup and a jail; envpriv serves one request at a time
#define BACKOFF_MIN_MS  50
#define BACKOFF_MAX_MS  2000
#define PER_ROUND       64 // datagrams read before others have their turn
#define REASON_CAP      256

enum link_state { LINK_DOWN, LINK_CONNECTING, LINK_HELLO, LINK_LISTING, LINK_UP };

struct request {
    struct request *next;
    struct privctl_message message; // without views: type, tag, vm or net
    uint64_t deadline_ns;
    uint8_t *data; // until it is sent
    size_t len;
    int fds[PRIVCTL_FDS_MAX];
    size_t n_fds;
};

struct priv_link {
    struct event_base *base;
    struct priv_link_cb cb;
    void *arg;
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    enum link_state state;
    bool down_reported;
    int fd;
    struct event *readable, *writable, *timer;
    uint32_t next_tag, backoff_ms;
    struct request *unsent, **unsent_tail; // in order
    struct request *waiting;               // sent, any order
    size_t n_requests;
    uint8_t in[PRIVCTL_DATAGRAM_MAX];
};

static void request_free(struct request *r)
{
    for (size_t i = 0; i < r->n_fds; i++)
        close(r->fds[i]);
    free(r->data);
    free(r);
}

static void timer_in(struct priv_link *link, uint32_t ms)
{
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};
    event_add(link->timer, &tv);
}

// Answers every request that was not answered: nobody knows what became of them.
static void fail_requests(struct priv_link *link, bool report)
{
    struct request *all = link->unsent;
    link->unsent = NULL;
    link->unsent_tail = &link->unsent;
    struct request **end = &all;
    while (*end)
        end = &(*end)->next;
    *end = link->waiting;
    link->waiting = NULL;
    link->n_requests = 0;
    while (all) {
        struct request *next = all->next;
        if (report)
            link->cb.on_answer(link->arg, &all->message, NULL, -1);
        request_free(all);
        all = next;
    }
}

// The one exit: closes, tells once per outage, and tries again later.
__attribute__((format(printf, 2, 3))) static void link_fail(struct priv_link *link, const char *format, ...)
{
    char reason[REASON_CAP];
    va_list ap;
    va_start(ap, format);
    vsnprintf(reason, sizeof reason, format, ap);
    va_end(ap);
    if (link->readable)
        event_free(link->readable);
    if (link->writable)
        event_free(link->writable);
    link->readable = link->writable = NULL;
    if (link->fd >= 0)
        close(link->fd);
    link->fd = -1;
    link->state = LINK_DOWN;
    timer_in(link, link->backoff_ms);
    link->backoff_ms = link->backoff_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : link->backoff_ms * 2;
    fail_requests(link, true);
    if (!link->down_reported) {
        link->down_reported = true;
        link->cb.on_down(link->arg, reason);
    }
}

static int send_simple(struct priv_link *link, const struct privctl_message *m)
{
    uint8_t data[64];
    struct wire_writer w;
    wire_writer_init(&w, data, sizeof data);
    privctl_write(&w, m);
    return w.overflow ? -EMSGSIZE : io_send_fds(link->fd, data, w.pos, NULL, 0);
}

// Sends what is unsent until the socket is full, and arms the write event for the rest: the only place that
// does.
static void flush(struct priv_link *link)
{
    while (link->unsent) {
        struct request *r = link->unsent;
        int rc = io_send_fds(link->fd, r->data, r->len, r->fds, r->n_fds);
        if (rc == -EAGAIN) {
            event_add(link->writable, NULL);
            return;
        }
        if (rc < 0) {
            link_fail(link, "send %s: %s", privctl_type_name(r->message.type), strerror(-rc));
            return;
        }
        link->unsent = r->next;
        if (!link->unsent)
            link->unsent_tail = &link->unsent;
        for (size_t i = 0; i < r->n_fds; i++)
            close(r->fds[i]);
        r->n_fds = 0;
        free(r->data);
        r->data = NULL;
        r->next = link->waiting;
        link->waiting = r;
    }
}

static struct request *take_waiting(struct priv_link *link, uint32_t tag)
{
    for (struct request **p = &link->waiting; *p; p = &(*p)->next) {
        struct request *r = *p;
        if (r->message.tag != tag)
            continue;
        *p = r->next;
        link->n_requests--;
        return r;
    }
    return NULL;
}

static void handle_hello_ok(struct priv_link *link, const struct privctl_message *m)
{
    struct priv_facts facts = {0};
    if (m->hello_ok.version != PRIVCTL_VERSION ||
        !wire_view_to_cstr(m->hello_ok.instance, facts.instance, sizeof facts.instance) ||
        !wire_view_to_cstr(m->hello_ok.kvm, facts.kvm, sizeof facts.kvm) ||
        !wire_view_to_cstr(m->hello_ok.cgroup, facts.cgroup, sizeof facts.cgroup)) {
        link_fail(link,
                  "envpriv speaks version %u of the protocol, envd speaks %u: install both from one release",
                  m->hello_ok.version, PRIVCTL_VERSION);
        return;
    }
    snprintf(facts.kvm_detail, sizeof facts.kvm_detail, "%.*s", (int)m->hello_ok.kvm_detail.len,
             (const char *)m->hello_ok.kvm_detail.data);
    link->state = LINK_LISTING;
    link->cb.on_up(link->arg, &facts);
    int rc = send_simple(link, &(struct privctl_message){.type = PRIVCTL_LIST, .tag = 0});
    if (rc < 0)
        link_fail(link, "send LIST: %s", strerror(-rc));
}

static void handle_answer(struct priv_link *link, const struct privctl_message *m, int *fd)
{
    struct request *r = take_waiting(link, m->tag);
    if (!r) {
        link_fail(link, "envpriv answered %s to a request that was never made", privctl_type_name(m->type));
        return;
    }
    link->cb.on_answer(link->arg, &r->message, m, take_fd(fd));
    request_free(r);
}

static void handle(struct priv_link *link, const struct privctl_message *m, int *fd)
{
    if (link->state == LINK_HELLO && m->type == PRIVCTL_HELLO_OK)
        handle_hello_ok(link, m);
    else if (link->state == LINK_LISTING && m->type == PRIVCTL_LIST_ENTRY)
        link->cb.on_entry(link->arg, m, take_fd(fd));
    else if (link->state == LINK_LISTING && m->type == PRIVCTL_OK) {
        link->state = LINK_UP;
        link->backoff_ms = BACKOFF_MIN_MS;
        link->down_reported = false;
        timer_in(link, 1000);
        link->cb.on_listed(link->arg);
    } else if (m->type == PRIVCTL_EXITED && link->state >= LINK_LISTING)
        link->cb.on_exited(link->arg, &m->entry.vm, m->entry.wait_status);
    else if (link->state == LINK_UP &&
             (m->type == PRIVCTL_OK || m->type == PRIVCTL_FAIL || m->type == PRIVCTL_SPAWN_OK))
        handle_answer(link, m, fd);
    else if (m->type == PRIVCTL_FAIL)
        link_fail(link, "envpriv refuses: %.*s", (int)m->fail.text.len, (const char *)m->fail.text.data);
    else
        link_fail(link, "envpriv sent %s out of order", privctl_type_name(m->type));
}

static int receive_one(struct priv_link *link)
{
    int fds[PRIVCTL_FDS_MAX];
    size_t n_fds = PRIVCTL_FDS_MAX;
    ssize_t n = io_recv_fds(link->fd, link->in, sizeof link->in, fds, &n_fds);
    if (n == -EAGAIN)
        return -EAGAIN;
    if (n <= 0) {
        link_fail(link, "%s", n == 0 ? "envpriv closed the connection" : strerror((int)-n));
        return -ENOTCONN;
    }
    _cleanup_close_ int fd = n_fds > 0 ? fds[0] : -1;
    for (size_t i = 1; i < n_fds; i++)
        close(fds[i]);
    struct privctl_message m;
    struct wire_error error;
    size_t fds_min, fds_max;
    if (!privctl_read(link->in, (size_t)n, &m, &error)) {
        link_fail(link, "envpriv sent a malformed message: %s at byte %zu", error.what, error.offset);
        return -ENOTCONN;
    }
    privctl_fds_allowed(m.type, &fds_min, &fds_max);
    if (n_fds < fds_min || n_fds > fds_max) {
        link_fail(link, "envpriv sent %s with %zu descriptors", privctl_type_name(m.type), n_fds);
        return -ENOTCONN;
    }
    handle(link, &m, &fd);
    return link->fd >= 0 ? 0 : -ENOTCONN;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    for (int i = 0; i < PER_ROUND; i++)
        if (receive_one(arg) < 0)
            return;
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    flush(arg);
}

static int open_socket(struct priv_link *link)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    memcpy(sa.sun_path, link->path, sizeof sa.sun_path);
    link->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (link->fd < 0)
        return -errno;
    int size = PRIVCTL_DATAGRAM_MAX * 2;
    setsockopt(link->fd, SOL_SOCKET, SO_SNDBUF, &size,
               sizeof size); // what the kernel refuses, flush() waits out
    // A Unix socket connects at once or not at all (-EAGAIN: the backlog is full).
    return connect(link->fd, (struct sockaddr *)&sa, sizeof sa) < 0 ? -errno : 0;
}

static void try_connect(struct priv_link *link)
{
    link->state = LINK_CONNECTING;
    int rc = open_socket(link);
    if (rc < 0) {
        link_fail(link, "connect to %s: %s", link->path, strerror(-rc));
        return;
    }
    link->readable = event_new(link->base, link->fd, EV_READ | EV_PERSIST, on_readable, link);
    link->writable = event_new(link->base, link->fd, EV_WRITE, on_writable, link);
    if (!link->readable || !link->writable || event_add(link->readable, NULL) < 0) {
        link_fail(link, "no memory for the connection");
        return;
    }
    link->state = LINK_HELLO;
    rc = send_simple(link, &(struct privctl_message){.type = PRIVCTL_HELLO, .version = PRIVCTL_VERSION});
    if (rc < 0)
        link_fail(link, "send HELLO: %s", strerror(-rc));
    else
        timer_in(link, ANSWER_MS);
}

static bool overdue(const struct priv_link *link)
{
    uint64_t now = io_monotonic_ns();
    for (const struct request *r = link->waiting; r; r = r->next)
        if (r->deadline_ns < now)
            return true;
    return link->unsent && link->unsent->deadline_ns < now;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct priv_link *link = arg;
    if (link->state == LINK_DOWN)
        try_connect(link);
    else if (link->state != LINK_UP || overdue(link))
        link_fail(link, "envpriv does not answer");
    else
        timer_in(link, 1000);
}

struct priv_link *priv_link_new(struct event_base *base, const char *path, const struct priv_link_cb *cb,
                                void *arg)
{
    struct priv_link *link = calloc(1, sizeof *link);
    if (!link)
        return NULL;
    link->base = base;
    link->cb = *cb;
    link->arg = arg;
    link->fd = -1;
    link->backoff_ms = BACKOFF_MIN_MS;
    link->unsent_tail = &link->unsent;
    snprintf(link->path, sizeof link->path, "%s", path);
    link->timer = event_new(base, -1, 0, on_timer, link);
    if (!link->timer) {
        free(link);
        return NULL;
    }
    timer_in(link, 0);
    return link;
}

void priv_link_free(struct priv_link *link)
{
    if (!link)
        return;
    fail_requests(link, false);
    if (link->readable)
        event_free(link->readable);
    if (link->writable)
        event_free(link->writable);
    event_free(link->timer);
    if (link->fd >= 0)
        close(link->fd);
    free(link);
}

bool priv_link_up(const struct priv_link *link)
{
    return link->state == LINK_UP;
}

static int encode(struct request *r, const struct privctl_message *m)
{
    struct wire_writer w;
    wire_writer_init(&w, NULL, 0);
    privctl_write(&w, m);
    if (w.pos > PRIVCTL_DATAGRAM_MAX)
        return -EMSGSIZE;
    r->len = w.pos;
    r->data = malloc(r->len);
    if (!r->data)
        return -ENOMEM;
    wire_writer_init(&w, r->data, r->len);
    privctl_write(&w, m);
    return w.overflow ? -EMSGSIZE : 0;
}

// What on_answer shows again: no views into the caller's buffers.
static struct privctl_message remember(const struct privctl_message *m)
{
    struct privctl_message kept = {.type = m->type, .tag = m->tag};
    if (m->type == PRIVCTL_NET_UP || m->type == PRIVCTL_NET_DOWN)
        kept.net = m->net;
    else if (m->type == PRIVCTL_SPAWN)
        kept.spawn.vm = m->spawn.vm;
    else
        kept.vm = m->vm;
    return kept;
}

int priv_link_request(struct priv_link *link, const struct privctl_message *request, const int *fds,
                      size_t n_fds)
{
    if (link->state != LINK_UP)
        return -ENOTCONN;
    if (link->n_requests >= OUTSTANDING_MAX || n_fds > PRIVCTL_FDS_MAX)
        return -EBUSY;
    struct request *r = calloc(1, sizeof *r);
    if (!r)
        return -ENOMEM;
    struct privctl_message m = *request;
    if (++link->next_tag == 0)
        link->next_tag = 1; // 0 is for events
    m.tag = link->next_tag;
    int rc = encode(r, &m);
    for (size_t i = 0; rc == 0 && i < n_fds; i++) {
        r->fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
        if (r->fds[i] < 0)
            rc = -errno;
        else
            r->n_fds++;
    }
    if (rc < 0) {
        request_free(r);
        return rc;
    }
    r->message = remember(&m);
    r->deadline_ns = io_monotonic_ns() + ANSWER_MS * 1000000ull;
    *link->unsent_tail = r;
    link->unsent_tail = &r->next;
    link->n_requests++;
    // Not sent from here: on_answer must not run inside this call should the link break.
    event_active(link->writable, EV_WRITE, 0);
    return 0;
}
