// See session.h. The client is behind the host and trusted to mean well; a frame that is malformed or out of
// place ends its stream.
#include "session.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/io.h"
#include "common/log.h"
#include "copy.h"
#include "exec.h"

#define ATTACH_MS 10000
#define LINGER_MS 2000
#define IN_CAP    (SESSION_HEADER_LEN + SESSION_PAYLOAD_MAX)

struct sessions {
    struct loop *loop;
    const struct transport *transport;
    struct session *all[SESSIONS_MAX];
};

static void session_free(struct session *s)
{
    if (!s)
        return;
    for (int i = 0; i < SESSIONS_MAX; i++)
        if (s->owner->all[i] == s)
            s->owner->all[i] = NULL;
    exec_free(s->exec);
    copy_forget(s);
    loop_remove(s->source);
    loop_remove(s->timer);
    if (s->fd >= 0)
        close(s->fd);
    free(s->in);
    free(s->out);
    free(s);
}

static void set_timer_ms(struct session *s, uint64_t ms)
{
    loop_timer_set(s->timer, ms ? io_monotonic_ns() + ms * 1000000u : 0);
}

// ---- out ----

bool session_has_room(const struct session *s)
{
    return s->out_len < SESSION_OUT_HIGH;
}

void session_push(struct session *s, const struct session_frame *f)
{
    struct wire_writer w;
    if (s->finishing)
        return;
    wire_writer_init(&w, s->out + s->out_len, SESSION_OUT_CAP - s->out_len);
    session_frame_write(&w, f);
    if (w.overflow) // cannot be: who pushes data asks for room, and other frames are small
        log_error(NULL, "a %s frame finds no room", session_frame_type_name(f->type));
    else
        s->out_len += w.pos;
}

static void session_arm(struct session *s)
{
    uint32_t events = EPOLLIN | (s->out_len > 0 ? EPOLLOUT : 0u);
    if (s->source && events != s->events && loop_modify(s->source, events) == 0)
        s->events = events;
}

// False: the stream is broken.
static bool write_out(struct session *s)
{
    if (s->out_len == 0)
        return true;
    ssize_t n = send(s->fd, s->out, s->out_len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR || errno == ENOBUFS;
    s->out_len -= (size_t)n;
    memmove(s->out, s->out + n, s->out_len);
    return true;
}

static void linger(struct session *s)
{
    s->state = STREAM_LINGERING;
    shutdown(s->fd, SHUT_WR);
    set_timer_ms(s, LINGER_MS);
}

// What is broken shows again when it is read: nothing is freed here, for callers still use s.
void session_flush(struct session *s)
{
    if (s->fd < 0 || s->state == STREAM_CONNECTING)
        return;
    if (!write_out(s))
        s->out_len = 0;
    if (s->finishing && s->out_len == 0 && s->state != STREAM_LINGERING)
        linger(s);
    session_arm(s);
}

void session_finish(struct session *s)
{
    s->finishing = true;
    session_flush(s);
}

void session_fail(struct session *s, enum session_error code, const char *what, ...)
{
    char text[SESSION_ERROR_MAX + 1];
    va_list args;
    va_start(args, what);
    vsnprintf(text, sizeof text, what, args);
    va_end(args);
    // A path may be of any encoding, an error's text is for people.
    if (!wire_utf8_valid(text, strlen(text)))
        for (char *p = text; *p; p++)
            *p = (unsigned char)*p < 0x80 ? *p : '?';
    session_push(
        s, &(struct session_frame){.type = SESSION_ERROR,
                                   .error = {.code = code, .text = {(const uint8_t *)text, strlen(text)}}});
    session_finish(s);
}

// ---- in ----

static void handle_frame(struct session *s, const struct session_frame *f)
{
    if (s->finishing)
        return;
    if (s->state == STREAM_EXEC) {
        exec_handle(s->exec, f);
    } else if (f->type == SESSION_EXEC) {
        set_timer_ms(s, 0);
        s->state = STREAM_EXEC;
        exec_start(s, &f->exec);
    } else {
        session_fail(s, SESSION_ERROR_PROTOCOL, "the first frame is %s, not EXEC or COPY",
                     session_frame_type_name(f->type));
    }
}

// The child that does it gets what came behind the frame.
static void hand_over(struct session *s, const struct session_copy *c, size_t frame_len)
{
    set_timer_ms(s, 0);
    if (!s->finishing)
        copy_start(s, c, s->in + frame_len, s->in_len - frame_len);
    s->in_len = 0;
}

// Handles the frames that are complete.
static void take_frames(struct session *s)
{
    static struct session_frame f; // large, and used by one at a time
    struct session_header h;
    struct wire_error error;
    while (s->in_len >= SESSION_HEADER_LEN) {
        const char *what = session_header_read(s->in, &h);
        size_t len = what ? 0 : SESSION_HEADER_LEN + h.len_bytes;
        if (!what && s->in_len < len)
            return;
        if (!what && !session_frame_read(&h, s->in + SESSION_HEADER_LEN, &f, &error))
            what = error.what;
        if (what) {
            s->in_len = 0;
            if (!s->finishing)
                session_fail(s, SESSION_ERROR_PROTOCOL, "malformed frame: %s", what);
            return;
        }
        if (s->state == STREAM_OPENING && f.type == SESSION_COPY) {
            hand_over(s, &f.copy, len);
            return;
        }
        handle_frame(s, &f);
        s->in_len -= len;
        memmove(s->in, s->in + len, s->in_len);
    }
}

// False: the client is gone.
static bool read_in(struct session *s)
{
    ssize_t n = recv(s->fd, s->in + s->in_len, IN_CAP - s->in_len, MSG_DONTWAIT);
    if (n == 0)
        return false;
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    s->in_len += (size_t)n;
    if (s->state == STREAM_LINGERING)
        s->in_len = 0;
    take_frames(s);
    return true;
}

// ---- life ----

static bool attach(struct session *s)
{
    uint8_t frame[AGENT_HEADER_LEN + ID_LEN];
    struct wire_writer w;
    if (transport_result(s->fd) < 0)
        return false;
    wire_writer_init(&w, frame, sizeof frame);
    agent_frame_write(&w, &(struct agent_frame){.type = AGENT_ATTACH, .session = {.token = s->token}});
    memcpy(s->out, frame, w.pos);
    s->out_len = w.pos;
    s->state = STREAM_OPENING;
    session_flush(s);
    return true;
}

static void on_stream(void *arg, uint32_t events)
{
    struct session *s = arg;
    if (s->state == STREAM_CONNECTING) {
        if (!attach(s))
            session_free(s);
        return;
    }
    if ((events & EPOLLOUT) && s->exec)
        exec_on_room(s->exec); // flushes
    else if (events & EPOLLOUT)
        session_flush(s);
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && s->fd >= 0 && !read_in(s)) {
        session_free(s);
        return;
    }
    if (s->state == STREAM_COPY && s->fd >= 0) { // the child's now
        loop_remove(s->source);
        close(s->fd);
        s->source = NULL;
        s->fd = -1;
        return;
    }
    session_flush(s);
}

