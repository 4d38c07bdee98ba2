// Messages as programs see them: copies that own their strings, and the encoding of what programs send.
#include "conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct queued_message {
    struct env_message message; // first: what programs hold is a pointer to it
    struct queued_message *next;
    char data[]; // strings with their NULs, then the body with one
};

static const char *put(char **at, struct wire_view v)
{
    char *s = *at;
    if (v.len > 0)
        memcpy(s, v.data, v.len);
    s[v.len] = '\0';
    *at += v.len + 1;
    return s;
}

static size_t data_size(const struct envelope *e)
{
    size_t n = e->from.len + e->to.len + e->subject.len + e->content_type.len + e->body.len + 5;
    for (size_t i = 0; i < e->n_headers; i++)
        n += e->headers[i].name.len + e->headers[i].value.len + 2;
    return n;
}

struct env_message *message_new(const struct envelope *e)
{
    struct queued_message *q = malloc(sizeof *q + data_size(e));
    if (!q)
        return NULL;
    char *at = q->data;
    q->next = NULL;
    q->message = (struct env_message){
        .kind = e->kind,
        .priority = e->priority,
        .id = e->id,
        .correlation = e->correlation,
        .expires_ms = e->expires_ms,
        .n_headers = e->n_headers,
        .body_len = e->body.len,
    };
    q->message.from = put(&at, e->from);
    q->message.to = put(&at, e->to);
    q->message.subject = put(&at, e->subject);
    q->message.content_type = put(&at, e->content_type);
    for (size_t i = 0; i < e->n_headers; i++) {
        q->message.headers[i].name = put(&at, e->headers[i].name);
        q->message.headers[i].value = put(&at, e->headers[i].value);
    }
    q->message.body = put(&at, e->body);
    return (struct env_message *)q;
}

static struct queued_message *queued(struct env_message *m)
{
    return (struct queued_message *)m;
}

void env_message_free(struct env_message *message)
{
    if (message)
        free(queued(message));
}

void message_queue(struct env *env, struct env_message *m)
{
    struct queued_message *q = queued(m);
    if (env->last)
        env->last->next = q;
    else
        env->first = q;
    env->last = q;
    env->n_queued++;
}

struct env_message *message_dequeue(struct env *env)
{
    struct queued_message *q = env->first;
    if (!q)
        return NULL;
    env->first = q->next;
    if (!env->first)
        env->last = NULL;
    env->n_queued--;
    return &q->message;
}

static struct wire_view view(const char *s)
{
    return (struct wire_view){.data = (const uint8_t *)s, .len = s ? strlen(s) : 0};
}

static int fill(struct env *env, const struct env_outgoing *m, enum message_kind kind, struct envelope *e)
{
    if (!m->to)
        return env_fail(env, -EINVAL, "the message has no receiver");
    if (m->n_headers > ENVELOPE_HEADERS_MAX)
        return env_fail(env, -EINVAL, "a message has at most %d headers", ENVELOPE_HEADERS_MAX);
    if (m->body_len > env->identity.body_max)
        return env_fail(env, RECEIPT_TOO_LARGE, "too-large: %zu bytes, the limit of this environment is %u",
                        m->body_len, env->identity.body_max);
    *e = (struct envelope){
        .kind = kind,
        .priority = m->priority,
        .correlation = m->correlation,
        .to = view(m->to),
        .subject = view(m->subject || kind == MESSAGE_REPLY ? m->subject : "message"),
        .content_type = view(m->content_type),
        .n_headers = (uint16_t)m->n_headers,
        .body = {.data = m->body, .len = m->body_len},
    };
    for (size_t i = 0; i < m->n_headers; i++)
        e->headers[i] =
            (struct envelope_header){.name = view(m->headers[i].name), .value = view(m->headers[i].value)};
    return 0;
}

// The agent ends the connection of a program that sends what does not decode, so we look at it with its eyes
// first.
static int check(struct env *env, const uint8_t *frame, size_t len)
{
    struct agent_frame decoded;
    struct wire_error error;
    struct agent_header h = {.len_bytes = (uint32_t)(len - AGENT_HEADER_LEN), .type = AGENT_SEND};
    if (agent_frame_read(&h, frame + AGENT_HEADER_LEN, &decoded, &error))
        return 0;
    return env_fail(env, -EINVAL, "the message cannot be sent: %s", error.what);
}

int message_encode(struct env *env, const struct env_outgoing *m, enum message_kind kind, const struct id *id,
                   uint64_t expires_ms, uint32_t tag, uint8_t **ret_frame, size_t *ret_len)
{
    struct agent_frame f = {.type = AGENT_SEND, .tag = tag};
    int rc = fill(env, m, kind, &f.envelope);
    if (rc != 0)
        return rc;
    f.envelope.id = *id;
    f.envelope.expires_ms = expires_ms;
    size_t len = agent_frame_size(&f);
    uint8_t *frame = malloc(len);
    if (!frame)
        return env_fail(env, -ENOMEM, "no memory for a message of %zu bytes", m->body_len);
    struct wire_writer w;
    wire_writer_init(&w, frame, len);
    agent_frame_write(&w, &f);
    rc = w.overflow ? env_fail(env, -EINVAL, "the message cannot be sent: a field is too long")
                    : check(env, frame, len);
    if (rc < 0) {
        free(frame);
        return rc;
    }
    *ret_frame = frame;
    *ret_len = len;
    return 0;
}
