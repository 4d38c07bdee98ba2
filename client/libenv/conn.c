// The connection to the agent: reading, writing, and what each incoming frame does. Called by env.c. The
// agent is trusted as far as the decoders go: a frame that does not decode ends the connection.
#include "conn.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define IN_CAP_MIN  4096
#define IN_CAP_KEEP (64u << 10) // a longer buffer is given back after its frame
#define NS_PER_MS   1000000ull
#define NEVER       UINT64_MAX

int env_fail(struct env *env, int rc, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(env->error, sizeof env->error, format, args);
    va_end(args);
    return rc;
}

static int lost(struct env *env, int rc)
{
    if (rc == 0 || rc == -EPIPE || rc == -ECONNRESET)
        return env_fail(env, -ECONNRESET,
                        "the agent closed the connection: it may have restarted, open a new one");
    return env_fail(env, rc, "the connection to the agent broke: %s", strerror(-rc));
}

uint64_t conn_monotonic_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

uint64_t conn_deadline(int timeout_ms)
{
    return timeout_ms < 0 ? NEVER : conn_monotonic_ns() + (uint64_t)timeout_ms * NS_PER_MS;
}

uint32_t conn_tag(struct env *env)
{
    if (++env->last_tag == 0)
        env->last_tag = 1;
    return env->last_tag;
}

int conn_open(struct env *env, const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    if (len >= sizeof addr.sun_path)
        return env_fail(env, -ENAMETOOLONG, "the agent's socket path is longer than %zu bytes: %s",
                        sizeof addr.sun_path - 1, path);
    memcpy(addr.sun_path, path, len + 1);
    env->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (env->fd < 0)
        return env_fail(env, -errno, "make a socket: %s", strerror(errno));
    if (connect(env->fd, (struct sockaddr *)&addr, sizeof addr) < 0)
        return env_fail(
            env, -errno,
            "no agent at %s (%s): programs that use libenv run inside an environment; elsewhere set "
            "ENV_AGENT_SOCKET",
            path, strerror(errno));
    struct agent_frame hello = {.type = AGENT_HELLO,
                                .hello = {.version_min = AGENT_VERSION,
                                          .version_max = AGENT_VERSION,
                                          .software = {(const uint8_t *)"libenv", 6}}};
    return conn_write(env, &hello);
}

// ---- in ----

static int handle_hello_ok(struct env *env, const struct agent_frame *f)
{
    wire_view_to_cstr(f->hello_ok.tenant, env->tenant, sizeof env->tenant);
    wire_view_to_cstr(f->hello_ok.name, env->name, sizeof env->name);
    env->identity =
        (struct env_identity){.tenant = env->tenant, .name = env->name, .body_max = f->hello_ok.body_max};
    env->clock_offset_ns = f->hello_ok.realtime_ns - conn_monotonic_ns();
    env->agent_can = f->hello_ok.capabilities;
    env->greeted = true;
    return 0;
}

static int handle_reject(struct env *env, const struct agent_frame *f)
{
    env->rejected = true;
    return env_fail(env, -EPROTO, "the agent refuses: %.*s", (int)f->reject.reason.len,
                    (const char *)f->reject.reason.data);
}

static bool is_pending(struct env *env, const struct agent_frame *f)
{
    return env->pending.tag != 0 && env->pending.tag == f->tag;
}

static void note_refusal(struct env *env, enum receipt_code code, struct wire_view detail)
{
    env->pending.answered = true;
    env->pending.code = code;
    env_fail(env, 0, "%s%s%.*s", receipt_code_name(code), detail.len > 0 ? ": " : "", (int)detail.len,
             (const char *)detail.data);
}

// RECEIPT and RESULT. Answers that nobody waits for any more are ignored: a call's refusal may be there
// already.
static int handle_receipt(struct env *env, const struct agent_frame *f)
{
    if (!is_pending(env, f) || env->pending.answered)
        return 0;
    env->pending.answered = true;
    env->pending.code = f->receipt.code;
    if (f->receipt.code != RECEIPT_ACCEPTED)
        note_refusal(env, f->receipt.code, f->receipt.detail);
    return 0;
}