static void on_timer(void *arg, uint32_t events)
{
    (void)events;
    session_free(arg);
}

struct sessions *sessions_new(struct loop *loop, const struct transport *transport)
{
    struct sessions *all = calloc(1, sizeof *all);
    if (all)
        *all = (struct sessions){.loop = loop, .transport = transport};
    return all;
}

struct loop *sessions_loop(const struct sessions *all)
{
    return all->loop;
}

static struct session *session_new(struct sessions *all, const struct id *token, int fd)
{
    struct session *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    *s = (struct session){.owner = all, .token = *token, .fd = fd, .events = EPOLLOUT};
    s->in = malloc(IN_CAP);
    s->out = malloc(SESSION_OUT_CAP);
    s->source = loop_add(all->loop, fd, EPOLLOUT, on_stream, s);
    s->timer = loop_add_timer(all->loop, on_timer, s);
    if (s->in && s->out && s->source && s->timer)
        return s;
    s->fd = -1; // the caller's still
    session_free(s);
    return NULL;
}

bool sessions_open(struct sessions *all, const struct id *token, const char **ret_why)
{
    int slot = 0;
    while (slot < SESSIONS_MAX && all->all[slot])
        slot++;
    if (slot == SESSIONS_MAX) {
        *ret_why = "this environment runs as many sessions as it may (64)";
        return false;
    }
    int fd = transport_connect(all->transport);
    struct session *s = fd < 0 ? NULL : session_new(all, token, fd);
    if (!s) {
        *ret_why = fd < 0 ? "the agent cannot connect another stream to its host" : "no memory in the guest";
        if (fd >= 0)
            close(fd);
        return false;
    }
    all->all[slot] = s;
    set_timer_ms(s, ATTACH_MS);
    return true;
}

void sessions_end_all(struct sessions *all)
{
    for (int i = 0; i < SESSIONS_MAX; i++)
        session_free(all->all[i]);
}

void sessions_free(struct sessions *all)
{
    if (!all)
        return;
    sessions_end_all(all);
    free(all);
}
