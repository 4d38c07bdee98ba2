// Owns the live console's socket: what its watcher is shown, what it missed, what it typed. Called by the
// machine, the console's sink and the loop, all on the I/O thread; knows no queue.
//
//   guest --sink--> send, or count as missed -----> fd ==pair==> watcher
//   guest <--virtio_console_input-- [typed] <-read- fd <==pair== watcher; not read while the guest takes
//   nothing
#include "console_attach.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/io.h"

#define TYPED_MAX   4096u
#define PENDING_MAX (256u << 10) // a socket holds few writes as small as a console's, whatever their bytes

struct console_attach {
    struct loop *loop;
    struct virtio_console *console;
    struct loop_source *source; // NULL: nobody is attached
    struct loop_source *retry;  // a timer: gives what is typed another try
    int fd;
    uint32_t armed;   // events
    uint8_t *pending; // what the socket had no room for; PENDING_MAX
    size_t pending_len;
    uint64_t missed_bytes; // what the watcher did not take, and has not been told of
    bool typed_all;        // the watcher will type no more
    bool left;             // the watcher closed its end; what it typed may still be waiting
    size_t typed_start, typed_len;
    uint8_t typed[TYPED_MAX];
};

static void detach(struct console_attach *attach)
{
    if (!attach->source)
        return;
    loop_remove(attach->source);
    attach->source = NULL;
    close(attach->fd);
    free(take_ptr(attach->pending));
    attach->typed_len = attach->pending_len = 0;
}

// Decides which events are armed. EPOLLERR stands for none in particular: a watcher that leaves is always
// told of, once.
static void arm(struct console_attach *attach)
{
    const bool blocked = attach->typed_len > 0;
    uint32_t events = EPOLLERR;
    if (!attach->typed_all && !blocked)
        events |= EPOLLIN;
    if (attach->pending_len > 0 || attach->missed_bytes > 0)
        events |= EPOLLOUT;
    if (attach->left && blocked)
        events = 0;
    if (attach->source && events != attach->armed && loop_modify(attach->source, events) == 0)
        attach->armed = events;
}

// Sends what the socket has room for. Returns how much that was: 0 also when the watcher is gone, for then
// the loop says so.
static size_t show(struct console_attach *attach, const void *data, size_t len)
{
    ssize_t n = send(attach->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    return n > 0 ? (size_t)n : 0;
}

// True when the watcher knows of everything that it missed. A text this short goes in one piece or not at
// all.
static bool tell_missed(struct console_attach *attach)
{
    char text[64];
    if (attach->missed_bytes == 0)
        return true;
    int len = snprintf(text, sizeof text, "\r\n[... %llu bytes not shown]\r\n",
                       (unsigned long long)attach->missed_bytes);
    if (show(attach, text, (size_t)len) == 0)
        return false;
    attach->missed_bytes = 0;
    return true;
}

// True when the watcher has, or knows of, everything so far.
static bool catch_up(struct console_attach *attach)
{
    if (attach->pending_len > 0) {
        size_t n = show(attach, attach->pending, attach->pending_len);
        attach->pending_len -= n;
        memmove(attach->pending, attach->pending + n, attach->pending_len);
    }
    return attach->pending_len == 0 && tell_missed(attach);
}

// Keeps what there is room for. Returns how much that was.
static size_t keep(struct console_attach *attach, const uint8_t *untrusted_data, size_t len)
{
    if (len > 0 && !attach->pending)
        attach->pending = malloc(PENDING_MAX);
    size_t room = attach->pending ? PENDING_MAX - attach->pending_len : 0;
    size_t n = len < room ? len : room;
    if (n > 0)
        memcpy(attach->pending + attach->pending_len, untrusted_data, n);
    attach->pending_len += n;
    return n;
}

void console_attach_output(struct console_attach *attach, const uint8_t *untrusted_data, size_t len)
{
    if (!attach || !attach->source)
        return;
    size_t done = catch_up(attach) ? show(attach, untrusted_data, len) : 0;
    if (attach->missed_bytes == 0)
        done += keep(attach, untrusted_data + done, len - done);
    attach->missed_bytes += len - done;
    arm(attach);
}

// Hands on what is typed, as far as the guest has room for it.
static void type(struct console_attach *attach)
{
    size_t n = virtio_console_input(attach->console, attach->typed + attach->typed_start, attach->typed_len);
    attach->typed_start += n;
    attach->typed_len -= n;
}

// One read per event: the loop has others to serve.
static void on_typed(struct console_attach *attach)
{
    ssize_t n = recv(attach->fd, attach->typed, sizeof attach->typed, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    attach->typed_all = n <= 0;
    attach->typed_start = 0;
    attach->typed_len = n > 0 ? (size_t)n : 0;
    if (n > 0)
        type(attach);
}

static void on_socket(void *arg, uint32_t events)
{
    struct console_attach *attach = arg;
    attach->left = attach->left || (events & (EPOLLHUP | EPOLLERR));
    if ((events & EPOLLIN) && attach->typed_len == 0)
        on_typed(attach);
    if (events & EPOLLOUT)
        catch_up(attach);
    // Not before all is read: it was typed before the watcher left.
    if (attach->left && attach->typed_all)
        detach(attach);
    arm(attach);
}

static void on_retry(void *arg, uint32_t events)
{
    (void)events;
    struct console_attach *attach = arg;
    if (attach->typed_len > 0)
        type(attach);
    arm(attach);
}

// Called by the device with its lock held: the try comes at the end of the loop's round.
static void on_ready(void *arg)
{
    struct console_attach *attach = arg;
    loop_timer_set(attach->retry, io_monotonic_ns());
}

int console_attach_new(struct console_attach **ret, struct loop *loop, struct virtio_console *console,
                       struct err *err)
{
    struct console_attach *attach = calloc(1, sizeof *attach);
    if (!attach)
        return err_errno(err, -ENOMEM, "live console");
    *attach = (struct console_attach){.loop = loop, .console = console, .fd = -1};
    attach->retry = loop_add_timer(loop, on_retry, attach);
    if (!attach->retry) {
        free(attach);
        return err_errno(err, -ENOMEM, "live console");
    }
    virtio_console_on_ready(console, on_ready, attach);
    *ret = attach;
    return 0;
}

void console_attach_free(struct console_attach *attach)
{
    if (!attach)
        return;
    virtio_console_on_ready(attach->console, NULL, NULL);
    detach(attach);
    loop_remove(attach->retry);
    free(attach);
}

int console_attach_open(struct console_attach *attach, int *ret_fd, struct err *err)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0)
        return err_errno(err, -errno, "make a socket for the live console");
    const uint32_t events = EPOLLIN | EPOLLERR;
    struct loop_source *source = loop_add(attach->loop, pair[0], events, on_socket, attach);
    if (!source) {
        int rc = err_errno(err, -errno, "watch the live console's socket");
        close(pair[0]);
        close(pair[1]);
        return rc;
    }
    detach(attach);
    attach->source = source;
    attach->fd = pair[0];
    attach->armed = events;
    attach->missed_bytes = 0;
    attach->typed_all = attach->left = false;
    *ret_fd = pair[1];
    return 0;
}