static int handle_clock_is(struct env *env, const struct agent_frame *f)
{
    env->clock_offset_ns = f->realtime_ns - conn_monotonic_ns();
    if (is_pending(env, f)) {
        env->pending.answered = true;
        env->pending.realtime_ns = f->realtime_ns;
    }
    return 0;
}

static int handle_deliver(struct env *env, const struct agent_frame *f)
{
    bool is_reply = f->envelope.kind == MESSAGE_REPLY;
    enum receipt_code refusal = envelope_refusal(&f->envelope);
    if (is_reply && !(env->pending.wants_reply && !env->pending.reply &&
                      id_equals(&f->envelope.correlation, &env->pending.call)))
        return 0;                      // too late: its call was given up
    if (refusal != RECEIPT_ACCEPTED) { // perhaps before the receipt, which nobody waits for then
        note_refusal(env, refusal, f->envelope.body);
        return 0;
    }
    struct env_message *m = message_new(&f->envelope);
    if (!m)
        return env_fail(env, -ENOMEM, "no memory for a message of %zu bytes", f->envelope.body.len);
    if (is_reply) {
        env->pending.reply = m;
        return 0;
    }
    if (env->credit > 0)
        env->credit--;
    message_queue(env, m);
    return 0;
}

static int handle_shutdown(struct env *env, const struct agent_frame *f)
{
    env->shutting_down = true;
    wire_view_to_cstr(f->shutdown.reason, env->shutdown_reason, sizeof env->shutdown_reason);
    return 0;
}

// Who does not ask for a while is told the last word about each environment.
static int handle_gone(struct env *env, const struct agent_frame *f)
{
    struct queued_gone **at = &env->gone;
    while (*at && !wire_view_equals(f->gone.address, (*at)->gone.address))
        at = &(*at)->next;
    if (!*at && !(*at = calloc(1, sizeof **at)))
        return env_fail(env, -ENOMEM, "no memory for what happened to another environment");
    struct env_gone *gone = &(*at)->gone;
    gone->certain = f->gone.certainty == AGENT_GONE_CERTAIN;
    wire_view_to_cstr(f->gone.address, gone->address, sizeof gone->address);
    wire_view_to_cstr(f->gone.reason, gone->reason, sizeof gone->reason);
    return 0;
}

typedef int frame_handler(struct env *env, const struct agent_frame *f);

static frame_handler *const before_hello[AGENT_FRAME_TYPE_COUNT] = {
    [AGENT_HELLO_OK] = handle_hello_ok,
    [AGENT_REJECT] = handle_reject,
};

static frame_handler *const after_hello[AGENT_FRAME_TYPE_COUNT] = {
    [AGENT_RECEIPT] = handle_receipt, [AGENT_RESULT] = handle_receipt,    [AGENT_CLOCK_IS] = handle_clock_is,
    [AGENT_DELIVER] = handle_deliver, [AGENT_SHUTDOWN] = handle_shutdown, [AGENT_GONE] = handle_gone,
};

static int garbled(struct env *env, const char *what)
{
    return env_fail(env, -EPROTO, "what answers there does not speak the agent protocol: %s", what);
}

// Room for a frame of need bytes.
static int reserve(struct env *env, size_t need)
{
    if (need <= env->in_cap)
        return 0;
    uint8_t *in = realloc(env->in, need);
    if (!in)
        return env_fail(env, -ENOMEM, "no memory for a frame of %zu bytes", need);
    env->in = in;
    env->in_cap = need;
    return 0;
}

static int handle_frame(struct env *env, const struct agent_header *h, const uint8_t *payload)
{
    struct agent_frame f;
    struct wire_error error;
    frame_handler *handler = env->greeted ? after_hello[h->type] : before_hello[h->type];
    if (!agent_frame_read(h, payload, &f, &error))
        return garbled(env, error.what);
    if (!handler)
        return garbled(env, agent_frame_type_name(h->type));
    return handler(env, &f);
}

