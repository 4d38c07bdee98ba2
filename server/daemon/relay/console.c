// Owns the translation between a client's frames and a console's bytes. Called through api/.
#include "relay/console.h"

#include <errno.h>

#include <event2/buffer.h>

#include "proto/session.h"

#define OUTPUT_MAX 16384u // bytes of output in one frame

static int push(struct evbuffer *out, const struct session_frame *f)
{
    size_t len = session_frame_size(f);
    struct evbuffer_iovec space;
    struct wire_writer w;
    if (evbuffer_reserve_space(out, (ev_ssize_t)len, &space, 1) != 1)
        return -ENOMEM;
    wire_writer_init(&w, space.iov_base, len);
    session_frame_write(&w, f);
    space.iov_len = len;
    return evbuffer_commit_space(out, &space, 1) < 0 ? -ENOMEM : 0;
}

static int give_credit(struct console *c, uint32_t n)
{
    uint8_t data[SESSION_HEADER_LEN + 4];
    struct wire_writer w;
    wire_writer_init(&w, data, sizeof data);
    session_frame_write(&w, &(struct session_frame){.type = SESSION_CREDIT, .credit = n});
    c->credit += n;
    return relay_send(c->relay, RELAY_CLIENT, data, w.pos);
}

int console_start(struct console *c)
{
    c->credit = 0;
    return give_credit(c, CONSOLE_CREDIT);
}

static const char *take_input(struct console *c, struct wire_view data, struct evbuffer *out)
{
    if (data.len > c->credit)
        return "the client sent more input than it may";
    c->credit -= (uint32_t)data.len;
    if (evbuffer_add(out, data.data, data.len) < 0 || give_credit(c, (uint32_t)data.len) < 0)
        return "no memory";
    return NULL;
}

static const char *handle(struct console *c, const struct session_frame *f, struct evbuffer *out)
{
    switch (f->type) {
    case SESSION_STDIN:
        return take_input(c, f->data, out);
    case SESSION_RESIZE:
        c->on_resize(c->arg, f->size.cols, f->size.rows);
        return NULL;
    case SESSION_STDIN_EOF: // a console's input does not end
        return NULL;
    default:
        return "the client sent a frame that is not for a console";
    }
}

// Whole frames only; the rest waits for more.
static const char *pass_frames(struct console *c, struct evbuffer *in, struct evbuffer *out)
{
    uint8_t raw[SESSION_HEADER_LEN];
    struct session_header h;
    struct session_frame f;
    struct wire_error error;
    while (evbuffer_copyout(in, raw, sizeof raw) == (ev_ssize_t)sizeof raw) {
        if (session_header_read(raw, &h))
            return "the client sent a malformed frame";
        size_t len = SESSION_HEADER_LEN + (size_t)h.len_bytes;
        if (evbuffer_get_length(in) < len)
            return NULL;
        const uint8_t *data = evbuffer_pullup(in, (ev_ssize_t)len);
        if (!data)
            return "no memory";
        if (!session_frame_read(&h, data + SESSION_HEADER_LEN, &f, &error))
            return "the client sent a malformed frame";
        const char *wrong = handle(c, &f, out);
        if (wrong)
            return wrong;
        evbuffer_drain(in, len);
    }
    return NULL;
}

static const char *pass_output(struct evbuffer *in, struct evbuffer *out)
{
    size_t len;
    while ((len = evbuffer_get_length(in)) > 0) {
        size_t n = len < OUTPUT_MAX ? len : OUTPUT_MAX;
        const uint8_t *data = evbuffer_pullup(in, (ev_ssize_t)n);
        if (!data || push(out, &(struct session_frame){.type = SESSION_STDOUT, .data = {data, n}}) < 0)
            return "no memory";
        evbuffer_drain(in, n);
    }
    return NULL;
}

const char *console_pass(struct console *c, enum relay_from from, struct evbuffer *in, struct evbuffer *out)
{
    return from == RELAY_CLIENT ? pass_frames(c, in, out) : pass_output(in, out);
}
