// Owns the connection with envd and the loop: accepts, reads datagrams, sends answers and events. Called by
// main.c.
#include "server.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/checked.h"
#include "common/cleanup.h"
#include "common/io.h"
#include "common/log.h"

#define IDLE_MS    10   // without a request: time to prepare for the next
#define ANSWER_CAP 1024 // the longest is FAIL's text, or HELLO_OK's

int server_init(struct server *s, struct priv *p, uid_t user, int listener, int signals)
{
    *s = (struct server){.priv = p, .user = user, .listener = listener, .signals = signals, .client = -1};
    s->datagram = malloc(PRIVCTL_DATAGRAM_MAX);
    return s->datagram ? 0 : -ENOMEM;
}

void server_done(struct server *s)
{
    if (!s->datagram)
        return;
    cleanup_close(&s->client);
    cleanup_close(&s->listener);
    cleanup_close(&s->signals);
    free(s->datagram);
    *s = (struct server){.client = -1, .listener = -1, .signals = -1};
}

static void client_drop(struct server *s, const char *why)
{
    log_info(NULL, "envd's connection ended: %s", why);
    close(s->client);
    s->client = -1;
    s->greeted = s->blocked = s->listing = false;
}

static int send_to(int sock, const struct privctl_message *m, int fd)
{
    uint8_t bytes[ANSWER_CAP];
    struct wire_writer w;
    wire_writer_init(&w, bytes, sizeof bytes);
    privctl_write(&w, m);
    return w.overflow ? -EMSGSIZE : io_send_fds(sock, bytes, w.pos, &fd, fd >= 0 ? 1 : 0);
}

int server_send(struct server *s, const struct privctl_message *m, int fd)
{
    return send_to(s->client, m, fd);
}

static struct privctl_message fail_message(uint32_t tag, int rc, const struct err *err)
{
    return (struct privctl_message){
        .type = PRIVCTL_FAIL,
        .tag = tag,
        .fail = {(uint32_t)-rc, {(const uint8_t *)err->text, strlen(err->text)}},
    };
}

// Requests are only read while the socket can take an answer, so a failure to send means that the client is
// broken.
static void answer(struct server *s, uint32_t tag, int rc, const struct err *err)
{
    const struct privctl_message m =
        rc < 0 ? fail_message(tag, rc, err) : (struct privctl_message){.type = PRIVCTL_OK, .tag = tag};
    int sent = server_send(s, &m, -1);
    if (sent < 0)
        client_drop(s, strerror(-sent));
}

// What envd said, decoded and allowed at this moment; or the refusal.
static int check_request(const struct server *s, const uint8_t *untrusted_data, size_t len, size_t n_fds,
                         struct privctl_message *ret, struct err *err)
{
    struct wire_error wrong;
    if (!privctl_read(untrusted_data, len, ret, &wrong))
        return err_set(err, -EBADMSG, "malformed request: %s at byte %zu", wrong.what, wrong.offset);
    const char *name = privctl_type_name(ret->type);
    if (!request_handler_of(ret->type))
        return err_set(err, -EBADMSG, "%s is not a request", name);
    if (!s->greeted && ret->type != PRIVCTL_HELLO)
        return err_set(err, -EPROTO, "%s before HELLO", name);
    size_t min, max;
    privctl_fds_allowed(ret->type, &min, &max);
    if (n_fds < min || n_fds > max)
        return err_set(err, -EBADMSG, "%s with %zu descriptors instead of %zu to %zu", name, n_fds, min, max);
    return 0;
}

void server_take_datagram(struct server *s, const uint8_t *untrusted_data, size_t len, int *fds, size_t n_fds)
{
    struct privctl_message m = {0};
    struct err err = {0};
    int rc = check_request(s, untrusted_data, len, n_fds, &m, &err);
    if (rc == 0)
        rc = request_handler_of(m.type)(s, &(struct request){&m, fds, n_fds}, &err);
    for (size_t i = 0; i < n_fds; i++)
        close(fds[i]);
    if (rc < 0)
        log_debug(NULL, "refused %s: %s", privctl_type_name(m.type), err.text);
    if (rc <= 0)
        answer(s, m.tag, rc, &err);
}

static void on_client_readable(struct server *s)
{
    struct pollfd room = {.fd = s->client, .events = POLLOUT};
    if (poll(&room, 1, 0) != 1 || !(room.revents & POLLOUT)) {
        s->blocked = true;
        return;
    }
    int fds[PRIVCTL_FDS_MAX];
    size_t n_fds = PRIVCTL_FDS_MAX;
    ssize_t n = io_recv_fds(s->client, s->datagram, PRIVCTL_DATAGRAM_MAX, fds, &n_fds);
    if (n > 0)
        server_take_datagram(s, s->datagram, (size_t)n, fds, n_fds);
    else if (n == -EMSGSIZE)
        answer(s, 0, -EMSGSIZE, &(struct err){"a request that is too long, or with too many descriptors"});
    else if (n != -EAGAIN)
        client_drop(s, n == 0 ? "closed by envd" : strerror((int)-n));
}