// Keeps what follows byte `done` of the buffer, with room for a frame of need bytes.
static int keep_rest(struct env *env, size_t done, size_t need)
{
    env->in_len -= done;
    memmove(env->in, env->in + done, env->in_len);
    if (env->in_len > 0 || env->in_cap <= IN_CAP_KEEP)
        return reserve(env, need);
    free(env->in);
    env->in = NULL;
    env->in_cap = 0;
    return 0;
}

// Handles the complete frames in the buffer. How many that were, or -errno.
static int handle_frames(struct env *env)
{
    int n = 0;
    size_t done = 0, need = 0;
    while (env->in_len - done >= AGENT_HEADER_LEN) {
        struct agent_header h;
        const char *what = agent_header_read(env->in + done, &h);
        if (what)
            return garbled(env, what);
        need = AGENT_HEADER_LEN + (size_t)h.len_bytes;
        if (env->in_len - done < need)
            break;
        int rc = handle_frame(env, &h, env->in + done + AGENT_HEADER_LEN);
        if (rc < 0)
            return rc;
        done += need;
        n++;
    }
    int rc = keep_rest(env, done, need);
    return rc < 0 ? rc : n;
}

// Reads once (poll said that it would not block) and handles what is complete.
static int read_frames(struct env *env)
{
    int rc = reserve(env, IN_CAP_MIN);
    if (rc < 0)
        return rc;
    ssize_t n = read(env->fd, env->in + env->in_len, env->in_cap - env->in_len);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return 0;
    if (n <= 0)
        return lost(env, n < 0 ? -errno : 0);
    env->in_len += (size_t)n;
    return handle_frames(env);
}

static int poll_once(struct env *env, short events, uint64_t deadline_ns, short *ret_events)
{
    int timeout_ms = -1;
    if (deadline_ns != NEVER) {
        uint64_t now_ns = conn_monotonic_ns();
        uint64_t left_ms = now_ns < deadline_ns ? (deadline_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS : 0;
        timeout_ms = left_ms > 3600000 ? 3600000 : (int)left_ms;
    }
    struct pollfd p = {.fd = env->fd, .events = events};
    int rc = poll(&p, 1, timeout_ms);
    *ret_events = p.revents;
    if (rc < 0)
        return errno == EINTR ? 0 : lost(env, -errno);
    return rc == 0 && timeout_ms == 0 ? -ETIMEDOUT : 0;
}

int conn_wait(struct env *env, uint64_t deadline_ns)
{
    for (;;) {
        short events;
        int rc = poll_once(env, POLLIN, deadline_ns, &events);
        if (rc < 0)
            return rc;
        if (!events)
            continue;
        rc = read_frames(env);
        if (rc != 0)
            return rc < 0 ? rc : 0;
    }
}

// ---- out ----

int conn_write_raw(struct env *env, uint8_t *data, size_t n)
{
    while (n > 0) {
        struct iovec iov = {.iov_base = data, .iov_len = n};
        struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
        ssize_t written = sendmsg(env->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (written >= 0) {
            data += written;
            n -= (size_t)written;
            continue;
        }
        if (errno != EAGAIN && errno != EINTR)
            return lost(env, -errno);
        short events;
        int rc = poll_once(env, POLLIN | POLLOUT, NEVER, &events);
        if (rc == 0 && (events & POLLIN))
            rc = read_frames(env);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int conn_write(struct env *env, const struct agent_frame *f)
{
    uint8_t raw[AGENT_HEADER_LEN + 256]; // everything but messages is short
    struct wire_writer w;
    wire_writer_init(&w, raw, sizeof raw);
    agent_frame_write(&w, f);
    return w.overflow ? env_fail(env, -EINVAL, "frame too long") : conn_write_raw(env, raw, w.pos);
}
