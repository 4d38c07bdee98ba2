// A session's bytes: from the socket to whole frames, from the mailbox to the socket, and when to stop doing
// either.
#include "route/session_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "common/io.h"

#define READ_CHUNK     (64u << 10)
#define WRITE_IOVECS   64
#define COPY_BELOW     4096 // smaller messages are copied into the output, larger ones referred to
#define ENVELOPE_HEAD  20   // of an envelope, up to the end of its id (proto/envelope.h)
#define ENVELOPE_ID_AT 4

// ---- in ----

// Through a buffer on the stack, so that a session holds no more memory than the agent has sent.
void session_fill(struct session *s)
{
    uint8_t chunk[READ_CHUNK];
    ssize_t n = recv(s->fd, chunk, sizeof chunk, MSG_DONTWAIT);
    if (n == 0)
        session_fail(s, "the agent closed the connection");
    else if (n < 0 && errno != EAGAIN && errno != EINTR)
        session_fail(s, "the connection to the agent broke: %s", strerror(errno));
    if (n <= 0)
        return;
    if (evbuffer_add(s->in, chunk, (size_t)n) < 0) {
        session_fail(s, "no memory for what the agent sends");
        return;
    }
    s->stats.bytes_in += (uint64_t)n;
    s->last_in_ns = io_monotonic_ns();
    s->pinged = false;
}

// A payload above our limit: its id is enough for a receipt, the rest is thrown away as it comes.
static bool begin_discard(struct session *s, const struct agent_header *h)
{
    uint8_t head[AGENT_HEADER_LEN + ENVELOPE_HEAD];
    if (evbuffer_copyout(s->in, head, sizeof head) != sizeof head)
        return false;
    struct id id;
    memcpy(id.bytes, head + AGENT_HEADER_LEN + ENVELOPE_ID_AT, ID_LEN);
    s->discard = AGENT_HEADER_LEN + h->len_bytes;
    session_handle_oversized(s, h, &id);
    return true;
}

static void serve_frame(struct session *s, const struct agent_header *h)
{
    const uint8_t *raw = evbuffer_pullup(s->in, (ev_ssize_t)(AGENT_HEADER_LEN + h->len_bytes));
    struct agent_frame f;
    struct wire_error error;
    if (!raw) {
        session_fail(s, "no memory for a frame of the agent");
        return;
    }
    s->stats.frames_in++;
    if (agent_frame_read(h, raw + AGENT_HEADER_LEN, &f, &error))
        session_handle(s, &f);
    else
        session_fail(s, "the agent sent a malformed %s frame: %s at byte %zu", agent_frame_type_name(h->type),
                     error.what, error.offset);
    if (s->state != SESSION_CLOSING)
        evbuffer_drain(s->in, AGENT_HEADER_LEN + h->len_bytes);
}

// Serves one frame, or throws away a part of one. False: the input holds no whole one.
static bool serve_next(struct session *s)
{
    size_t have = evbuffer_get_length(s->in);
    if (s->discard && have) {
        size_t n = have < s->discard ? have : s->discard;
        evbuffer_drain(s->in, n);
        s->discard -= n;
        return true;
    }
    uint8_t raw[AGENT_HEADER_LEN];
    struct agent_header h;
    if (evbuffer_copyout(s->in, raw, sizeof raw) != sizeof raw)
        return false;
    const char *what = agent_header_read(raw, &h);
    if (what) {
        session_fail(s, "the agent sent a malformed frame: %s", what);
        return false;
    }
    if (!session_expects(s, h.type)) {
        session_fail(s, "the agent sent a %s frame out of place", agent_frame_type_name(h.type));
        return false;
    }
    if (h.len_bytes > s->frame_max)
        return begin_discard(s, &h);
    if (have < AGENT_HEADER_LEN + h.len_bytes)
        return false;
    serve_frame(s, &h);
    return true;
}

static bool may_serve(const struct session *s)
{
    return s->state != SESSION_CLOSING && !s->doom && s->n_pending < s->config.receipts_max &&
           evbuffer_get_length(s->out) < s->config.out_max_bytes;
}