static int send_exits(struct server *s)
{
    struct vms *vms = &s->priv->vms;
    for (unsigned i = 0; i < vms->n_high && vms->n_untold > 0; i++) {
        struct vm *vm = &vms->slots[i];
        if (!vm->used || !vm->exited || vm->exit_told)
            continue;
        struct privctl_message m = {.type = PRIVCTL_EXITED};
        m.entry.vm = vm->id;
        m.entry.wait_status = vm->wait_status;
        int rc = server_send(s, &m, -1);
        if (rc < 0)
            return rc;
        vms_set_told(vms, vm);
    }
    return 0;
}

static int send_list(struct server *s)
{
    struct vms *vms = &s->priv->vms;
    for (; s->list_next < vms->n_high; s->list_next++) {
        const struct vm *vm = &vms->slots[s->list_next];
        if (!vm->used)
            continue;
        struct privctl_message m = {.type = PRIVCTL_LIST_ENTRY, .tag = s->list_tag};
        m.entry.vm = vm->id;
        memcpy(m.entry.tenant, vm->tenant, sizeof m.entry.tenant);
        memcpy(m.entry.name, vm->name, sizeof m.entry.name);
        m.entry.pid = (uint32_t)vm->pid;
        m.entry.uid = vm->uid;
        m.entry.exited = vm->exited;
        m.entry.wait_status = vm->wait_status;
        int rc = server_send(s, &m, vm->control);
        if (rc < 0)
            return rc;
    }
    s->listing = false;
    return server_send(s, &(struct privctl_message){.type = PRIVCTL_OK, .tag = s->list_tag}, -1);
}

static bool has_output(const struct server *s)
{
    return s->listing || (s->greeted && s->priv->vms.n_untold > 0);
}

// Sends what is waiting, as far as the client takes it.
static void flush(struct server *s)
{
    int rc = s->greeted ? send_exits(s) : 0;
    if (rc == 0 && s->listing)
        rc = send_list(s);
    if (rc < 0 && rc != -EAGAIN)
        client_drop(s, strerror(-rc));
}

static void on_client_event(struct server *s, short events)
{
    if (events & POLLOUT) {
        s->blocked = false;
        flush(s);
    }
    if (s->client >= 0 && (events & (POLLIN | POLLHUP | POLLERR)))
        on_client_readable(s);
}

// The one place that decides what is waited for.
static short wanted_events(const struct server *s)
{
    short events = has_output(s) || s->blocked ? POLLOUT : 0;
    return s->listing || s->blocked ? events : (short)(events | POLLIN);
}

// Whether a new connection becomes the one; it takes the place of one whose envd has gone.
static int admit_peer(struct server *s, int fd, struct err *err)
{
    struct ucred peer;
    socklen_t len = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
        return err_errno(err, -errno, "ask who connects");
    if (peer.uid != s->user && peer.uid != 0)
        return err_set(err, -EACCES, "user %u may not use envpriv: it serves user %u", peer.uid, s->user);
    struct pollfd present = {.fd = s->client, .events = 0};
    if (s->client >= 0 && poll(&present, 1, 0) == 1)
        client_drop(s, "replaced by a new one");
    if (s->client >= 0)
        return err_set(err, -EBUSY, "another envd is connected: there can be one at a time");
    return 0;
}

static void on_listener_readable(struct server *s)
{
    _cleanup_close_ int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return; // it went away again
    struct err err;
    int rc = admit_peer(s, fd, &err);
    if (rc == 0) {
        s->client = take_fd(&fd);
        log_info(NULL, "envd connected");
        return;
    }
    log_warn(NULL, "refused a connection: %s", err.text);
    const struct privctl_message m = fail_message(0, rc, &err);
    send_to(fd, &m, -1);
    // With unread bytes left, closing would reset the connection before the peer has read why.
    shutdown(fd, SHUT_RD);
    while (recv(fd, s->datagram, PRIVCTL_DATAGRAM_MAX, MSG_DONTWAIT) > 0)
        ;
}

// True when the signal asks for the end.
static bool on_signal(struct server *s)
{
    struct signalfd_siginfo info;
    if (read(s->signals, &info, sizeof info) != sizeof info)
        return false;
    if (info.ssi_signo != SIGCHLD) {
        log_info(NULL, "signal %u: ending", info.ssi_signo);
        return true;
    }
    reap_ended(s->priv);
    return false;
}

int server_run(struct server *s, struct err *err)
{
    for (;;) {
        struct pollfd fds[] = {
            {.fd = s->signals, .events = POLLIN},
            {.fd = s->listener, .events = POLLIN},
            {.fd = s->client, .events = s->client >= 0 ? wanted_events(s) : 0},
        };
        bool can_prepare = jail_wants_spare(&s->priv->jail);
        int n = poll(fds, ARRAY_LEN(fds), can_prepare ? IDLE_MS : -1);
        if (n < 0 && errno != EINTR)
            return err_errno(err, -errno, "poll");
        if (n == 0)
            jail_make_spare(&s->priv->jail);
        if (fds[0].revents && on_signal(s))
            return 0;
        if (fds[2].revents)
            on_client_event(s, fds[2].revents);
        if (fds[1].revents)
            on_listener_readable(s);
    }
}