void session_serve(struct session *s)
{
    for (uint32_t i = 0; i < s->config.frames_per_round; i++) {
        s->stalled = !may_serve(s);
        if (s->stalled || !serve_next(s))
            return;
    }
    evtimer_add(s->again, &(struct timeval){0});
}

// ---- out ----

static void doom(struct session *s, const char *why)
{
    if (!s->doom)
        s->doom = why;
    event_active(s->wake, EV_TIMEOUT, 0);
}

void session_push(struct session *s, const struct agent_frame *f)
{
    size_t len = agent_frame_size(f);
    struct evbuffer_iovec space;
    if (s->state == SESSION_CLOSING)
        return;
    if (evbuffer_reserve_space(s->out, (ev_ssize_t)len, &space, 1) != 1) {
        doom(s, "no memory for a frame to the agent");
        return;
    }
    struct wire_writer w;
    wire_writer_init(&w, space.iov_base, len);
    agent_frame_write(&w, f);
    space.iov_len = len;
    evbuffer_commit_space(s->out, &space, 1);
    s->stats.frames_out++;
}

static void unref_message(const void *data, size_t len, void *message)
{
    (void)data;
    (void)len;
    message_unref(message);
}

// Takes over the reference.
static void push_delivery(struct session *s, struct message *m)
{
    uint8_t raw[AGENT_HEADER_LEN];
    struct wire_writer w;
    wire_writer_init(&w, raw, sizeof raw);
    wire_write_u32(&w, (uint32_t)m->len);
    wire_write_u16(&w, AGENT_DELIVER);
    wire_write_u16(&w, 0);
    wire_write_u32(&w, 0); // unsolicited: no tag
    int rc = evbuffer_add(s->out, raw, sizeof raw);
    if (rc == 0 && m->len < COPY_BELOW) {
        rc = evbuffer_add(s->out, m->bytes, m->len);
        message_unref(m);
    } else if (rc == 0) {
        rc = evbuffer_add_reference(s->out, m->bytes, m->len, unref_message, m);
        if (rc < 0)
            message_unref(m);
    } else {
        message_unref(m);
    }
    if (rc < 0)
        doom(s, "no memory for a message to the agent");
    s->stats.frames_out++;
}

static void deliver(struct session *s)
{
    while (s->state == SESSION_READY && evbuffer_get_length(s->out) < s->config.out_max_bytes) {
        struct message *m = endpoint_next(s->endpoint, s->credit == 0);
        if (!m)
            return;
        s->credit -= m->kind != MESSAGE_REPLY;
        push_delivery(s, m);
    }
}

// Not evbuffer_write(): that raises SIGPIPE.
static void write_out(struct session *s)
{
    struct evbuffer_iovec chunks[WRITE_IOVECS];
    while (!s->blocked && evbuffer_get_length(s->out) > 0) {
        int n_chunks = evbuffer_peek(s->out, -1, NULL, chunks, WRITE_IOVECS);
        struct msghdr msg = {.msg_iov = chunks,
                             .msg_iovlen = (size_t)(n_chunks < WRITE_IOVECS ? n_chunks : WRITE_IOVECS)};
        ssize_t n = sendmsg(s->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN) {
            session_fail(s, "the connection to the agent broke: %s", strerror(errno));
            return;
        }
        s->blocked = n < 0;
        if (n > 0) {
            evbuffer_drain(s->out, (size_t)n);
            s->stats.bytes_out += (uint64_t)n;
        }
    }
}

// Writing makes room for more mail: both, until either has no more.
void session_flush(struct session *s)
{
    deliver(s);
    write_out(s);
    while (s->state == SESSION_READY && !s->blocked) {
        uint64_t before = s->stats.frames_out;
        deliver(s);
        if (s->stats.frames_out == before)
            return;
        write_out(s);
    }
}

static void arm(struct event *event, bool wanted)
{
    if (wanted)
        event_add(event, NULL);
    else
        event_del(event);
}

void session_arm(struct session *s)
{
    if (s->stalled &&
        may_serve(s)) { // frames were left in the input, and the socket need not say anything more
        s->stalled = false;
        evtimer_add(s->again, &(struct timeval){0});
    }
    arm(s->writable, evbuffer_get_length(s->out) > 0);
    arm(s->readable, may_serve(s) && !evtimer_pending(s->again, NULL));
}
